"""However many callers wait for the same thing, the API is asked once."""

import asyncio
from collections.abc import Callable

import pytest
from fastmcp import Client

from ..upstream import answer
from .process import ServerProcess
from .upstream import Api, server_of, shared_api

CALLERS = 10


@pytest.fixture
def api(request: pytest.FixtureRequest) -> Api:
    return shared_api(request)


@pytest.fixture
def server(api: Api, request: pytest.FixtureRequest) -> ServerProcess:
    return server_of(api, request)


@pytest.mark.checklist("caching")
async def test_concurrent_calls_of_both_eras_share_one_request_and_later_ones_need_none(
    api: Api, server: ServerProcess, record_property: Callable[[str, object], None]
) -> None:
    api.upstream.faults = {"shared": answer(body={"n": 1}, pause_seconds=0.2)}
    arguments = {"resource_id": "shared"}
    async with (
        Client(f"{server.url}/mcp", mode="auto") as modern,
        Client(f"{server.url}/mcp", mode="legacy") as legacy,
    ):
        calls = [
            client.call_tool("cached_fetch", arguments)
            for client in (modern, legacy)
            for _ in range(CALLERS)
        ]
        for result in await asyncio.gather(*calls):
            assert result.structured_content["data"] == {"n": 1}
        later = await legacy.call_tool("cached_fetch", arguments)
    assert later.meta is not None
    assert later.meta["from_cache"] is True
    asked = [path for path in api.upstream.paths if path.endswith("/shared")]
    assert len(asked) == 1
    record_property("observed", f"{len(calls) + 1} calls, {len(asked)} request")
