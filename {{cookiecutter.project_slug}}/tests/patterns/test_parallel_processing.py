"""Side by side but bounded; in order; a failure stays with its item."""

import asyncio
import json
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from fastmcp import Client, FastMCP

from {{ cookiecutter.package_name }}.patterns.parallel_processing import (
    Outcome,
    process_in_parallel,
)
from {{ cookiecutter.package_name }}.runtime.errors import (
    ToolFailure,
)
from {{ cookiecutter.package_name }}.tools import (
    parallel_processing as tools,
)
from {{ cookiecutter.package_name }}.tools.parallel_processing import (
    batch_process,
)


class Crowd:
    """Processes items slowly, and sees how many are in process and how many tasks there are."""

    def __init__(self) -> None:
        self.present = 0
        self.most_present = 0
        self.most_tasks = 0

    async def process(self, item: Any) -> int:
        self.present += 1
        self.most_present = max(self.most_present, self.present)
        self.most_tasks = max(self.most_tasks, len(asyncio.all_tasks()))
        for _ in range(3):
            await checkpoint()
        self.present -= 1
        return len(str(item))


async def call_batch(items: list[str]) -> Any:
    server = FastMCP("test", tools=[batch_process], mask_error_details=True)
    async with Client(server) as client:
        return await client.call_tool("batch_process", {"items": items}, raise_on_error=False)


async def test_as_many_items_run_at_a_time_as_there_are_workers() -> None:
    crowd = Crowd()
    await process_in_parallel(crowd.process, range(50), workers=4)
    assert crowd.most_present == 4


async def test_a_thousand_items_need_no_more_tasks_than_workers() -> None:
    crowd = Crowd()
    before = len(asyncio.all_tasks())
    await process_in_parallel(crowd.process, range(1000), workers=4)
    assert crowd.most_tasks == before + 4


async def test_the_tool_runs_as_many_workers_as_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd()
    monkeypatch.setenv("PARALLEL_WORKERS", "3")
    monkeypatch.setattr(tools, "count_words", crowd.process)
    result = await call_batch(["tea"] * 20)
    assert result.structured_content["succeeded"] == 20
    assert crowd.most_present == 3


async def test_results_have_the_order_of_the_items_whichever_is_done_first() -> None:
    items = [0, 1, 2, 3]
    done = [anyio.Event() for _ in items]
    finished: list[int] = []

    async def process(item: int) -> int:
        if item < 3:
            await done[item + 1].wait()
        finished.append(item)
        done[item].set()
        return item * 10

    outcomes = await process_in_parallel(process, items, workers=4)
    assert finished == [3, 2, 1, 0]
    assert outcomes == [Outcome(item, result=item * 10) for item in items]


async def test_a_failure_stays_with_its_item(caplog: pytest.LogCaptureFixture) -> None:
    async def process(item: str) -> str:
        if item == "refused":
            raise ToolFailure("The item is refused.")
        if item == "broken":
            raise ValueError("password=hunter2")
        return item.upper()

    items = ["tea", "refused", "broken", "milk"]
    outcomes = await process_in_parallel(process, items, workers=1)
    assert outcomes == [
        Outcome("tea", result="TEA"),
        Outcome("refused", error="The item is refused."),
        Outcome("broken", error="An unexpected error occurred."),
        Outcome("milk", result="MILK"),
    ]
    (record,) = caplog.records
    assert record.getMessage() == "Item 2 of a batch failed"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "password=hunter2"


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


async def test_cancelling_the_call_stops_what_runs_and_starts_nothing_more() -> None:
    started: list[int] = []
    stopped: list[int] = []
    all_workers_busy = asyncio.Event()

    async def process(item: int) -> None:
        started.append(item)
        if len(started) == 2:
            all_workers_busy.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.append(item)

    batch = asyncio.create_task(process_in_parallel(process, range(10), workers=2))
    await all_workers_busy.wait()
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch
    assert started == [0, 1]
    assert sorted(stopped) == [0, 1]


async def test_no_items_give_no_outcomes() -> None:
    assert await process_in_parallel(Crowd().process, [], workers=4) == []


async def test_the_tool_reports_a_blank_item_and_counts_the_others() -> None:
    result = await call_batch(["tea for two", "  ", "milk"])
    assert not result.is_error
    assert result.structured_content == {
        "succeeded": 2,
        "failed": 1,
        "items": [
            {"index": 0, "ok": True, "words": 3, "error": ""},
            {"index": 1, "ok": False, "words": 0, "error": "The item is blank."},
            {"index": 2, "ok": True, "words": 1, "error": ""},
        ],
        "hint": "",
    }


async def test_results_that_do_not_fit_are_left_out_with_a_hint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(text: str) -> int:
        raise ToolFailure(f"Grüße, 茶: {text}")

    monkeypatch.setenv("RESULT_MAX_BYTES", "2000")
    monkeypatch.setattr(tools, "count_words", refuse)
    result = await call_batch(["tea"] * 100)
    text = result.content[0].text
    batch = json.loads(text)
    assert batch == result.structured_content
    assert 1500 < len(text.encode()) <= 2000
    assert [item["index"] for item in batch["items"]] == [*range(len(batch["items"]))]
    assert (batch["succeeded"], batch["failed"]) == (0, 100)
    assert batch["hint"].startswith(f"Only {len(batch['items'])} of 100 fit into a result.")

    (item,) = (await call_batch(["tea" * 1000])).structured_content["items"]
    assert item["error"].endswith("…")


async def test_a_batch_of_a_hundred_is_answered_in_full() -> None:
    result = await call_batch(["word " * 2000] * 100)
    assert len(result.structured_content["items"]) == 100
    assert not result.structured_content["hint"]


async def test_the_client_sees_the_progress() -> None:
    reports: list[tuple[float, float | None]] = []
    complete = asyncio.Event()

    async def see(done: float, total: float | None, _: str | None) -> None:
        reports.append((done, total))
        if done == total:
            complete.set()

    async with Client(FastMCP("test", tools=[batch_process])) as client:
        items = {"items": ["tea", "milk", "sugar"]}
        await client.call_tool("batch_process", items, progress_handler=see)
        async with asyncio.timeout(5):
            await complete.wait()
    assert sorted(reports) == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("items", "refused"),
    [(["tea"] * 100, False), (["tea"] * 101, True), ([], True), (["t" * 10_001], True)],
    ids=["100 items", "101 items", "no items", "a long item"],
)
async def test_the_size_of_a_batch_is_bounded(items: list[str], refused: bool) -> None:
    result = await call_batch(items)
    assert result.is_error == refused
