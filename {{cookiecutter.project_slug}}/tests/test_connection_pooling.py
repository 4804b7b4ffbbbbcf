"""One pool for all calls: bounded, reused, and closed at the end."""

import asyncio

import httpx2 as httpx
import pytest
from fastmcp import Client, FastMCP

from {{ cookiecutter.package_name }}.patterns.connection_pooling import (
    ConnectionPoolingSettings,
    connection_pool,
)
from {{ cookiecutter.package_name }}.runtime.api_failures import (
    UpstreamTimeout,
)
from {{ cookiecutter.package_name }}.tools.connection_pooling import (
    api_request,
)
from {{ cookiecutter.package_name }}.upstream import (
    upstream_api,
)

from .upstream import DROPPED, answer, assert_a_long_answer_is_shortened, local_upstream


async def test_thirty_calls_three_at_a_time_need_at_most_three_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with local_upstream() as upstream:
        upstream.default = answer(body={"ok": True}, pause_seconds=0.002)
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        at_a_time = asyncio.Semaphore(3)

        async with Client(FastMCP("test", tools=[api_request])) as client:

            async def call(number: int) -> None:
                async with at_a_time:
                    await client.call_tool("api_request", {"endpoint": f"users/{number}"})

            await asyncio.gather(*(call(number) for number in range(30)))

    assert len(upstream.requests) == 30
    assert upstream.connections <= 3


async def test_a_failed_call_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with local_upstream(answer(503), DROPPED) as upstream:
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        async with Client(FastMCP("test", tools=[api_request])) as client:
            for _ in range(2):
                result = await client.call_tool(
                    "api_request", {"endpoint": "users"}, raise_on_error=False
                )
                assert result.is_error
    assert len(upstream.requests) == 2


async def test_a_call_that_finds_no_free_connection_fails_fast() -> None:
    settings = ConnectionPoolingSettings(pool_max_connections=1, pool_wait_seconds=0.01)
    async with local_upstream() as upstream:
        upstream.default = answer(pause_seconds=5)
        async with connection_pool(settings) as client:
            first = asyncio.create_task(client.get(upstream.url))
            await upstream.requested.wait()
            with pytest.raises(httpx.PoolTimeout):
                await client.get(upstream.url)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)


async def test_a_call_says_that_the_pool_is_exhausted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POOL_MAX_CONNECTIONS", "1")
    monkeypatch.setenv("POOL_WAIT_SECONDS", "0.01")
    async with local_upstream(answer(pause_seconds=5)) as upstream:
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        async with upstream_api() as api:
            first = asyncio.create_task(api.get("users"))
            await upstream.requested.wait()
            with pytest.raises(UpstreamTimeout, match="All connections to the API are in use"):
                await api.get("users")
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            assert (await api.get("users")).data == {"ok": True}


async def test_the_pool_is_closed_at_the_end() -> None:
    async with connection_pool(ConnectionPoolingSettings()) as client:
        assert not client.is_closed
    assert client.is_closed


async def test_a_long_answer_is_shortened_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    await assert_a_long_answer_is_shortened(api_request, {"endpoint": "users"}, monkeypatch)
