"""Concurrent but bounded, in order, with failures per item."""

import asyncio
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from {{ cookiecutter.package_name }}.patterns.parallel_processing import (
    Outcome,
    process_in_parallel,
)
from {{ cookiecutter.package_name }}.runtime.errors import (
    ToolFailure,
)


class Crowd:
    """Processes items slowly, and counts concurrent items and tasks."""

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


async def test_the_number_of_workers_limits_concurrency() -> None:
    crowd = Crowd()
    await process_in_parallel(crowd.process, range(50), workers=4)
    assert crowd.most_present == 4


async def test_results_are_in_input_order() -> None:
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


async def test_a_failure_affects_only_its_item(caplog: pytest.LogCaptureFixture) -> None:
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


async def test_cancelling_the_call_stops_running_items_and_starts_no_more() -> None:
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
