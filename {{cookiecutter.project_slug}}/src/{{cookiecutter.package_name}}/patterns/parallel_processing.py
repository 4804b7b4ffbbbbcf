"""Process many items concurrently, but not all at once.

`gather` over a list starts one task per item. When one fails, it raises that failure, loses all
results and leaves the other tasks running. Here a few workers share one iterator. Concurrency is
bounded, results are in input order, a failure affects only its item, and cancelling the call
stops the rest.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

import anyio
from fastmcp.dependencies import Shared
from pydantic import Field

from ..runtime.containment import is_cancelled
from ..runtime.errors import ToolFailure
from ..settings import Settings

batch_log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class ParallelProcessingSettings(Settings):
    parallel_workers: int = Field(8, ge=1, le=256)


@dataclass(frozen=True)
class Outcome(Generic[Item, Result]):
    """The outcome of one item: a result, or the reason why there is none."""

    item: Item
    result: Result | None = None
    error: str = ""


async def _no_progress(_done: int, _total: int) -> None:
    """Do not report progress."""


async def process_in_parallel(
    process: Callable[[Item], Awaitable[Result]],
    items: Sequence[Item],
    *,
    workers: int,
    report_progress: Callable[[int, int], Awaitable[None]] = _no_progress,
) -> list[Outcome[Item, Result]]:
    """Return one outcome per item, in the order of `items`; at most `workers` run concurrently.

    A `ToolFailure` becomes that item's error; any other exception is logged and masked.
    """
    outcomes: dict[int, Outcome[Item, Result]] = {}
    waiting = iter(enumerate(items))

    async def work() -> None:
        for index, item in waiting:
            try:
                outcomes[index] = Outcome(item, result=await process(item))
            except ToolFailure as failure:
                outcomes[index] = Outcome(item, error=str(failure))
            except (Exception, SystemExit, KeyboardInterrupt, asyncio.CancelledError):
                if is_cancelled():
                    raise
                batch_log.exception("Item %d of a batch failed", index)
                outcomes[index] = Outcome(item, error="An unexpected error occurred.")
            await report_progress(len(outcomes), len(items))

    async with anyio.create_task_group() as tasks:
        for _ in range(min(workers, len(items))):
            tasks.start_soon(work)
    return [outcomes[index] for index in range(len(items))]


def parallel_workers() -> int:
    return ParallelProcessingSettings().parallel_workers


ParallelWorkers = Annotated[int, Shared(parallel_workers)]
