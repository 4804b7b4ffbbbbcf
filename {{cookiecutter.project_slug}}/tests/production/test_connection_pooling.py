"""Many calls go through few connections."""

import asyncio

import pytest

from .process import ServerProcess
from .report import Observe
from .upstream import Api, calls_api

CALLS = 30
AT_ONCE = 3


@calls_api
@pytest.mark.checklist("connection-pooling")
async def test_thirty_requests_three_at_a_time_use_at_most_three_connections(
    api: Api, server: ServerProcess, observe: Observe
) -> None:
    before = api.upstream.connections
    async with server.clients() as (modern, legacy):
        waiting = iter([modern, legacy] * (CALLS // 2))

        async def work() -> None:
            for client in waiting:
                answer = await client.call_tool("probe_api", {"path": "pooled"})
                assert (answer.structured_content or {})["data"] == {"ok": True}

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    connections = api.upstream.connections - before
    assert api.upstream.paths.count("/pooled") == CALLS
    assert connections <= AT_ONCE
    observe(f"{CALLS} calls, {connections} new connections")
