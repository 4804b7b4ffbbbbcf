"""Replicas of one generated server, and clients that tally the outcomes of their calls."""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..project import Project
from ..running import (
    ERAS,
    PATIENCE_SECONDS,
    Reply,
    Running,
    headers_of,
    http_request,
    read_reply,
    running,
    tool_call,
)

REPLICAS = 3
CALLS_OF_A_CALLER = 50  # fewer than its burst
_callers = itertools.count(random.randrange(2**20))


class Replicas:
    """Servers with the same settings that can be restarted, each on its own port."""

    def __init__(self, project: Project, home: Path, **variables: str) -> None:
        self._project = project
        self._home = home
        self._stacks: list[ExitStack] = []
        self.variables = variables
        self.servers: list[Running] = []

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    def add(self, number: int = REPLICAS) -> None:
        """Start servers concurrently."""
        with ThreadPoolExecutor(number) as pool:
            begun = [pool.submit(self._start) for _ in range(number)]
        for server, stack in (each.result() for each in begun if each.exception() is None):
            self.servers.append(server)
            self._stacks.append(stack)
        for each in begun:
            each.result()

    def _start(self, *flags: str) -> tuple[Running, ExitStack]:
        stack = ExitStack()
        server = stack.enter_context(running(self._project, self._home, *flags, **self.variables))
        return server, stack

    def restart(self, index: int) -> int:
        """Stop a server with SIGTERM, start it again on the same port, and return the exit code."""
        server = self.servers[index]
        server.process.terminate()
        code = server.process.wait(PATIENCE_SECONDS)
        self._stacks[index].close()
        self.servers[index], self._stacks[index] = self._start("--port", str(server.port))
        return code

    def close(self) -> None:
        for stack in self._stacks:
            stack.close()


@contextmanager
def replicas_of(project: Project, home: Path, **variables: str) -> Iterator[Replicas]:
    replicas = Replicas(project, home, **variables)
    try:
        replicas.add()
        yield replicas
    finally:
        replicas.close()


def caller() -> dict[str, str]:
    """Return the header of a new caller, for a server that trusts proxies on loopback."""
    number = next(_callers)
    return {"X-Forwarded-For": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"}


async def call(
    port: int, tool: str, headers: dict[str, str] | None = None, era: str = ERAS[0], **arguments: Any
) -> Reply:
    """Call a tool of the server on a port."""
    message = tool_call(era, tool, arguments)
    sent = {**headers_of(era, message), **(caller() if headers is None else headers)}
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(http_request(f"127.0.0.1:{port}", json.dumps(message).encode(), sent))
            await writer.drain()
            return await read_reply(reader)
        finally:
            writer.transport.abort()


def failure(reply: Reply) -> dict[str, Any] | None:
    """Return the structured error of a failed call, or None."""
    assert reply.status == 200, reply
    if not reply.result.get("isError"):
        return None
    error: dict[str, Any] = reply.result["structuredContent"]["error"]
    return error


@dataclass
class Tally:
    """The outcomes of increments by 1. Increments `in_doubt` may or may not be stored; refused ones are not stored."""

    acknowledged: int = 0
    refused: int = 0
    in_doubt: int = 0
    slowest: float = 0
    messages: Counter[str] = field(default_factory=Counter)

    def add(self, reply: Reply, seconds: float) -> None:
        self.slowest = max(self.slowest, seconds)
        error = failure(reply)
        if error is None:
            self.acknowledged += 1
            return
        self.messages[f"{error['code']}: {error['message']}"] += 1
        if error["retryable"]:
            self.refused += 1
        else:
            self.in_doubt += 1

    @property
    def calls(self) -> int:
        return self.acknowledged + self.refused + self.in_doubt

    def agrees_with(self, stored: int) -> bool:
        """Return whether no acknowledged increment was lost, and no increment was applied twice or after a refusal."""
        return self.acknowledged <= stored <= self.acknowledged + self.in_doubt

    def __iadd__(self, other: "Tally") -> "Tally":
        self.acknowledged += other.acknowledged
        self.refused += other.refused
        self.in_doubt += other.in_doubt
        self.slowest = max(self.slowest, other.slowest)
        self.messages += other.messages
        return self

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Tally":
        values = json.loads(text)
        return cls(**{**values, "messages": Counter(values["messages"])})


async def increment(port: int, name: str, tally: Tally, headers: dict[str, str], era: str = ERAS[0]) -> None:
    start = time.monotonic()
    reply = await call(port, "increment_counter", headers, era, name=name)
    tally.add(reply, time.monotonic() - start)


async def count(ports: Sequence[int], name: str, calls: int, tally: Tally) -> None:
    """Increment a counter `calls` times, one after another, through the servers in turn."""
    headers = caller()
    for number, port in zip(range(calls), itertools.cycle(ports), strict=False):
        if number % CALLS_OF_A_CALLER == CALLS_OF_A_CALLER - 1:
            headers = caller()
        await increment(port, name, tally, headers, ERAS[number % 2])


async def stored(port: int, name: str) -> int:
    """Return the value of a counter."""
    reply = await call(port, "increment_counter", name=name, by=0)
    assert failure(reply) is None, reply
    value: int = reply.result["structuredContent"]["value"]
    return value


@asynccontextmanager
async def counting(ports: Sequence[int], name: str, clients: int = 6) -> AsyncIterator[Tally]:
    """Increment a counter with several clients while the context is open."""
    tally = Tally()
    open_ = True

    async def client(number: int) -> None:
        headers = caller()
        turn = itertools.cycle([*ports[number % len(ports) :], *ports[: number % len(ports)]])
        for made in itertools.count():
            if not open_:
                return
            if made % CALLS_OF_A_CALLER == CALLS_OF_A_CALLER - 1:
                headers = caller()
            await increment(next(turn), name, tally, headers, ERAS[number % 2])

    async with asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(client(number))
        try:
            yield tally
        finally:
            open_ = False


async def until_more(tally: Tally, acknowledged: int = 12) -> None:
    """Wait until this many more increments are acknowledged."""
    before = tally.acknowledged
    async with asyncio.timeout(PATIENCE_SECONDS):
        while tally.acknowledged < before + acknowledged:
            await asyncio.sleep(0.02)


async def until_refused(tally: Tally, failed: int = 6) -> None:
    """Wait until this many more increments have failed."""
    before = tally.refused + tally.in_doubt
    async with asyncio.timeout(PATIENCE_SECONDS):
        while tally.refused + tally.in_doubt < before + failed:
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Ready:
    """The result of a readiness probe."""

    code: int
    status: str
    checks: dict[str, str]


async def ready(server: Running) -> Ready:
    reply = await server.get("/readyz")
    return Ready(reply.status, **json.loads(reply.body))


async def until_ready(server: Running, status: str = "ready", check: str = "") -> Ready:
    """Wait for a status of the readiness probe. If given, `check` must have failed too."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            seen = await ready(server)
            if seen.status == status and seen.checks.get(check, "") != "ok":
                return seen
            await asyncio.sleep(0.1)
