"""A local API that fails in every way that an upstream API can. Each fault has its own path."""

import asyncio
import gzip
import os
import socket
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus

BASE = "/base/"
MIB = 1024 * 1024
DRIP_SECONDS = 0.2


@dataclass
class Request:
    """A request with methods to answer it. `attempt` counts the requests of a case from 1."""

    server: "FaultServer"
    case: str
    attempt: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *chunks: bytes) -> bool:
        """Send bytes, and keep the connection open."""
        for chunk in chunks:
            self.writer.write(chunk)
            await self.writer.drain()
        return True

    async def answer(self, status: int = 200, *, body: bytes = b'{"ok": true}', **headers: str) -> bool:
        return await self.send(head(status, len(body), **headers), body)

    async def reset(self) -> bool:
        """Close with RST, as a crashed process or a firewall does."""
        reset(self.writer)
        return False


Play = Callable[[Request], Awaitable[bool]]


def head(status: int = 200, length: int | None = None, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def reset(writer: asyncio.StreamWriter) -> None:
    no_linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
    with suppress(OSError):  # already closed
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    writer.transport.abort()


def always(status: int = 200, *, body: bytes = b'{"ok": true}', **headers: str) -> Play:
    return lambda request: request.answer(status, body=body, **headers)


def failing(times: int, status: int, **headers: str) -> Play:
    """Answer the first `times` requests with `status`, and later ones with 200."""
    refusal = head(status, 0, **headers)

    async def play(request: Request) -> bool:
        return await (request.send(refusal) if request.attempt <= times else request.answer())

    return play


def raw(content: bytes) -> Play:
    """Send `content` and close."""

    async def play(request: Request) -> bool:
        await request.send(content)
        return False

    return play


def redirecting(location: str) -> Play:
    """Redirect to `location`, with `{case}`, `{base}` and `{other}` filled in."""

    async def play(request: Request) -> bool:
        place = {"case": request.case, "base": request.server.url, "other": request.server.other_url}
        return await request.answer(302, Location=location.format(**place))

    return play


async def hang(request: Request) -> bool:
    await request.reader.read()  # until the client hangs up
    return False


async def hang_in_the_body(request: Request) -> bool:
    await request.send(head(length=100) + b"{")
    return await hang(request)


async def slow(request: Request) -> bool:
    await asyncio.sleep(DRIP_SECONDS)
    return await request.answer()


async def drip(request: Request) -> bool:
    await request.send(head(length=1000))
    return await drip_bytes(request, b" " * 1000)


async def drip_the_head(request: Request) -> bool:
    return await drip_bytes(request, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000)


async def drip_bytes(request: Request, content: bytes) -> bool:
    for byte in content:
        await request.send(bytes([byte]))
        await asyncio.sleep(DRIP_SECONDS)
    return False


async def in_two_seconds(request: Request) -> bool:
    if request.attempt > 1:
        return await request.answer()
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    return await request.answer(429, Retry_After=date)


async def reset_once(request: Request) -> bool:
    return await (request.reset() if request.attempt == 1 else request.answer())


async def close_once(request: Request) -> bool:
    return False if request.attempt == 1 else await request.answer()


async def reset_always(request: Request) -> bool:
    return await request.reset()


async def reset_in_the_body(request: Request) -> bool:
    await request.send(head(length=100) + b'{"a": ')
    return await request.reset()


async def huge(request: Request) -> bool:
    await request.send(head(length=100 * MIB), *[b"x" * MIB] * 100)
    return False


async def endless(request: Request) -> bool:
    await request.send(head(Transfer_Encoding="chunked"))
    while True:
        await request.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")


def bomb(encoding: str) -> Play:
    """Send 100 MiB of zeros, compressed to about 100 KB."""
    zeros = bytes(100 * MIB)
    packed = gzip.compress(zeros, 9) if encoding == "gzip" else zlib.compress(zeros, 9)
    return always(body=packed, Content_Encoding=encoding)


@dataclass
class FaultServer:
    """Answers `/base/.../FAULT~CASE` with `plays[FAULT]`, and records the requests.

    `requests` are pairs of the case and the request head. `others` counts connections to another origin, which
    clients must not call.
    """

    plays: dict[str, Play]
    port: int = 0
    other_url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    others: int = 0
    resets_connections: bool = False
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _listening: list[asyncio.Server] = field(default_factory=list)
    _connections: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{BASE}"

    @property
    def open_connections(self) -> int:
        return len(self._connections)

    def attempts(self) -> Counter[str]:
        return Counter(case for case, _ in self.requests)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.resets_connections:
            reset(writer)
            return
        self._connections.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._answer_one(reader, writer):
                    pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        received = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        path = received.split()[1]
        fault, _, case = path.rpartition("/")[2].partition("~")
        self.requests.append((case, received))
        if received.startswith("HEAD "):
            return await Request(self, case, 0, reader, writer).send(head(length=0))
        attempt = self.attempts()[case]
        return await self.plays[fault](Request(self, case, attempt, reader, writer))

    async def _serve_other(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.others += 1
        writer.close()

    async def open(self) -> None:
        server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.append(server)
        if not self.other_url:
            other = await asyncio.start_server(self._serve_other, "127.0.0.1", 0)
            self._listening.insert(0, other)
            self.other_url = f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}{BASE}"

    async def close(self) -> None:
        """Stop listening and reset every connection: the API is down."""
        self._listening.pop().close()
        for writer in list(self._connections):
            reset(writer)

    async def end(self) -> None:
        """Close all listeners, and cancel all connection handlers."""
        for server in self._listening:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run a coroutine in the server's thread, and wait for it."""

        async def wrapped() -> None:
            await work()

        asyncio.run_coroutine_threadsafe(wrapped(), self.loop).result(10)


@contextmanager
def fault_server(plays: dict[str, Play]) -> Iterator[FaultServer]:
    """Run the server in a thread, so that the test's event loop does not slow it down."""
    server = FaultServer(plays)
    thread = threading.Thread(target=server.loop.run_forever)
    thread.start()
    try:
        server.run(server.open)
        yield server
    finally:
        server.run(server.end)
        server.loop.call_soon_threadsafe(server.loop.stop)
        thread.join()
        server.loop.close()
