"""No call fails while replicas behind a proxy are restarted one by one."""

import asyncio
import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from .conftest import Projects
from .project import Project
from .running import ERAS, NGINX_PROGRAM, PATIENCE_SECONDS, UNLIMITED, Running, free_port, nginx, running

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.sweep,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM"),
]

REPLICAS = 3
CLIENTS = 8
# Enough calls for each replica to serve some on kept-alive connections.
CALLS_BETWEEN = 40
# max_fails=0: nginx tries a closed port on every request, and passes the request to the next replica.
REPLICAS_BEHIND_NGINX = """
upstream replicas {{ {servers} keepalive 16; }}
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://replicas; proxy_buffering off;
        proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
    }}
}}
"""


@dataclass
class Replicas:
    """Servers that can be restarted, each on its own port."""

    project: Project
    home: Path
    servers: list[Running] = field(default_factory=list)
    stacks: list[ExitStack] = field(default_factory=list)

    def start(self, *flags: str) -> tuple[Running, ExitStack]:
        stack = ExitStack()
        server = stack.enter_context(running(self.project, self.home, *flags, **UNLIMITED))
        return server, stack

    def restart(self, index: int) -> int:
        """Restart one server, and return the exit code of the old process."""
        server = self.servers[index]
        server.process.terminate()
        code = server.process.wait(PATIENCE_SECONDS)
        self.stacks[index].close()
        self.servers[index], self.stacks[index] = self.start("--port", str(server.port))
        return code


@contextmanager
def replicas_of(project: Project, home: Path) -> Iterator[Replicas]:
    replicas = Replicas(project, home)
    try:
        for _ in range(REPLICAS):
            server, stack = replicas.start()
            replicas.servers.append(server)
            replicas.stacks.append(stack)
        yield replicas
    finally:
        for stack in replicas.stacks:
            stack.close()


class Proxy:
    """A minimal round-robin proxy that keeps connections alive and does not retry requests."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = itertools.cycle(ports)
        self._idle: dict[int, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}
        for port in ports:
            self._idle[port] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).replace(b"Connection: close\r\n", b"")
            body = await reader.readexactly(int(header(head, b"content-length")))
            writer.write(await self._forward(head + body))
            await writer.drain()
        finally:
            writer.close()

    async def _forward(self, request: bytes) -> bytes:
        for port in itertools.islice(self._ports, REPLICAS):
            try:
                upstream = await self._connect(port)
            except OSError:
                continue
            try:
                upstream[1].write(request)
                answer, kept = await read_answer(upstream[0])
            except (OSError, EOFError) as error:
                upstream[1].close()
                return b"HTTP/1.1 502 Bad Gateway\r\n\r\n%r" % error
            if kept:
                self._idle[port].append(upstream)
            else:
                upstream[1].close()
            return answer
        return b"HTTP/1.1 502 Bad Gateway\r\n\r\nno replica takes a connection"

    async def _connect(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle[port]:
            upstream = self._idle[port].pop()
            if not upstream[0].at_eof():
                return upstream
            upstream[1].close()
        return await asyncio.open_connection("127.0.0.1", port)

    def close(self) -> None:
        for _, writer in itertools.chain(*self._idle.values()):
            writer.close()


def header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return b""


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """Return an answer, and whether its connection stays open."""
    answer = head = await reader.readuntil(b"\r\n\r\n")
    if header(head, b"transfer-encoding") == b"chunked":
        size = -1
        while size:
            line = await reader.readuntil(b"\r\n")
            size = int(line, 16)
            answer += line + await reader.readexactly(size + 2)
    else:
        answer += await reader.readexactly(int(header(head, b"content-length")))
    return answer, header(head, b"connection").lower() != b"close"


@contextmanager
def nginx_before(ports: list[int], folder: Path) -> Iterator[int]:
    """Run nginx in front of the replicas, and yield its port."""
    port = free_port()
    servers = " ".join(f"server 127.0.0.1:{replica} max_fails=0;" for replica in ports)
    with nginx(folder, port, REPLICAS_BEHIND_NGINX.format(servers=servers, port=port)):
        yield port


@dataclass
class Calls:
    """Clients that call in a loop, and the outcomes of their calls."""

    answered: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    running: bool = True

    async def loop(self, era: str, proxy: Running) -> None:
        while self.running:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await proxy.good_call(era)
            except Exception as error:  # any error: the call has failed
                self.failed.append(f"{era}, port {proxy.port}: {error!r}")
            else:
                self.answered[f"{era}, port {proxy.port}"] += 1

    async def some_more(self) -> None:
        """Wait until every kind of client has made some calls."""
        before = self.answered.copy()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(count - before[kind] < CALLS_BETWEEN for kind, count in self.answered.items()):
                await asyncio.sleep(0.05)


async def roll(
    replicas: Replicas, ports: list[int], eras: tuple[str, ...] = ERAS, rolls: int = 1
) -> tuple[Calls, list[int]]:
    """Restart each replica while clients call through the proxies on `ports`; return the exit codes."""
    calls, codes = Calls(), []
    kinds = list(itertools.product(eras, ports))
    proxies = {port: replace(replicas.servers[0], port=port) for port in ports}
    async with asyncio.TaskGroup() as clients:
        for era, port in itertools.islice(itertools.cycle(kinds), max(CLIENTS, len(kinds))):
            clients.create_task(calls.loop(era, proxies[port]))
        try:
            for _, index in itertools.product(range(rolls), range(REPLICAS)):
                await calls.some_more()
                codes.append(await asyncio.to_thread(replicas.restart, index))
            await calls.some_more()
        finally:
            calls.running = False
    return calls, codes


def test_no_call_fails_while_the_replicas_behind_a_proxy_are_restarted(
    projects: Projects, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        replicas = stack.enter_context(replicas_of(projects("none"), tmp_path))
        upstreams = [server.port for server in replicas.servers]
        proxies = [stack.enter_context(nginx_before(upstreams, tmp_path))] if NGINX_PROGRAM else []

        async def measure() -> tuple[Calls, list[int]]:
            proxy = Proxy(upstreams)
            async with await asyncio.start_server(proxy.serve, "127.0.0.1") as server:
                own = server.sockets[0].getsockname()[1]
                seen = await roll(replicas, [own, *proxies])
            proxy.close()
            return seen

        calls, codes = asyncio.run(measure())
    assert calls.failed == []
    assert codes == [-15] * REPLICAS
    assert len(calls.answered) == len(ERAS) * (1 + len(proxies))
