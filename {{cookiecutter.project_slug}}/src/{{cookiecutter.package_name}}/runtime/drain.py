"""Shut down without losing a call: on SIGTERM, every request that was read is answered.

uvicorn alone closes keep-alive connections while a proxy may be sending on them, cuts event
streams, such as answers with progress, and waits for threads that hang. This wrapper handles the
signal first. Readiness turns off. After a delay the port is closed, and from then on each answer
closes its connection. uvicorn gets the signal when all connections are quiet, or when the grace
period is over. A second signal ends the process immediately.
"""

import asyncio
import logging
import multiprocessing
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from sse_starlette.sse import AppStatus
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..settings import InvalidSettings
from .ending import leave_within
from .readiness import Readiness, readiness
from .serving import STOP_SIGNALS

logger = logging.getLogger(__name__)

# How long keep-alive connections must have been quiet before they are closed.
QUIET_SECONDS = 0.5
LOOK_SECONDS = 0.05
FLUSH_SECONDS = 0.05
# How long everything else may take after the grace period, before the process is ended even if
# something hangs.
CLOSE_SECONDS = 1.5
LEAVING = PlainTextResponse("The server is shutting down.", 503, {"Retry-After": "1"})

Handler = Callable[[int, FrameType | None], Any] | int | None


class Drain:
    """An ASGI wrapper that holds stop signals back while requests are being answered.

    After a signal, the server continues as before for `delay_seconds`. Then it waits for at most
    `grace_seconds`, and cancels calls that are still running.
    """

    def __init__(
        self,
        app: ASGIApp,
        grace_seconds: float,
        delay_seconds: float = 0,
        readiness: Readiness = readiness,
        check_server: Callable[[uvicorn.Server], None] | None = None,
    ) -> None:
        self._app = app
        self._check_server = check_server
        self._grace_seconds = grace_seconds
        self._delay_seconds = delay_seconds
        self._readiness = readiness
        self._calls: set[asyncio.Task[Any]] = set()
        self._server_handlers: dict[int, Handler] = {}
        self._draining: asyncio.Task[None] | None = None
        self._closing = False
        self._last_call = 0.0
        self._grace_is_over = False

    @property
    def lifespan(self) -> Any:
        """The lifespan of the wrapped Starlette app, for an app that mounts this one."""
        return self._app.lifespan  # type: ignore[attr-defined]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            try:
                self._take_signals()
            except InvalidSettings as error:
                await receive()
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif self._grace_is_over:
            await LEAVING(scope, receive, self._closing_connections(send))
        elif is_endless(scope):
            await self._app(scope, receive, self._closing_connections(send))
        else:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - ASGI servers run the app in a task
            self._calls.add(task)
            try:
                await self._answer(scope, receive, self._closing_connections(send))
            finally:
                self._calls.discard(task)
                self._last_call = asyncio.get_running_loop().time()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Log a call that is cut short; uvicorn would log a traceback and send 500."""
        started = False

        async def forward(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, forward)
        except asyncio.CancelledError:
            if not self._grace_is_over:
                raise
            if started:
                await send({"type": "http.response.body"})
            else:
                await LEAVING(scope, receive, send)

    def _closing_connections(self, send: Send) -> Send:
        """Announce the end of a connection with its last answer (RFC 9112, section 9.6)."""

        async def forward(message: Message) -> None:
            if self._closing and message["type"] == "http.response.start":
                # Event streams send `keep-alive`.
                others = [pair for pair in message.get("headers", ()) if pair[0] != b"connection"]
                message = {**message, "headers": [*others, (b"connection", b"close")]}
            await send(message)

        return forward

    def _take_signals(self) -> None:
        """Install handlers in front of uvicorn's."""
        if threading.current_thread() is not threading.main_thread():
            return
        AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]
        loop = asyncio.get_running_loop()
        # A terminal and systemd signal workers as well as the supervisor, which repeats the signal
        # to them, and ends them itself on a second one.
        is_worker = multiprocessing.parent_process() is not None

        def handle(number: int, _frame: FrameType | None) -> None:
            if self._readiness.draining:
                if not is_worker:
                    signal.signal(number, signal.SIG_DFL)
                    signal.raise_signal(number)
                return
            self._readiness.drain()
            # Here and not in the loop, which may be blocked, for example by a startup that hangs.
            seconds = self._delay_seconds + self._grace_seconds + CLOSE_SECONDS
            leave_within(seconds, 128 + number)
            loop.call_soon_threadsafe(self._start_draining, number)

        for number in STOP_SIGNALS:
            self._server_handlers[number] = signal.signal(number, handle)
        server = uvicorn_server(self._server_handlers[STOP_SIGNALS[0]])
        if server is not None and self._check_server is not None:
            self._check_server(server)

    def _start_draining(self, number: int) -> None:
        self._draining = asyncio.create_task(self._drain(number))

    async def _drain(self, number: int) -> None:
        server_handler = self._server_handlers[number]
        server = uvicorn_server(server_handler)
        if server is None or server.started:
            logger.info("Draining: %d calls in flight", len(self._calls))
            await asyncio.sleep(self._delay_seconds)
            self._closing = True
            with suppress(TimeoutError):
                async with asyncio.timeout(self._grace_seconds):
                    await self._answer_all(server)
            if self._calls:
                logger.warning("The grace period is over: %d calls cancelled", len(self._calls))
            self._grace_is_over = True
            for call in self._calls:
                call.cancel()
            await asyncio.sleep(FLUSH_SECONDS)  # let the last bytes be sent
        AppStatus.should_exit = True
        if callable(server_handler):
            server_handler(number, None)

    async def _answer_all(self, server: uvicorn.Server | None) -> None:
        if server is not None:
            await close_port(server)
            logger.info("The port is closed: %d calls in flight", len(self._calls))
            await self._wait_for_quiet(server)
            for connection in list(server.server_state.connections):
                connection.shutdown()
        while self._calls:
            await asyncio.wait(self._calls)

    async def _wait_for_quiet(self, server: uvicorn.Server) -> None:
        """Wait until no connection is open, or all open ones are quiet."""
        clock = asyncio.get_running_loop().time
        self._last_call = clock()
        while server.server_state.connections:
            if not self._calls and clock() - self._last_call >= QUIET_SECONDS:
                break
            await asyncio.sleep(LOOK_SECONDS)


def uvicorn_server(handler: Handler) -> uvicorn.Server | None:
    """Return the server that owns this signal handler."""
    server = getattr(handler, "__self__", None)
    return server if isinstance(server, uvicorn.Server) else None


def is_endless(scope: Scope) -> bool:
    """Return whether a request opens a stream that only its client or the server ends."""
    headers = Headers(scope=scope)
    if scope["method"] == "GET":
        return "text/event-stream" in headers.get("accept", "")
    return headers.get("mcp-method") == "subscriptions/listen"


async def close_port(server: uvicorn.Server) -> None:
    """Stop accepting connections while none is waiting to be accepted: such a one would be reset.

    A connection is also lost in the iteration of the loop that accepts it. So this waits for an
    iteration that begins and ends without a waiting connection.
    """
    loop = asyncio.get_running_loop()
    listeners = [listener for listener in server.servers if listener.is_serving()]
    sockets = [opened for listener in listeners for opened in listener.sockets]

    def is_one_waiting() -> bool:
        return bool(select.select(sockets, [], [], 0)[0])

    def close(ended: asyncio.Future[bool]) -> None:
        idle = began_idle and not is_one_waiting()
        if idle:
            for listener in listeners:
                listener.close()
        ended.set_result(idle)

    closed = False
    while not closed:
        began_idle = False
        ended: asyncio.Future[bool] = loop.create_future()
        loop.call_later(0, close, ended)  # a timer runs last in the next iteration
        await asyncio.sleep(0)
        began_idle = not is_one_waiting()
        closed = await ended
