"""Serve stdio: only protocol messages on stdout, an answer to every line, and a clean end.

A stray `print` corrupts the stream that the client reads, and a child process that reads stdin
steals messages. So both pipes are put aside before the server is imported. A process that waits for
stdin does not notice a signal, and the SDK does not answer a line that is not a message. So a
thread reads stdin, refuses such lines, and passes on the others. It also takes fewer thread
switches for each message than the SDK's own files.
"""

import asyncio
import io
import json
import logging
import os
import queue
import re
import select
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO, TextIO

import anyio
from anyio.to_thread import run_sync
from fastmcp import FastMCP
from fastmcp.server.context import reset_transport, set_transport
from mcp.server.stdio import stdio_server
from pydantic_core import from_json

from .ending import leave_within
from .messages import LAST_ID_BYTES, MAX_BODY_BYTES, Refused, checked
from .serving import STOP_SIGNALS, ServingSettings

logger = logging.getLogger(__name__)

CHUNK_BYTES = 65536
# How many lines may be queued before reading pauses.
LINES_AHEAD = 16
PAUSE_SECONDS = 0.001
# A pipe with any room accepts this much without blocking.
PIECE_BYTES: int = getattr(select, "PIPE_BUF", 0)
# How long calls may take after stdin ends, unless SHUTDOWN_GRACE_SECONDS is less.
LAST_CALLS_SECONDS = 5
# How long closing may take after the grace period.
CLOSE_SECONDS = 1
# How often the wait for the last answers checks whether the client is still connected.
LOOK_SECONDS = 0.1
# It is answered when its client ends it.
SUBSCRIPTION = "subscriptions/listen"
ANSWER = re.compile(
    rb'\{"jsonrpc":"2\.0","id":(-?\d+|null|"(?:[^"\\]|\\.)*"),"(?:result|error)":', re.DOTALL
)


class Wire:
    """The client: lines to read, and messages to write.

    `source` and `sink` are the file descriptors of its two pipes.
    """

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._refusals: queue.SimpleQueue[Refused] = queue.SimpleQueue()
        self._writing = threading.Lock()
        self._unanswered: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._asked = threading.Event()
        self._ended = threading.Event()
        self._wake: Callable[[], object] = bool
        self._gone = False

    def start(self, at_end: Callable[[], None], wait_seconds: float) -> None:
        """Start reading, until stdin ends.

        Then another thread calls `at_end`, and calls in flight have `wait_seconds` to be answered.
        """

        def read() -> None:
            try:
                for line in self._read_lines():
                    self._take(line)
            except OSError:
                pass  # the client has disconnected, as if stdin had ended
            finally:
                self._asked.wait()  # the grace period does not begin while the server starts
                at_end()
                self._wait_for_answers(wait_seconds)
                self.end()

        threading.Thread(target=read, daemon=True).start()
        # A separate lock, so that stdin is read even if nobody reads stdout.
        threading.Thread(target=self._write_refusals, daemon=True).start()

    def end(self) -> None:
        """Signal the end of stdin to the reader."""
        self._ended.set()
        self._asked.set()
        self._pass_on(b"")
        with self._changed:
            self._changed.notify_all()

    async def read(self) -> bytes:
        """Wait for the next line; empty at the end."""
        self._asked.set()
        loop = asyncio.get_running_loop()
        while not self._ended.is_set():
            arrived = asyncio.Event()
            self._wake = partial(loop.call_soon_threadsafe, arrived.set)
            try:
                return self._lines.get_nowait()
            except queue.Empty:
                await arrived.wait()
        return b""

    def write(self, data: bytes) -> None:
        """Write a whole message; do nothing once the client has disconnected."""
        with self._writing:
            self._write(data)

    def write_at_once(self, data: bytes) -> bool:
        """Write a message unless that would block; return whether it was written."""
        if len(data) > PIECE_BYTES or not self._writing.acquire(blocking=False):
            return False
        try:
            if not _has_room(self._sink):
                return False
            self._write(data)
        finally:
            self._writing.release()
        return True

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest and not self._gone:
                rest = rest[os.write(self._sink, rest) :]
        except OSError:
            self._gone = True
            self.end()
        if found := ANSWER.match(data):
            self._settle(from_json(found[1]))

    def _pass_on(self, line: bytes) -> None:
        self._lines.put(line)
        with suppress(RuntimeError):  # the loop is closed: nothing reads any more
            self._wake()

    def _read_lines(self) -> Iterator[bytes]:
        """Yield each line; if one is too long, only enough of it to refuse it."""
        line = bytearray()
        while chunk := os.read(self._source, CHUNK_BYTES):
            *ends, rest = chunk.split(b"\n")
            for end in ends:
                yield bytes(line + end)
                line.clear()
            line += rest
            del line[MAX_BODY_BYTES + 1 : -LAST_ID_BYTES]
        yield bytes(line)

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message = checked(line)
        except Refused as refused:
            logger.warning("Refused a line of stdin: %s (id %r)", refused, refused.id)
            self._expect(refused.id)
            self._refusals.put(refused)
            return
        method = message.get("method")
        if "id" in message and method not in {None, SUBSCRIPTION}:
            self._expect(message["id"])
        elif method == "notifications/cancelled":  # it will not be answered
            self._settle((message.get("params") or {}).get("requestId"))
        while self._lines.qsize() > LINES_AHEAD and not self._ended.is_set():
            time.sleep(PAUSE_SECONDS)
        # The SDK would treat a carriage return as the end of a line.
        self._pass_on(line.replace(b"\r", b" ") + b"\n")

    def _write_refusals(self) -> None:
        while True:
            answer = json.dumps(self._refusals.get().answer, separators=(",", ":"))
            self.write(answer.encode() + b"\n")

    def _expect(self, number: int | str | None) -> None:
        with self._changed:
            self._unanswered[str(number)] += 1

    def _settle(self, number: object) -> None:
        with self._changed:
            self._unanswered[str(number)] -= 1
            if self._unanswered[str(number)] <= 0:
                del self._unanswered[str(number)]
            self._changed.notify_all()

    def _wait_for_answers(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._changed:
            while self._unanswered and not self._ended.is_set() and not _has_hung_up(self._sink):
                remaining = end - time.monotonic()
                if remaining <= 0:
                    break
                self._changed.wait(min(remaining, LOOK_SECONDS))


class WireFile:
    """The wire as the two text files that the SDK's transport takes."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def __aiter__(self) -> AsyncIterator[str]:
        while line := await self._wire.read():
            yield line.decode()

    async def write(self, text: str) -> None:
        data = text.encode()
        if not self._wire.write_at_once(data):
            await run_sync(self._wire.write, data)

    async def flush(self) -> None:
        """Do nothing: each message is already written."""


def reserve_stdio() -> Wire:
    """Keep stdin and stdout for the protocol, for the rest of the process.

    This process and its children read nothing from fd 0, and what they write to fd 1 goes to
    stderr. They inherit no other descriptor of the client. On Windows, `dup2` also replaces the
    handle that a child gets.
    """
    null = os.open(os.devnull, os.O_RDONLY)  # this is 0 if stdin is closed
    source = os.dup(0)
    os.dup2(null, 0)
    if null:
        os.close(null)
    sys.stdout.flush()
    sink = os.dup(1)
    os.dup2(2, 1)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _give_up(source, sink))
    sys.stdin = _text(os.fdopen(0, "rb", closefd=False))
    sys.stdout = _text(os.fdopen(os.dup(2), "wb"))
    return Wire(source, sink)


def _text(stream: BinaryIO) -> TextIO:
    return io.TextIOWrapper(stream, encoding="utf-8", errors="replace", line_buffering=True)


def _give_up(*descriptors: int) -> None:
    """Close the pipes in a forked child: the client would also wait for the child to end."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(null, descriptor, inheritable=False)
    os.close(null)


def _has_room(sink: int) -> bool:
    """Return whether a pipe accepts a piece without blocking."""
    if sys.platform == "win32":
        return False  # pipes cannot be polled there
    poll = select.poll()
    poll.register(sink, select.POLLOUT)
    return any(event == select.POLLOUT for _, event in poll.poll(0))


def _has_hung_up(sink: int) -> bool:
    """Return whether the reading end of a pipe is closed."""
    if sys.platform == "win32":
        return False  # pipes cannot be polled there
    poll = select.poll()
    poll.register(sink, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def call_on_signal(callback: Callable[[], None], at_once: Callable[[], None]) -> None:
    """Have the running loop call `callback` when a signal arrives, and `at_once` called before.

    A handler of `signal.signal` alone would run when the loop next wakes up. For a signal that
    arrives just before the loop waits for a message, this is the next message, or never. A handler
    of the loop alone would not run while a tool blocks the loop.
    """
    loop = asyncio.get_running_loop()

    def handle(_number: int, _frame: object) -> None:
        at_once()
        if sys.platform == "win32":
            loop.call_soon_threadsafe(callback)

    for number in STOP_SIGNALS:
        if sys.platform != "win32":
            loop.add_signal_handler(number, callback)
        signal.signal(number, handle)


def serve_stdio(mcp: FastMCP[Any], wire: Wire) -> None:
    """Run `serve_wire` in a new event loop."""
    anyio.run(serve_wire, mcp, wire)


async def serve_wire(mcp: FastMCP[Any], wire: Wire) -> None:
    """Serve until stdin ends or a signal arrives.

    When stdin ends, in-flight calls have a few seconds to complete; at a signal they are
    cancelled. What still runs after `SHUTDOWN_GRACE_SECONDS` is abandoned.
    """
    grace = ServingSettings().shutdown_grace_seconds

    def leave() -> None:
        leave_within(grace + CLOSE_SECONDS, 0)

    call_on_signal(wire.end, leave)
    wire.start(leave, min(grace, LAST_CALLS_SECONDS))
    # Like FastMCP's `run_stdio_async`, which does not accept files.
    server = mcp._mcp_server  # noqa: SLF001
    file: Any = WireFile(wire)
    transport = set_transport("stdio")
    try:
        async with mcp._lifespan_manager(), stdio_server(file, file) as (reader, writer):  # noqa: SLF001
            await server.run(reader, writer, server.create_initialization_options())
    finally:
        reset_transport(transport)
