"""A real HTTP server on this machine that misbehaves on request."""

import asyncio
import json
import os
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any


@dataclass(frozen=True)
class Answer:
    """The reaction to one request: wait, send bytes, and optionally close the connection.

    The bytes go out together, or one at a time with `drip_seconds` between them. The connection is
    kept, closed (`drop`), or reset without a goodbye (`reset`).
    """

    raw: bytes
    pause_seconds: float = 0
    drip_seconds: float = 0
    drop: bool = False
    reset: bool = False


def answer(
    status: int = 200,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    pause_seconds: float = 0,
) -> Answer:
    """Answer with a status and a body: bytes as they are, anything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    head = "\r\n".join(lines).encode()
    return Answer(head + b"\r\n\r\n" + content, pause_seconds)


def unending(body: bytes, *, headers: dict[str, str] | None = None) -> Answer:
    """Answer 200 with a chunked body that never ends."""
    lines = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    head = "\r\n".join(lines).encode()
    return Answer(head + b"\r\n\r\n%x\r\n%s\r\n" % (len(body), body))


PARTIAL = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
DROPPED = Answer(b"", drop=True)
TRUNCATED = Answer(PARTIAL, drop=True)
RESET = Answer(PARTIAL, reset=True)


@dataclass
class Upstream:
    """The server's address, its next answers, and the requests it received.

    A path that ends in one of `faults` has that answer; any other the next of `answers`, and with
    none left `default`. `requests` are pairs of path and headers, whose names are in lower case;
    `methods` and `bodies` belong to them.
    """

    url: str = ""
    default: Answer = field(default_factory=lambda: answer(body={"ok": True}))
    answers: deque[Answer] = field(default_factory=deque)
    faults: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    requested: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._answer_one(reader, writer):
                    pass
        finally:
            writer.close()

    def _choose(self, name: str) -> Answer:
        if name in self.faults:
            return self.faults[name]
        return self.answers.popleft() if self.answers else self.default

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request_line, *lines = head.strip().split("\r\n")
        method, path, _ = request_line.split()
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        self.bodies.append(await reader.readexactly(int(headers.get("content-length", 0))))
        self.methods.append(method)
        self.requests.append((path, headers))
        self.requested.set()
        chosen = self._choose(path.rpartition("/")[2])
        await asyncio.sleep(chosen.pause_seconds)
        raw = chosen.raw
        if method == "HEAD":
            raw = raw[: raw.find(b"\r\n\r\n") + 4]
        await _send(writer, raw, chosen.drip_seconds)
        if chosen.reset:
            _reset(writer)
        return not (chosen.drop or chosen.reset)


async def _send(writer: asyncio.StreamWriter, raw: bytes, drip_seconds: float) -> None:
    size = 1 if drip_seconds else max(len(raw), 1)
    for start in range(0, len(raw), size):
        writer.write(raw[start : start + size])
        await writer.drain()
        await asyncio.sleep(drip_seconds)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, as a crashed process or a firewall does."""
    no_linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
    writer.transport.abort()


@asynccontextmanager
async def local_upstream(*answers: Answer, port: int = 0) -> AsyncIterator[Upstream]:
    """Serve `answers`, one a request, and `{"ok": true}` after them."""
    upstream = Upstream(answers=deque(answers))
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task:
            tasks.add(task)
        with suppress(asyncio.CancelledError):
            await upstream.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    host, port = server.sockets[0].getsockname()[:2]
    upstream.url = f"http://{host}:{port}"
    try:
        yield upstream
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
