"""Details of the rate limit: which requests count, over HTTP and in workers, and recovery."""

import asyncio
import importlib.util
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.prompts import Prompt
from fastmcp.resources import Resource
from fastmcp.utilities.tests import asgi_server
from mcp import MCPError

from my_mcp_server.patterns.rate_limiting import (
    RateLimiting,
    RateLimitingSettings,
)
from my_mcp_server.runtime.arguments import (
    ReadableArguments,
)
from my_mcp_server.runtime.lifespan import (
    runtime,
)
from my_mcp_server.settings import (
    InvalidSettings,
    check_settings,
)

from ...patterns.test_rate_limiting import Clock, called_by, echo, refused


def server(
    *,
    burst: int,
    per_minute: int = 60,
    max_callers: int = 100,
    workers: int = 1,
    clock: Clock | None = None,
) -> FastMCP[Any]:
    limits = RateLimitingSettings(
        rate_limit_burst=burst,
        rate_limit_per_minute=per_minute,
        rate_limit_max_callers=max_callers,
        workers=workers,
    )
    return FastMCP(
        "test",
        tools=[echo],
        middleware=[RateLimiting(limits, clock or Clock()), ReadableArguments()],
        lifespan=runtime,
        mask_error_details=True,
    )


@pytest.fixture
def with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the client library is installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


@pytest.mark.parametrize("url", ["sqlite:///limit.db", "postgresql://h/n", "redis://h:x", "h"])
def test_an_unusable_url_of_the_limit_is_a_settings_error(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATE_LIMIT_URL", url)
    problem = "^RATE_LIMIT_URL: (must be memory://|has an invalid port)"
    with pytest.raises(InvalidSettings, match=problem):
        check_settings()


def test_the_url_of_the_limit_is_a_secret(
    with_the_extra: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATE_LIMIT_URL", "redis://user:hunter2@h")
    settings = RateLimitingSettings()
    assert "hunter2" not in repr(settings) + settings.model_dump_json()


def test_sessions_with_a_shared_limit_are_refused(
    with_the_extra: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_SESSIONS", "true")
    assert RateLimitingSettings().http_sessions
    monkeypatch.setenv("RATE_LIMIT_URL", "redis://h")
    with pytest.raises(InvalidSettings, match="HTTP_SESSIONS: sessions are"):
        check_settings()


async def test_the_number_of_remembered_callers_is_bounded() -> None:
    async with Client(server(burst=1, max_callers=5)) as client:
        for number in range(20):
            with called_by(f"caller {number}"):
                assert not await refused(client)
        remembered = []
        for number in (19, 18, 17, 16, 15, 14):
            with called_by(f"caller {number}"):
                remembered.append(await refused(client))
    assert remembered == [True] * 5 + [False]


async def test_concurrent_calls_share_the_burst() -> None:
    async with Client(server(burst=5)) as client:
        results = await asyncio.gather(*(refused(client) for _ in range(20)))
    assert results.count(False) == 5


async def test_a_rate_limit_recovers_only_up_to_the_burst() -> None:
    clock = Clock()
    async with Client(server(burst=2, clock=clock)) as client:
        for _ in range(2):
            assert [await refused(client) for _ in range(3)] == [False, False, True]
            clock.seconds += 3600


async def test_callers_without_a_token_are_identified_by_their_address() -> None:
    limited = server(burst=1)
    async with asgi_server(limited, stateless_http=True) as running:
        async with running.client() as client:
            assert [await refused(client), await refused(client)] == [False, True]
        async with running.client() as another_of_the_same_address:
            assert await refused(another_of_the_same_address)
    async with Client(limited) as local:
        assert not await refused(local)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_over_http_counts_once(mode: str) -> None:
    limited = server(burst=3)
    async with (
        asgi_server(limited, stateless_http=True) as running,
        running.client(mode=mode) as client,
    ):
        results = [
            await client.call_tool("echo", {"text": "a"}, raise_on_error=False) for _ in range(4)
        ]
    assert [result.is_error for result in results] == [False] * 3 + [True]


async def test_lists_have_their_own_rate_limit() -> None:
    async with Client(server(burst=3)) as client:
        for _ in range(3):
            await client.list_tools()
        with pytest.raises(MCPError, match="Too many calls"):
            await client.list_tools()
        assert not await refused(client)


async def test_resources_and_prompts_are_counted_with_the_tools() -> None:
    limited = server(burst=3)
    limited.add_resource(Resource.from_function(echo, uri="test://echo"))
    limited.add_prompt(Prompt.from_function(echo))
    async with Client(limited) as client:
        await client.read_resource("test://echo")
        await client.get_prompt("echo")
        assert not await refused(client)
        with pytest.raises(MCPError, match="Too many calls"):
            await client.read_resource("test://echo")
        with pytest.raises(MCPError, match="Too many calls"):
            await client.get_prompt("echo")


async def test_a_failed_call_costs_as_much() -> None:
    async with Client(server(burst=2)) as client:
        await client.call_tool("echo", {"unknown": 1}, raise_on_error=False)
        await client.call_tool("nobody", raise_on_error=False)
        assert await refused(client)


@pytest.mark.parametrize(("workers", "passing"), [(1, 8), (2, 4), (3, 3), (64, 1)])
async def test_each_of_several_workers_allows_its_part_of_the_burst(
    workers: int, passing: int
) -> None:
    async with Client(server(burst=8, workers=workers)) as client:
        results = [await refused(client) for _ in range(9)]
    assert results.count(False) == passing


async def test_workers_recover_their_part_of_the_rate() -> None:
    clock = Clock()
    async with Client(server(burst=1, per_minute=60, workers=2, clock=clock)) as client:
        assert not await refused(client)
        clock.seconds += 1.9
        assert await refused(client)
        clock.seconds += 0.1
        assert not await refused(client)


async def test_the_rate_limit_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE_LIMIT_BURST", "4")
    monkeypatch.setenv("RATE_LIMIT_PER_MINUTE", "60")
    monkeypatch.setenv("WORKERS", "2")
    async with Client(FastMCP("test", tools=[echo], middleware=[RateLimiting()])) as client:
        assert [await refused(client) for _ in range(3)] == [False, False, True]
