"""Concurrent callers of the same key share one request to the API."""

import asyncio
import sys
from pathlib import Path

import pytest

from ..upstream import answer
from .engines import replicas
from .process import ServerProcess
from .redis_engine import redis_engine
from .report import Observe
from .upstream import Api

CALLERS = 10


@pytest.mark.serving(API_BASE_URL="{api.url}")
@pytest.mark.checklist("caching")
async def test_concurrent_calls_of_both_eras_share_one_request_and_later_ones_are_hits(
    api: Api, server: ServerProcess, observe: Observe
) -> None:
    api.upstream.faults = {"shared": answer(body={"n": 1}, pause_seconds=0.2)}
    async with server.clients() as (modern, legacy):
        calls = [
            client.call_tool("probe_api_with_cache", {"path": "shared"})
            for client in (modern, legacy)
            for _ in range(CALLERS)
        ]
        for result in await asyncio.gather(*calls):
            assert (result.structured_content or {})["data"] == {"n": 1}
        later = await legacy.call_tool("probe_api_with_cache", {"path": "shared"})
    assert later.structured_content == {"data": {"n": 1}, "from_cache": True}
    asked = api.upstream.paths.count("/shared")
    assert asked == 1
    observe(f"{len(calls) + 1} calls, {asked} request")


@pytest.mark.skipif(sys.platform == "win32", reason="the engines do not run on Windows")
async def test_a_value_that_one_replica_has_loaded_serves_the_others(
    api: Api, tmp_path: Path
) -> None:
    api.upstream.faults = {"shared": answer(body={"n": 1})}
    found = []
    with (
        redis_engine() as url,
        replicas(tmp_path, CACHE_URL=url, API_BASE_URL=api.url) as servers,
    ):
        for server in servers:
            async with server.client() as client:
                result = await client.call_tool("probe_api_with_cache", {"path": "shared"})
            found.append((result.structured_content or {})["from_cache"])
    assert found == [False, True]
