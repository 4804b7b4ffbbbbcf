"""The API client's pool: all calls share it, and its failures are readable."""

import asyncio

import pytest
from fastmcp import Client, FastMCP

from my_mcp_server.runtime.api_failures import (
    UpstreamFailure,
    UpstreamTimeout,
)
from my_mcp_server.upstream import (
    Api,
    upstream_api,
)

from ...upstream import DROPPED, answer, local_upstream


async def request(endpoint: str, api: Api) -> int:
    return (await api.get(endpoint)).status


async def test_calls_of_a_tool_share_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    async with local_upstream() as upstream:
        upstream.default = answer(body={"ok": True}, pause_seconds=0.002)
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        at_a_time = asyncio.Semaphore(3)

        async with Client(FastMCP("test", tools=[request])) as client:

            async def call(number: int) -> None:
                async with at_a_time:
                    await client.call_tool("request", {"endpoint": f"users/{number}"})

            await asyncio.gather(*(call(number) for number in range(30)))

    assert len(upstream.requests) == 30
    assert upstream.connections <= 3


async def test_the_api_client_does_not_retry_a_failed_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with local_upstream(answer(503), DROPPED) as upstream:
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        async with upstream_api() as api:
            for _ in range(2):
                with pytest.raises(UpstreamFailure):
                    await api.get("users")
    assert len(upstream.requests) == 2


async def test_a_call_reports_that_the_pool_is_exhausted(monkeypatch: pytest.MonkeyPatch) -> None:
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
