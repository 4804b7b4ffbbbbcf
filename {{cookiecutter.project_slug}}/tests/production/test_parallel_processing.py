"""A batch over the wire: in order, with the failures at their items, and progress meanwhile."""

from collections.abc import Callable

import pytest
from fastmcp import Client

from .process import ERAS, ServerProcess, shared_server

ITEMS = ["tea " * words for words in range(30)]  # the first is blank, and fails


@pytest.fixture
def server(request: pytest.FixtureRequest) -> ServerProcess:
    return shared_server(request)


@pytest.mark.parametrize("era", ERAS)
async def test_a_batch_keeps_its_order_tells_partial_failures_and_reports_progress(
    era: str, server: ServerProcess, record_property: Callable[[str, object], None]
) -> None:
    seen: list[tuple[float, float | None]] = []

    async def report(progress: float, total: float | None, _message: str | None) -> None:
        seen.append((progress, total))

    async with Client(f"{server.url}/mcp", mode=era) as client:
        result = await client.call_tool("batch_process", {"items": ITEMS}, progress_handler=report)
    assert result.structured_content is not None
    items = result.structured_content["items"]
    assert [item["words"] for item in items] == list(range(len(ITEMS)))
    assert [item["index"] for item in items if not item["ok"]] == [0]
    assert "blank" in items[0]["error"]
    assert (len(ITEMS), len(ITEMS)) in seen
    record_property("observed", f"{len(seen)} of {len(ITEMS)} reports of progress")
