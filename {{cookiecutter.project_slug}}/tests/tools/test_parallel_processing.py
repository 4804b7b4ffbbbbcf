"""The example tool `batch_process`."""

import asyncio

import pytest
from fastmcp import Client

from {{ cookiecutter.package_name }}.runtime.errors import (
    ToolFailure,
)
from {{ cookiecutter.package_name }}.server import (
    mcp,
)
from {{ cookiecutter.package_name }}.tools import (
    parallel_processing,
)

from ..client import McpClient


async def test_a_blank_item_fails_alone(client: McpClient) -> None:
    result = await client.call("batch_process", items=["tea for two", "  ", "milk"])
    assert result == {
        "succeeded": 2,
        "failed": 1,
        "items": [
            {"index": 0, "ok": True, "words": 3, "error": ""},
            {"index": 1, "ok": False, "words": 0, "error": "The item is blank."},
            {"index": 2, "ok": True, "words": 1, "error": ""},
        ],
        "hint": "",
    }


async def test_a_hundred_items_are_answered_in_full_and_their_progress_is_reported() -> None:
    complete = asyncio.Event()

    async def see(done: float, total: float | None, _: str | None) -> None:
        if done == total == 100:
            complete.set()

    items = ["word " * 2000] * 100
    async with Client(mcp) as client, asyncio.timeout(5):
        result = await client.call_tool("batch_process", {"items": items}, progress_handler=see)
        await complete.wait()
    assert [item["words"] for item in result.structured_content["items"]] == [2000] * 100


@pytest.mark.parametrize("items", [[], ["tea"] * 101, ["t" * 10_001]], ids=["0", "101", "long"])
async def test_a_batch_has_1_to_100_items_of_at_most_10_000_characters(
    client: McpClient, items: list[str]
) -> None:
    assert "items" in await client.fail("batch_process", items=items)


async def test_results_that_do_not_fit_are_left_out_with_a_hint(
    client: McpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(text: str) -> int:
        raise ToolFailure(f"Grüße, 茶: {text}")

    monkeypatch.setenv("RESULT_MAX_BYTES", "2000")
    monkeypatch.setattr(parallel_processing, "count_words", refuse)
    result = await client.call("batch_process", items=["tea"] * 100)
    fitting = len(result["items"])
    assert 10 < fitting < 100
    assert result["failed"] == 100
    assert result["hint"].startswith(f"Only {fitting} of 100 fit in the result.")
