"""A batch over the wire: in order, with a result or failure per item, and progress."""

import pytest

from .process import ServerProcess
from .report import Observe
from .wire import MODES

NUMBERS = range(-1, 29)  # the first one fails


@pytest.mark.parametrize("mode", MODES)
async def test_a_batch_keeps_its_order_and_reports_partial_failures_and_progress(
    mode: str, server: ServerProcess, observe: Observe
) -> None:
    seen: list[tuple[float, float | None]] = []

    async def report(progress: float, total: float | None, _message: str | None) -> None:
        seen.append((progress, total))

    async with server.client(mode) as client:
        batch = {"numbers": [*NUMBERS]}
        result = await client.call_tool("probe_batch", batch, progress_handler=report)
    failed, *others = result.structured_content["result"]
    assert failed == {"result": None, "error": "-1 is negative."}
    assert others == [{"result": 2 * number, "error": ""} for number in NUMBERS[1:]]
    assert (len(NUMBERS), len(NUMBERS)) in seen
    observe(f"{len(seen)} of {len(NUMBERS)} reports of progress")
