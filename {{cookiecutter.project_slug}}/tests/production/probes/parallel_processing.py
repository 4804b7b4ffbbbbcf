"""Process items concurrently, some of which fail."""

from typing import Any

from fastmcp import Context

from {{ cookiecutter.package_name }}.patterns.parallel_processing import (
    ParallelWorkers,
    process_in_parallel,
)
from {{ cookiecutter.package_name }}.runtime.errors import (
    ToolFailure,
)


async def double(number: int) -> int:
    if number < 0:
        raise ToolFailure(f"{number} is negative.")
    return 2 * number


async def probe_batch(
    numbers: list[int], workers: ParallelWorkers, ctx: Context
) -> list[dict[str, Any]]:
    outcomes = await process_in_parallel(
        double, numbers, workers=workers, report_progress=ctx.report_progress
    )
    return [{"result": outcome.result, "error": outcome.error} for outcome in outcomes]
