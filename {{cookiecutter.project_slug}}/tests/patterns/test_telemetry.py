"""Each request is one span and one measurement, with bounded names and without argument values."""

import io
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.tools import ToolResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from {{ cookiecutter.package_name }}.patterns.telemetry import (
    DURATION_BUCKETS,
    RequestTelemetry,
    TraceIds,
)

MODES = ["auto", "legacy"]
CANARY = "hunter2"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
# The requests of the protocol before and after a call.
OVERHEAD = {"initialize", "server/discover", "tools/list"}


@dataclass
class Collected:
    """The exported spans and metrics, in memory."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)

    def __post_init__(self) -> None:
        self.traces = TracerProvider(shutdown_on_exit=False)
        self.traces.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    @property
    def spans(self) -> list[ReadableSpan]:
        """Return the spans of all requests except those that a client sends on its own."""
        return [span for span in self.exporter.get_finished_spans() if span.name not in OVERHEAD]

    def points(self, metric: str) -> list[Any]:
        """Return the series of a metric."""
        data = self.reader.get_metrics_data()
        assert data is not None
        scopes = (scope for resource in data.resource_metrics for scope in resource.scope_metrics)
        every = (one for scope in scopes for one in scope.metrics)
        return [point for one in every if one.name == metric for point in one.data.data_points]


@pytest.fixture
def collected() -> Collected:
    return Collected()


async def work(outcome: str = "", note: str = "") -> ToolResult:
    """End in one of the ways in which calls end."""
    match outcome:
        case "error":
            return ToolResult(content=note, is_error=True)
        case "coded":
            error = {"error": {"code": "TIMEOUT", "message": note}}
            return ToolResult(content=note, structured_content=error, is_error=True)
        case "unexpected":
            raise ValueError(note)
    logging.getLogger("test").info("working")
    return ToolResult(content="done")


def traced_server(collected: Collected) -> FastMCP[Any]:
    """Return a server whose requests are collected."""
    server = FastMCP("test", tools=[work], mask_error_details=True)
    telemetry = RequestTelemetry(
        server, collected.traces.get_tracer("test"), collected.meters.get_meter("test")
    )
    server._mcp_server.middleware.insert(0, telemetry)
    return server


@pytest.mark.parametrize("mode", MODES)
async def test_a_call_is_one_span_and_one_measurement(mode: str, collected: Collected) -> None:
    async with Client(traced_server(collected), mode=mode) as client:
        await client.call_tool("work", {"note": CANARY})
    (span,) = collected.spans
    assert span.name == "tools/call work"
    assert span.attributes is not None
    assert span.attributes["mcp.method.name"] == "tools/call"
    assert span.attributes["gen_ai.tool.name"] == "work"
    assert span.attributes["gen_ai.operation.name"] == "execute_tool"
    assert span.status.is_unset
    assert CANARY not in span.to_json()
    points = collected.points("mcp.server.operation.duration")
    (point,) = [one for one in points if one.attributes["mcp.method.name"] == "tools/call"]
    assert point.count == 1
    assert point.explicit_bounds == DURATION_BUCKETS
    assert {one.value for one in collected.points("mcp.server.active_requests")} == {0}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("outcome", "error_type"),
    [("error", "tool_error"), ("coded", "TIMEOUT"), ("unexpected", "tool_error")],
)
async def test_a_failure_has_a_type_and_no_text(
    outcome: str, error_type: str, mode: str, collected: Collected
) -> None:
    async with Client(traced_server(collected), mode=mode) as client:
        arguments = {"outcome": outcome, "note": CANARY}
        await client.call_tool("work", arguments, raise_on_error=False)
    (span,) = collected.spans
    assert span.attributes is not None
    assert span.attributes["error.type"] == error_type
    assert not span.status.is_ok
    assert CANARY not in span.to_json()


@pytest.mark.parametrize("mode", MODES)
async def test_the_client_is_the_parent(mode: str, collected: Collected) -> None:
    async with Client(traced_server(collected), mode=mode) as client:
        await client.call_tool("work", meta={"traceparent": TRACEPARENT})
    (span,) = collected.spans
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert f"{span.parent.span_id:016x}" == PARENT_ID


async def test_names_that_clients_invent_are_one_name(collected: Collected) -> None:
    async with Client(traced_server(collected)) as client:
        for number in range(5):
            await client.call_tool(f"invented-{number}", raise_on_error=False)
    assert {span.name for span in collected.spans} == {"tools/call _OTHER"}
    assert "invented" not in str(collected.reader.get_metrics_data())


async def test_a_line_of_the_log_names_its_trace(collected: Collected) -> None:
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logging.Formatter("%(trace_id)s %(span_id)s %(message)s"))
    handler.addFilter(TraceIds())
    log = logging.getLogger("test")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        async with Client(traced_server(collected)) as client:
            await client.call_tool("work")
    finally:
        log.removeHandler(handler)
        log.setLevel(logging.NOTSET)
    (span,) = collected.spans
    assert span.context is not None
    ids = f"{span.context.trace_id:032x} {span.context.span_id:016x}"
    assert handler.stream.getvalue() == f"{ids} working\n"
