"""Details of batches: tasks, progress, and tools that run them."""

import asyncio

import pytest
from anyio.lowlevel import checkpoint
from fastmcp import Client, Context, FastMCP

from my_mcp_server.patterns.parallel_processing import (
    ParallelWorkers,
    process_in_parallel,
)
from my_mcp_server.runtime.errors import (
    ToolFailure,
)

from ...patterns.test_parallel_processing import Crowd


async def test_a_thousand_items_need_no_more_tasks_than_workers() -> None:
    crowd = Crowd()
    before = len(asyncio.all_tasks())
    await process_in_parallel(crowd.process, range(1000), workers=4)
    assert crowd.most_tasks == before + 4


@pytest.mark.parametrize("workers", [1, 4, 100])
async def test_progress_rises_by_one_up_to_the_total(workers: int) -> None:
    reports: list[tuple[int, int]] = []

    async def process(item: int) -> None:
        for _ in range(item % 3):
            await checkpoint()
        if item % 2:
            raise ToolFailure("Odd.")

    async def report(done: int, total: int) -> None:
        reports.append((done, total))
        await checkpoint()

    await process_in_parallel(process, range(10), workers=workers, report_progress=report)
    assert reports == [(done, 10) for done in range(1, 11)]


async def test_no_items_give_no_outcomes() -> None:
    assert await process_in_parallel(Crowd().process, [], workers=4) == []


async def test_a_tool_uses_the_configured_workers_and_the_client_sees_the_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    crowd = Crowd()
    reports: list[tuple[float, float | None]] = []
    complete = asyncio.Event()

    async def measure(items: list[str], workers: ParallelWorkers, ctx: Context) -> list[int]:
        outcomes = await process_in_parallel(
            crowd.process, items, workers=workers, report_progress=ctx.report_progress
        )
        return [outcome.result or 0 for outcome in outcomes]

    async def see(done: float, total: float | None, _: str | None) -> None:
        reports.append((done, total))
        if len(reports) == total:
            complete.set()

    monkeypatch.setenv("PARALLEL_WORKERS", "3")
    async with Client(FastMCP("test", tools=[measure])) as client:
        items = {"items": ["tea"] * 20}
        result = await client.call_tool("measure", items, progress_handler=see)
        async with asyncio.timeout(5):
            await complete.wait()
    assert result.structured_content["result"] == [3] * 20
    assert crowd.most_present == 3
    assert sorted(reports) == [(done, 20) for done in range(1, 21)]
