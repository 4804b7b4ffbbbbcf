"""A caller over its limit is told when to retry, and others are not affected."""

import re
import sys
from pathlib import Path

import pytest

from .engines import replicas
from .process import ServerProcess
from .redis_engine import redis_engine
from .report import Observe
from .wire import MODES


@pytest.mark.serving(RATE_LIMIT_BURST="4", RATE_LIMIT_PER_MINUTE="1")
@pytest.mark.checklist("rate-limiting")
async def test_calls_over_the_limit_are_refused_in_both_eras_with_the_time_to_wait(
    server: ServerProcess, observe: Observe
) -> None:
    # Two calls in each era, and no more: nothing but a call is counted.
    for mode in MODES * 2:
        async with server.client(mode) as client:
            await client.list_tools()
            await client.call_tool("probe_echo", {"text": "tea"})
    for mode in MODES:
        async with server.client(mode) as client:
            result = await client.call_tool_mcp("probe_echo", {"text": "tea"})
        assert result.is_error
        text = result.content[0].text
        seconds = re.search(r"try again in ([\d.]+) seconds", text)
        assert seconds, text
        assert 0 < float(seconds[1]) <= 60
    observe(text)


@pytest.mark.skipif(sys.platform == "win32", reason="the engines do not run on Windows")
async def test_replicas_on_one_engine_have_one_limit(tmp_path: Path) -> None:
    limit = {"RATE_LIMIT_BURST": "4", "RATE_LIMIT_PER_MINUTE": "1"}
    refused = []
    with redis_engine() as url, replicas(tmp_path, RATE_LIMIT_URL=url, **limit) as servers:
        for server in servers * 3:
            async with server.client() as client:
                result = await client.call_tool_mcp("probe_echo", {"text": "tea"})
            refused.append(result.is_error)
    assert refused == [False] * 4 + [True] * 2
