"""Two load balancers for replicas: a minimal proxy, and nginx as configured in `docs/scaling.md`."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .combinations import TEMPLATE
from .running import free_port, nginx

# The addresses in the page, which a test replaces with its own.
SHOWN_REPLICAS = ("10.0.0.11:8000", "10.0.0.12:8000", "10.0.0.13:8000")
SHOWN_LISTEN = "listen 80;"


class Proxy:
    """A minimal round-robin proxy. It keeps upstream connections open, and never retries a request."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = tuple(ports)
        self._turns = itertools.count()
        self._idle: dict[int, list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}
        for port in ports:
            self._idle[port] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one request of a client, and close its connection."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).replace(b"Connection: close\r\n", b"")
            body = await reader.readexactly(int(header(head, b"content-length")))
            writer.write(await self._forward(head + body))
            await writer.drain()
        finally:
            writer.close()

    async def _forward(self, request: bytes) -> bytes:
        turn = next(self._turns)
        for number in range(len(self._ports)):
            port = self._ports[(turn + number) % len(self._ports)]
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
    """Read an HTTP response. Return its bytes, and whether the connection stays open."""
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


def documented_nginx(ports: Sequence[int], port: int) -> str:
    """Return the nginx configuration of `docs/scaling.md`, with these loopback ports."""
    page = (TEMPLATE / "docs" / "scaling.md").read_text(encoding="utf-8")
    http = page.split("```nginx\n")[1].split("```")[0]
    shown = [*SHOWN_REPLICAS, SHOWN_LISTEN]
    real = [*(f"127.0.0.1:{replica}" for replica in ports), f"listen 127.0.0.1:{port};"]
    for text, replacement in zip(shown, real, strict=True):
        assert http.count(text) == 1, text
        http = http.replace(text, replacement)
    return http


@contextmanager
def nginx_before(ports: Sequence[int], folder: Path) -> Iterator[int]:
    """Run nginx in front of three replicas, and yield its port."""
    port = free_port()
    with nginx(folder, port, documented_nginx(ports, port)):
        yield port
