"""What fails for a moment succeeds in the same call; what fails for good ends soon."""

import asyncio
from collections.abc import Callable

import pytest
from fastmcp import Client

from ..upstream import DROPPED, answer
from .process import ERAS, ServerProcess
from .upstream import Api, server_of, shared_api


@pytest.fixture
def api(request: pytest.FixtureRequest) -> Api:
    return shared_api(request)


@pytest.fixture
def server(api: Api, request: pytest.FixtureRequest) -> ServerProcess:
    return server_of(api, request)


@pytest.mark.checklist("retry")
@pytest.mark.parametrize("era", ERAS)
async def test_a_call_outlives_faults_that_pass(
    era: str,
    api: Api,
    server: ServerProcess,
    record_property: Callable[[str, object], None],
) -> None:
    before = len(api.upstream.paths)
    api.upstream.answers.extend([answer(503), DROPPED])
    async with Client(f"{server.url}/mcp", mode=era) as client:
        result = await client.call_tool("resilient_api_call", {"endpoint": era})
    assert result.data.data == {"ok": True}
    assert api.upstream.paths[before:] == [f"/{era}"] * 3
    record_property("observed", "answered at the third attempt")


async def test_an_outage_is_not_multiplied_for_ever(api: Api, server: ServerProcess) -> None:
    api.upstream.faults = {"outage": answer(503)}
    before = len(api.upstream.paths)
    async with Client(f"{server.url}/mcp") as client:
        arguments = {"endpoint": "outage"}
        calls = [client.call_tool_mcp("resilient_api_call", arguments) for _ in range(2)]
        assert all(result.is_error for result in await asyncio.gather(*calls))
    assert len(api.upstream.paths) - before <= 2 * 4
