"""A collector gets the spans of a running server, and a broken collector does not affect calls."""

import os
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from .process import STOP, ServerProcess
from .report import Observe
from .telemetry import Collector, attributes_of
from .wire import MODES

CANARY = "hunter2"
# For tests whose server sends to the collector, without delay.
traced = pytest.mark.serving(
    OTEL_EXPORTER_OTLP_ENDPOINT="{collector.url}",
    OTEL_BSP_SCHEDULE_DELAY="50",
    OTEL_METRIC_EXPORT_INTERVAL="100",
)


def trace_of(number: int) -> tuple[bytes, str]:
    """Return the id of a client's trace, and the header that names it."""
    own = os.urandom(16)
    return own, f"00-{own.hex()}-{number:016x}-01"


def series(collector: Collector, metric: str) -> Iterator[dict[str, Any]]:
    for one in collector.metrics:
        if one.name == metric:
            yield from (attributes_of(point) for point in one.histogram.data_points)


@traced
@pytest.mark.checklist("telemetry")
async def test_each_call_is_one_span_below_that_of_its_client(
    collector: Collector, server: ServerProcess, observe: Observe
) -> None:
    for mode in MODES:
        trace_id, traceparent = trace_of(7)
        async with server.client(mode) as client:
            meta = {"traceparent": traceparent}
            await client.call_tool("probe_echo", {"text": CANARY}, meta=meta)

        def found(trace_id: bytes = trace_id) -> list[Any]:
            return [span for span in collector.spans if span.trace_id == trace_id]

        await anyio.to_thread.run_sync(collector.wait_for, found)
        (span,) = found()
        assert span.name == "tools/call probe_echo"
        assert span.parent_span_id == bytes.fromhex(f"{7:016x}")
        assert CANARY not in str(span)

    def measured() -> bool:
        calls = series(collector, "mcp.server.operation.duration")
        return "probe_echo" in {one.get("gen_ai.tool.name") for one in calls}

    await anyio.to_thread.run_sync(collector.wait_for, measured)
    observe(f"{len(MODES)} spans of {len(MODES)} calls, and their durations")


@traced
@pytest.mark.ends_server
async def test_a_collector_that_never_answers_delays_neither_calls_nor_shutdown(
    collector: Collector, server: ServerProcess
) -> None:
    before = collector.requests
    with collector.hanging():
        async with server.clients() as clients:
            for client in clients:
                result = await client.call_tool("probe_echo", {"text": "answered"})
                assert result.data == "answered"
        await anyio.to_thread.run_sync(collector.wait_for, lambda: collector.requests > before)
        server.process.send_signal(STOP)
        await server.ended()
    await server.logged("The last traces and metrics were lost")
    await server.logged("Application shutdown complete")
    assert "Exiting before the shutdown is complete" not in "".join(server.log)
