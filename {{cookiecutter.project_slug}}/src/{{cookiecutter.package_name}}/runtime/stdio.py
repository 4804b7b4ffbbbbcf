"""Serve stdio: nothing but protocol on stdout, and a clean end on EOF, SIGTERM or one SIGINT.

A stray `print` corrupts the stream that the client reads, and a process that waits for stdin does
not hear a signal. So the real stdout is put aside before the server is even imported, and a
signal ends stdin.
"""

import asyncio
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, BinaryIO

import anyio
from fastmcp import FastMCP

from .serving import STOP_SIGNALS

CHUNK_BYTES = 65536


class StrayOutput(io.TextIOWrapper):
    """What `print` writes to: stderr. Only the SDK, which asks for `buffer`, reaches the client."""

    def __init__(self, stderr: BinaryIO, wire: BinaryIO) -> None:
        super().__init__(stderr, encoding="utf-8", errors="replace", line_buffering=True)
        self._wire = wire

    @property
    def buffer(self) -> BinaryIO:
        return self._wire


def reserve_stdout() -> None:
    """Keep stdout for the protocol, for the rest of the process: fd 1 and `print` go to stderr."""
    sys.stdout.flush()
    wire = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = StrayOutput(os.fdopen(os.dup(2), "wb"), wire)


def divert_stdin() -> Callable[[], None]:
    """Pass stdin through a pipe, and return the function that ends it before stdin does."""
    source = os.dup(0)
    read_end, write_end = os.pipe()
    lock = threading.Lock()
    closed = threading.Event()

    def close() -> None:
        with lock:
            if not closed.is_set():
                closed.set()
                os.close(write_end)

    def pump() -> None:
        try:
            while not closed.is_set() and (chunk := os.read(source, CHUNK_BYTES)):
                while chunk:
                    chunk = chunk[os.write(write_end, chunk) :]
        except OSError:
            pass  # the reader or the pipe has gone: the same as the end of stdin
        finally:
            close()

    sys.stdin = io.TextIOWrapper(os.fdopen(read_end, "rb"), encoding="utf-8", errors="replace")
    threading.Thread(target=pump, daemon=True).start()
    return close


def call_on_signal(callback: Callable[[], None]) -> None:
    """Have the running loop call `callback` when a signal arrives.

    A handler of `signal.signal` alone would run when the loop next wakes: one that arrives just
    before the loop waits for a message would be heard with that message, or never.
    """
    loop = asyncio.get_running_loop()
    for number in STOP_SIGNALS:
        if sys.platform == "win32":
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))
        else:
            loop.add_signal_handler(number, callback)


def serve_stdio(mcp: FastMCP[Any]) -> None:
    """Serve until stdin ends or a signal arrives; calls in flight are cancelled then."""
    end_stdin = divert_stdin()

    async def serve() -> None:
        call_on_signal(end_stdin)
        await mcp.run_stdio_async(show_banner=False)

    anyio.run(serve)
