"""Every kind of failure has its code on the wire, and the log knows what the client must not."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastmcp import Client

from .process import ERAS, ServerProcess, shared_server

FAILURES: list[tuple[str, dict[str, Any], str]] = [
    ("process_data", {}, "VALIDATION_ERROR"),
    ("validated_operation", {"data": "{"}, "VALIDATION_ERROR"),
    ("no_such_tool", {}, "NOT_FOUND"),
    ("wait", {"seconds": 30, "label": "hangs"}, "TIMEOUT"),
    ("fail", {}, "UNKNOWN"),
]


@pytest.fixture
def server(request: pytest.FixtureRequest) -> ServerProcess:
    return shared_server(request)


@pytest.mark.checklist("structured-errors")
async def test_a_failure_has_its_code_in_both_eras_and_an_unknown_one_an_id_that_the_log_repeats(
    server: ServerProcess, record_property: Callable[[str, object], None]
) -> None:
    async def errors(era: str) -> list[dict[str, Any]]:
        async with Client(f"{server.url}/mcp", mode=era) as client:
            calls = [client.call_tool_mcp(tool, arguments) for tool, arguments, _ in FAILURES]
            results = await asyncio.gather(*calls)
        assert all(result.is_error for result in results)
        return [(result.structured_content or {})["error"] for result in results]

    for failures in await asyncio.gather(*map(errors, ERAS)):
        assert [failure["code"] for failure in failures] == [code for *_, code in FAILURES]
        unknown = failures[-1]
        assert "canary" not in str(unknown)
        await server.logged(unknown["details"]["error_id"])
    record_property("observed", f"{len({code for *_, code in FAILURES})} codes in both eras")
