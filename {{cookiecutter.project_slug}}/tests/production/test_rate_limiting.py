"""A caller that asks too often is told when to come back, and others wait no longer for it."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fastmcp import Client

from .process import ERAS, bare_environment, http_server


@pytest.mark.checklist("rate-limiting")
async def test_calls_over_the_limit_are_refused_in_both_eras_with_the_time_to_wait(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    limits = {"RATE_LIMIT_BURST": "4", "RATE_LIMIT_PER_MINUTE": "1"}
    with http_server(bare_environment(tmp_path, **limits)) as server:
        # Two calls in each era, and no more: nothing but a call is counted.
        for _ in range(2):
            for era in ERAS:
                async with Client(f"{server.url}/mcp", mode=era) as client:
                    await client.list_tools()
                    await client.call_tool("process_data", {"text": "tea"})
        for era in ERAS:
            async with Client(f"{server.url}/mcp", mode=era) as client:
                result = await client.call_tool_mcp("process_data", {"text": "tea"})
            assert result.is_error
            text = result.content[0].text
            seconds = re.search(r"try again in ([\d.]+) seconds", text)
            assert seconds, text
            assert 0 < float(seconds[1]) <= 60
    record_property("observed", text)
