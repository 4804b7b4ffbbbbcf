"""Every type of failure has a code on the wire, and only the log has the details."""

import asyncio
from typing import Any

import pytest

from .process import ServerProcess
from .report import Observe
from .wire import MODES

FAILURES: list[tuple[str, dict[str, Any], str]] = [
    ("probe_echo", {}, "VALIDATION_ERROR"),
    ("probe_coded_error", {"code": "API_ERROR"}, "API_ERROR"),
    ("no_such_tool", {}, "NOT_FOUND"),
    ("probe_wait", {"seconds": 30, "label": "hangs"}, "TIMEOUT"),
    ("probe_fail", {}, "UNKNOWN"),
]


@pytest.mark.checklist("structured-errors")
async def test_a_failure_has_a_code_in_both_eras_and_an_unknown_one_an_id_from_the_log(
    server: ServerProcess, observe: Observe
) -> None:
    async def errors(mode: str) -> list[dict[str, Any]]:
        async with server.client(mode) as client:
            calls = [client.call_tool_mcp(tool, arguments) for tool, arguments, _ in FAILURES]
            results = await asyncio.gather(*calls)
        assert all(result.is_error for result in results)
        return [(result.structured_content or {})["error"] for result in results]

    for failures in await asyncio.gather(*map(errors, MODES)):
        assert [failure["code"] for failure in failures] == [code for *_, code in FAILURES]
        unknown = failures[-1]
        assert "canary" not in str(unknown)
        await server.logged(unknown["details"]["error_id"])
    observe(f"{len(FAILURES)} codes in both eras")
