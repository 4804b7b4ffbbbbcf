"""Finish what was begun: on SIGTERM, calls in flight still get their answers.

Under uvicorn alone a handshake-era answer, which is an event stream, is cut the moment SIGTERM
arrives, and readiness never says that the process is leaving. This wrapper takes the signal
first: readiness goes off, the socket stays open, and uvicorn hears of the signal when the last
call is answered or the grace is over. A second signal ends the process at once.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from sse_starlette.sse import AppStatus
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .readiness import Readiness, readiness
from .serving import STOP_SIGNALS

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 0.05
LEAVING = PlainTextResponse("The server is shutting down.", 503, {"Retry-After": "1"})

Handler = Callable[[int, FrameType | None], Any] | int | None


class Drain:
    """An ASGI wrapper that holds stop signals back while POST requests are being answered.

    `grace_seconds` bounds the wait; what still runs then is cancelled.
    """

    def __init__(
        self, app: ASGIApp, grace_seconds: float, readiness: Readiness = readiness
    ) -> None:
        self._app = app
        self._grace_seconds = grace_seconds
        self._readiness = readiness
        self._calls: set[asyncio.Task[Any]] = set()
        self._server_handlers: dict[int, Handler] = {}
        self._draining: asyncio.Task[None] | None = None
        self._grace_is_over = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._taking_signals_after_startup(send))
        elif scope["type"] == "http" and scope["method"] == "POST":
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - ASGI servers run the app in a task
            self._calls.add(task)
            try:
                await self._answer(scope, receive, send)
            finally:
                self._calls.discard(task)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say so when a call is cut, where uvicorn would log a traceback and send 500."""
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

    def _taking_signals_after_startup(self, send: Send) -> Send:
        async def forward(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._take_signals()
            await send(message)

        return forward

    def _take_signals(self) -> None:
        """Stand before the handlers that uvicorn has installed by now."""
        if threading.current_thread() is not threading.main_thread():
            return
        AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]
        loop = asyncio.get_running_loop()

        def handle(number: int, _frame: FrameType | None) -> None:
            if self._readiness.draining:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            self._readiness.drain()
            loop.call_soon_threadsafe(self._start_draining, number)

        for number in STOP_SIGNALS:
            self._server_handlers[number] = signal.signal(number, handle)

    def _start_draining(self, number: int) -> None:
        self._draining = asyncio.create_task(self._drain(number))

    async def _drain(self, number: int) -> None:
        logger.info("Draining: %d calls in flight", len(self._calls))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace_seconds):
                while self._calls:  # others may begin meanwhile: the socket is still open
                    await asyncio.wait(self._calls)
        if self._calls:
            logger.warning("The grace period is over: %d calls cancelled", len(self._calls))
        self._grace_is_over = True
        for call in self._calls:
            call.cancel()
        await asyncio.sleep(FLUSH_SECONDS)  # let the last bytes leave
        AppStatus.should_exit = True
        server_handler = self._server_handlers[number]
        if callable(server_handler):
            server_handler(number, None)
