"""A signal is passed to uvicorn only after the in-flight requests are answered."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import FrameType

import pytest
import uvicorn
from sse_starlette.sse import AppStatus
from starlette.types import Message, Receive, Scope, Send

from my_mcp_server.runtime import (
    drain as drain_module,
)
from my_mcp_server.runtime.drain import (
    Drain,
)
from my_mcp_server.runtime.readiness import (
    Readiness,
)
from my_mcp_server.runtime.serving import (
    STOP_SIGNALS,
)

POST: Scope = {"type": "http", "method": "POST", "headers": []}


class App:
    """An ASGI app whose POST requests take until `release` is set."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.finished: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await send({"type": "lifespan.startup.complete"})
            return
        try:
            await self.release.wait()
            self.finished.append("answered")
        except asyncio.CancelledError:
            self.finished.append("cancelled")
            raise


class HalfAnswered(App):
    """The same, but with a started response, like an event stream."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200})
        await super().__call__(scope, receive, send)


async def receive() -> Message:
    return {"type": "http.request"}


async def send(_: Message) -> None:
    """Ignore the message."""


@pytest.fixture
def server_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Replace uvicorn, which installs its handlers before the app starts."""
    heard: list[int] = []
    # It would end the test process.
    monkeypatch.setattr(drain_module, "leave_within", lambda _seconds, _code: None)

    def handle(number: int, _frame: FrameType | None) -> None:
        heard.append(number)

    previous = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield heard
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        AppStatus.should_exit = False


@asynccontextmanager
async def call_in_flight(drain: Drain, send: Send = send) -> AsyncIterator[asyncio.Task[None]]:
    await drain({"type": "lifespan"}, receive, send)
    call = asyncio.create_task(drain(POST, receive, send))
    await asyncio.sleep(0)
    yield call
    await asyncio.gather(call, return_exceptions=True)


async def heard_within_a_moment(server_signals: list[int]) -> bool:
    for _ in range(100):
        if server_signals:
            return True
        await asyncio.sleep(0.005)
    return False


async def test_the_server_gets_the_signal_when_the_last_call_is_answered(
    server_signals: list[int],
) -> None:
    app, readiness = App(), Readiness()
    async with call_in_flight(Drain(app, 10, readiness=readiness)):
        signal.raise_signal(signal.SIGTERM)
        assert readiness.draining
        await asyncio.sleep(0.02)
        assert server_signals == []
        app.release.set()
        assert await heard_within_a_moment(server_signals)
    assert server_signals == [signal.SIGTERM]
    assert app.finished == ["answered"]


@pytest.mark.parametrize(("app", "status"), [(App, 503), (HalfAnswered, 200)])
async def test_calls_that_outlast_the_grace_period_are_cancelled_and_their_responses_ended(
    app: type[App], status: int, server_signals: list[int]
) -> None:
    sent: list[Message] = []

    async def record(message: Message) -> None:
        sent.append(message)

    slow = app()
    async with call_in_flight(Drain(slow, 0.01, readiness=Readiness()), record) as call:
        signal.raise_signal(signal.SIGINT)
        assert await heard_within_a_moment(server_signals)
    assert slow.finished == ["cancelled"]
    assert call.exception() is None
    start, end = sent[1:]
    assert start["status"] == status
    assert end["type"] == "http.response.body"
    assert not end.get("more_body")


async def test_a_call_that_is_cancelled_for_another_reason_gets_no_response(
    server_signals: list[int],
) -> None:
    async with call_in_flight(Drain(App(), 10, readiness=Readiness())) as call:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert call.cancelled()


async def test_an_idle_process_exits_immediately(server_signals: list[int]) -> None:
    drain = Drain(App(), 10, readiness=Readiness())
    await drain({"type": "lifespan"}, receive, send)
    signal.raise_signal(signal.SIGTERM)
    assert await heard_within_a_moment(server_signals)


async def test_the_server_keeps_serving_during_the_delay_and_then_closes_connections(
    server_signals: list[int],
) -> None:
    app, readiness = HalfAnswered(), Readiness()
    app.release.set()
    drain = Drain(app, 10, delay_seconds=0.2, readiness=readiness)
    await drain({"type": "lifespan"}, receive, send)

    async def is_last_of_its_connection() -> bool:
        sent: list[Message] = []

        async def record(message: Message) -> None:
            sent.append(message)

        await drain({"type": "http", "method": "GET", "headers": []}, receive, record)
        return (b"connection", b"close") in sent[0].get("headers", [])

    signal.raise_signal(signal.SIGTERM)
    assert readiness.draining
    await asyncio.sleep(0.02)
    assert not await is_last_of_its_connection()
    assert server_signals == []
    assert await heard_within_a_moment(server_signals)
    assert await is_last_of_its_connection()


async def test_a_request_after_the_grace_period_is_refused(
    server_signals: list[int],
) -> None:
    app = App()
    app.release.set()
    drain = Drain(app, 0, readiness=Readiness())
    await drain({"type": "lifespan"}, receive, send)
    signal.raise_signal(signal.SIGTERM)
    assert await heard_within_a_moment(server_signals)
    sent: list[Message] = []

    async def record(message: Message) -> None:
        sent.append(message)

    await drain(POST, receive, record)
    assert sent[0]["status"] == 503
    assert app.finished == []


async def test_a_signal_during_startup_is_passed_on_immediately(
    server_signals: list[int],
) -> None:
    server = uvicorn.Server(uvicorn.Config(App(), log_config=None))
    for number in STOP_SIGNALS:
        signal.signal(number, server.handle_exit)
    drain = Drain(App(), 10, delay_seconds=10, readiness=Readiness())
    await drain({"type": "lifespan"}, receive, send)
    signal.raise_signal(signal.SIGTERM)
    await asyncio.sleep(0.05)
    assert server.should_exit
    assert server_signals == []


async def test_an_endless_stream_does_not_delay_shutdown(server_signals: list[int]) -> None:
    app = App()
    drain = Drain(app, 10, readiness=Readiness())
    await drain({"type": "lifespan"}, receive, send)
    accept = (b"accept", b"text/event-stream")
    scope = {"type": "http", "method": "GET", "headers": [accept]}
    stream = asyncio.create_task(drain(scope, receive, send))
    await asyncio.sleep(0)
    signal.raise_signal(signal.SIGTERM)
    assert await heard_within_a_moment(server_signals)
    assert app.finished == []
    app.release.set()
    await stream
