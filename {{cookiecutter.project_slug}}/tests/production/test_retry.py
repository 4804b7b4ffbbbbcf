"""Transient failures succeed within the same call; permanent ones fail soon."""

import asyncio

import pytest

from ..upstream import DROPPED, answer
from .process import ServerProcess
from .report import Observe
from .upstream import Api, calls_api
from .wire import MODES

pytestmark = calls_api


@pytest.mark.checklist("retry")
@pytest.mark.parametrize("mode", MODES)
async def test_a_call_survives_transient_faults(
    mode: str, api: Api, server: ServerProcess, observe: Observe
) -> None:
    before = len(api.upstream.paths)
    api.upstream.answers.extend([answer(503), DROPPED])
    async with server.client(mode) as client:
        result = await client.call_tool("probe_api_with_retries", {"path": mode})
    assert result.structured_content["data"] == {"ok": True}
    assert api.upstream.paths[before:] == [f"/{mode}"] * 3
    observe("answered at the third attempt")


async def test_retries_do_not_multiply_an_outage(api: Api, server: ServerProcess) -> None:
    api.upstream.faults = {"outage": answer(503)}
    before = len(api.upstream.paths)
    async with server.client() as client:
        calls = [
            client.call_tool_mcp("probe_api_with_retries", {"path": "outage"}) for _ in range(2)
        ]
        assert all(result.is_error for result in await asyncio.gather(*calls))
    assert len(api.upstream.paths) - before <= 2 * 4
