"""Replicas share one rate limit in Redis. While Redis is down, each replica enforces its own limit."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from my_mcp_server.patterns.rate_limiting import (
    RateLimiting,
    RateLimitingSettings,
    SharedLimit,
    shared_rate_limit,
)

from ..engines import RedisEngine
from ..wire import Wire
from .conftest import Opened, keys_of

pytestmark = pytest.mark.anyio


async def test_replicas_have_one_burst_together(opened: Opened) -> None:
    limits = [SharedLimit(await opened(), per_minute=1, burst=10) for _ in range(3)]
    waits = await asyncio.gather(*(limit.wait("ada") for limit in limits for _ in range(20)))
    assert waits.count(0) == 10
    assert all(590 < wait <= 600 or wait == 0 or 0 < wait <= 60 for wait in waits)


async def test_a_refusal_says_when_the_next_call_is_allowed(opened: Opened) -> None:
    limit = SharedLimit(await opened(), per_minute=600, burst=2)  # one each 0.1 s
    waits = [await limit.wait("ada") for _ in range(3)]
    assert waits[:2] == [0, 0]
    assert 0 < waits[2] <= 0.1
    await asyncio.sleep(waits[2])
    assert await limit.wait("ada") == 0


async def test_callers_have_separate_limits_and_their_names_are_not_stored(
    opened: Opened, engine: RedisEngine
) -> None:
    limit = SharedLimit(await opened(), per_minute=1, burst=1)
    assert [await limit.wait(name) for name in ("ada", "eve")] == [0, 0]
    assert await limit.wait("ada") > 0
    keys = keys_of(engine)
    assert len(keys) == 2
    for key in keys:
        assert key.startswith("my-mcp-server:limit:v1:")
        assert "ada" not in key
        assert 0 < int(engine.ask("PTTL", key)) <= 60_000


@pytest.mark.parametrize("foreign", ["foreign", "nan", "-5", ""])
async def test_a_key_that_is_not_a_time_is_replaced(
    foreign: str, opened: Opened, engine: RedisEngine
) -> None:
    limit = SharedLimit(await opened(), per_minute=1, burst=1)
    await limit.wait("ada")
    (key,) = keys_of(engine)
    engine.ask("SET", key, foreign)
    assert await limit.wait("ada") == 0
    assert 0 < await limit.wait("ada") <= 60


@pytest.mark.parametrize("future", ["9" * 16, "9" * 30, "1e300", "inf"])
async def test_a_caller_is_not_locked_out_after_the_clock_of_redis_was_set_back(
    future: str, opened: Opened, engine: RedisEngine
) -> None:
    """The caller's key has a time in the future. It waits at most for one call, like any caller at the limit."""
    limit = SharedLimit(await opened(), per_minute=600, burst=2)  # one each 0.1 s
    await limit.wait("ada")
    (key,) = keys_of(engine)
    engine.ask("SET", key, future)
    wait = await limit.wait("ada")
    assert 0 < wait <= 0.1
    assert 0 < int(engine.ask("PTTL", key)) <= 200
    await asyncio.sleep(wait)
    assert await limit.wait("ada") == 0


async def test_a_limit_above_a_call_each_microsecond_is_one(opened: Opened) -> None:
    limit = SharedLimit(await opened(), per_minute=10**9, burst=2)
    assert [await limit.wait("ada") for _ in range(3)] == [0, 0, 0]


Serve = Callable[..., AbstractAsyncContextManager[Client[Any]]]


@pytest.fixture
def serve(engine: RedisEngine, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Return a function that creates a client of a server whose limit is in the engine."""

    def client(**variables: str) -> Client[Any]:
        values = {"RATE_LIMIT_BURST": "3", "RATE_LIMIT_PER_MINUTE": "1"} | variables
        values["RATE_LIMIT_URL"] = wire.url(engine.url)
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return Client(FastMCP("test", tools=[echo], middleware=[RateLimiting()], lifespan=shared_rate_limit))

    return client


async def echo(text: str = "") -> str:
    return text


async def outcome(client: Client[Any]) -> str:
    result = await client.call_tool("echo", {"text": "ok"}, raise_on_error=False)
    return result.content[0].text


async def test_two_servers_limit_a_caller_together_and_workers_do_not_divide_it(serve: Serve) -> None:
    async with serve(WORKERS="3") as one, serve(WORKERS="3") as other:
        outcomes = [await outcome(client) for client in (one, other, one, other)]
    assert outcomes[:3] == ["ok"] * 3
    assert outcomes[3].startswith("Too many calls: try again in ")


async def test_while_redis_is_down_each_server_limits_by_itself_and_says_so_once(
    serve: Serve, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    wire.closed = True
    async with serve() as one, serve() as other:
        for client in (one, other):
            outcomes = [await outcome(client) for _ in range(5)]
            assert outcomes[:3] == ["ok"] * 3
            assert all("Too many calls" in text for text in outcomes[3:])
        assert caplog.text.count("Each replica limits calls by itself") == 2  # once for each of two servers


async def test_the_shared_limit_is_used_again_when_redis_is_back(serve: Serve, wire: Wire) -> None:
    wire.closed = True
    async with serve(RATE_LIMIT_PAUSE_SECONDS="0") as client:
        assert [await outcome(client) for _ in range(3)] == ["ok"] * 3
        wire.closed = False
        assert [await outcome(client) for _ in range(3)] == ["ok"] * 3
        assert "Too many calls" in await outcome(client)


async def test_a_limit_that_fails_closed_refuses_while_redis_is_down(serve: Serve, wire: Wire) -> None:
    wire.closed = True
    async with serve(RATE_LIMIT_FAIL="closed", RATE_LIMIT_PAUSE_SECONDS="0") as client:
        assert await outcome(client) == "Redis does not respond."
        wire.closed = False
        assert await outcome(client) == "ok"


async def test_a_cancelled_call_leaves_the_limit_usable(opened: Opened, wire: Wire) -> None:
    limit = SharedLimit(await opened(), per_minute=600_000, burst=10_000)
    for _ in range(20):
        calls = [asyncio.create_task(limit.wait("ada")) for _ in range(30)]
        await asyncio.sleep(0)
        await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        for call in calls[::2]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(answer == 0 or isinstance(answer, asyncio.CancelledError) for answer in answers)
    assert wire.accepted < 400


def test_the_url_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE_LIMIT_URL", "redis://u:hunter2@h")
    assert "hunter2" not in repr(RateLimitingSettings())
