"""Example of parallel processing: count the words of many texts at once."""

from typing import Annotated

from fastmcp import Context
from fastmcp.tools import tool
from pydantic import BaseModel, Field

from ..patterns.parallel_processing import (
    ParallelWorkers,
    process_in_parallel,
)
from ..results import ResultMaxBytes, fit
from ..runtime.errors import ToolFailure

Text = Annotated[str, Field(max_length=10_000)]


class BatchItem(BaseModel):
    index: int
    ok: bool
    words: int = 0
    error: str = ""


class BatchResult(BaseModel):
    succeeded: int
    failed: int
    items: list[BatchItem]
    hint: str = Field("", description="Which results are missing, if not all fit.")


async def count_words(text: str) -> int:
    """Count words; a placeholder for slow work, such as a request to a service."""
    if not text.strip():
        raise ToolFailure("The item is blank.")
    return len(text.split())


@tool(
    title="Process a batch",
    description="Count the words of many texts at once. One that fails does not stop the others.",
    annotations={
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": False,
    },
)
async def batch_process(
    items: Annotated[
        list[Text], Field(description="The texts to process.", min_length=1, max_length=100)
    ],
    workers: ParallelWorkers,
    max_bytes: ResultMaxBytes,
    ctx: Context,
) -> BatchResult:
    outcomes = await process_in_parallel(
        count_words,
        items,
        workers=workers,
        report_progress=ctx.report_progress,
    )
    results = [
        BatchItem(index=index, ok=not outcome.error, words=outcome.result or 0, error=outcome.error)
        for index, outcome in enumerate(outcomes)
    ]
    succeeded = sum(item.ok for item in results)
    page = fit(results, max_bytes, "Call again with the items whose results are missing.")
    return BatchResult(
        succeeded=succeeded,
        failed=len(results) - succeeded,
        items=page.items,
        hint=page.hint,
    )
