"""A caller that asks too often is told when to come back, and others wait no longer for it."""

import re

import pytest

from .process import ServerProcess
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
