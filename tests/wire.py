"""A TCP proxy between a server and its database engine. It can drop replies, and use TLS to the server."""

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Self

CHUNK = 65536


class Wire:
    """Listens on a free loopback port, and forwards all data to the port `target`.

    Tests can change these attributes:

    - `swallow`: the number of replies to drop, one in `every`. The connection is reset, or stays open if `silent`.
    - `cut`: no data is forwarded, in both directions.
    - `closed`: every connection is reset.
    """

    def __init__(self, target: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.swallow = 0
        self.every = 1
        self.silent = False
        self.cut = False
        self.closed = False
        self.port = 0
        self.accepted = 0
        self._answers = 0
        self._tls = tls
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def url(self, url: str) -> str:
        """Replace the address of the engine in a URL with that of this proxy."""
        return url.replace(f"127.0.0.1:{self.target}", f"127.0.0.1:{self.port}")

    def reset(self) -> None:
        """Reset every open connection."""
        self._run(self._reset_all())

    def switch(self, target: int) -> None:
        """Forward new connections to another port, and reset open ones, like a failover behind one address."""
        self.target = target
        self.reset()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        self._server.close()
        await self._reset_all()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _reset_all(self) -> None:
        for writer in list(self._open):
            reset(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self.closed:
            reset(writer)
            return
        try:
            there, to_engine = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            reset(writer)
            return
        ends = {writer, to_engine}
        self._open |= ends
        try:
            await asyncio.gather(self._pass(reader, to_engine), self._pass(there, writer, answers=True))
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK):
                while self.cut:
                    await asyncio.sleep(0.02)
                lost = answers and self._loses()
                if lost and self.silent:
                    continue
                if self.closed or lost:
                    reset(sink)
                    return
                sink.write(data)
                await sink.drain()
        sink.transport.abort() if sink.transport.is_closing() else sink.close()

    def _loses(self) -> bool:
        if not self.swallow:
            return False
        self._answers += 1
        if self._answers % self.every:
            return False
        self.swallow -= 1
        return True


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a TCP reset."""
    connection = writer.get_extra_info("socket")
    with suppress(AttributeError, OSError):  # the socket is gone or closed
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
