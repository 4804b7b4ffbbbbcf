"""Many calls go through few connections."""

import asyncio
from collections.abc import Callable

import pytest
from fastmcp import Client

from .process import ServerProcess
from .upstream import Api, server_of, shared_api

CALLS = 30
AT_ONCE = 3


@pytest.fixture
def api(request: pytest.FixtureRequest) -> Api:
    return shared_api(request)


@pytest.fixture
def server(api: Api, request: pytest.FixtureRequest) -> ServerProcess:
    return server_of(api, request)


@pytest.mark.checklist("connection-pooling")
async def test_thirty_calls_three_at_a_time_take_at_most_three_connections(
    api: Api, server: ServerProcess, record_property: Callable[[str, object], None]
) -> None:
    before = api.upstream.connections
    async with (
        Client(f"{server.url}/mcp", mode="auto") as modern,
        Client(f"{server.url}/mcp", mode="legacy") as legacy,
    ):
        waiting = iter([modern, legacy] * (CALLS // 2))

        async def work() -> None:
            for client in waiting:
                answer = await client.call_tool("api_request", {"endpoint": "pooled"})
                assert answer.data.data == {"ok": True}

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    connections = api.upstream.connections - before
    assert api.upstream.paths.count("/pooled") == CALLS
    assert connections <= AT_ONCE
    record_property("observed", f"{CALLS} calls, {connections} new connections")
