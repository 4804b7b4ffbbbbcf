"""Telemetry in detail: parents and links, bounded names, outgoing requests, settings, and its end."""

import asyncio
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import fastmcp
import pytest
from fastmcp import Client, FastMCP
from fastmcp.prompts import Prompt
from fastmcp.resources import Resource, ResourceTemplate
from fastmcp.server.auth import AccessToken
from mcp import MCPError
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from opentelemetry import propagate, trace
from starlette.requests import Request

from my_mcp_server.patterns import (
    telemetry,
)
from my_mcp_server.patterns.telemetry import (
    FewFromTheSdk,
    Providers,
    RequestTelemetry,
    Telemetry,
    TelemetrySettings,
    add_telemetry,
    flush,
    received_context,
    start_providers,
    traced,
)
from my_mcp_server.runtime.lifespan import (
    runtime,
)
from my_mcp_server.runtime.outgoing import (
    Outgoing,
)
from my_mcp_server.runtime.server import (
    Server,
)
from my_mcp_server.settings import (
    InvalidSettings,
    check_settings,
)

from ...patterns.test_telemetry import (
    CANARY,
    MODES,
    TRACE_ID,
    TRACEPARENT,
    Collected,
    collected,
    traced_server,
    work,
)

__all__ = ["collected"]

OTHER_PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OTHER_TRACE_ID = OTHER_PARENT.split("-")[1]
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


# Parents and links


@dataclass
class Received:
    """What the SDK tells its middleware of a message."""

    meta: Any = None
    request: Any = None


def over_http(**headers: str) -> Request:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": pairs})


def ids(received: Received) -> tuple[str, list[str]]:
    """Return the trace of the parent, and those of the links."""
    context, links = received_context(received)  # type: ignore[arg-type]
    parent = trace.get_current_span(context).get_span_context()
    return f"{parent.trace_id:032x}", [f"{link.context.trace_id:032x}" for link in links]


def test_the_meta_is_the_parent_and_the_header_a_link() -> None:
    received = Received({"traceparent": TRACEPARENT}, over_http(traceparent=OTHER_PARENT))
    assert ids(received) == (TRACE_ID, [OTHER_TRACE_ID])


def test_the_header_is_the_parent_without_another() -> None:
    assert ids(Received({}, over_http(traceparent=OTHER_PARENT))) == (OTHER_TRACE_ID, [])
    assert ids(Received(None, over_http(traceparent=OTHER_PARENT))) == (OTHER_TRACE_ID, [])


def test_the_span_of_a_web_framework_is_linked_instead_of_the_header() -> None:
    around = trace.SpanContext(int("ab" * 16, 16), 1, is_remote=False)
    received = Received({"traceparent": TRACEPARENT}, over_http(traceparent=OTHER_PARENT))
    with trace.use_span(trace.NonRecordingSpan(around)):
        assert ids(received) == (TRACE_ID, ["ab" * 16])
        assert ids(Received(None, over_http(traceparent=OTHER_PARENT))) == ("ab" * 16, [])


@pytest.mark.parametrize("value", ["", "garbage", 7, None, ["00"], {"a": 1}, "00-" + "0" * 60])
def test_a_wrong_traceparent_starts_a_new_trace(value: object) -> None:
    assert ids(Received({"traceparent": value})) == ("0" * 32, [])


@pytest.mark.parametrize("mode", MODES)
async def test_a_wrong_traceparent_fails_no_call(mode: str, collected: Collected) -> None:
    async with Client(traced_server(collected), mode=mode) as client:
        result = await client.call_tool("work", meta={"traceparent": "garbage", "baggage": "a=b"})
    assert not result.is_error
    (span,) = collected.spans
    assert span.parent is None


def test_the_baggage_of_a_client_is_not_passed_on() -> None:
    context, _ = received_context(Received({"traceparent": TRACEPARENT, "baggage": "user=alice"}))  # type: ignore[arg-type]
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    assert carrier == {"traceparent": TRACEPARENT}


# Names and values


async def speak(topic: str) -> str:
    """Return a prompt."""
    return f"Speak about {topic}"


def full_server(collected: Collected, **options: Any) -> FastMCP[Any]:
    server = FastMCP[Any]("test", tools=[work], mask_error_details=True)
    server.add_prompt(Prompt.from_function(speak))
    server.add_resource(Resource.from_function(lambda: "fixed", uri="data://fixed", name="fixed"))
    server.add_template(
        ResourceTemplate.from_function(lambda key: key, uri_template="data://{key}/x", name="keyed")
    )
    tracer, meter = collected.traces.get_tracer("test"), collected.meters.get_meter("test")
    server._mcp_server.middleware.insert(0, RequestTelemetry(server, tracer, meter, **options))
    return server


@pytest.mark.parametrize("mode", MODES)
async def test_prompts_and_resources_have_spans_without_the_values_of_arguments(
    mode: str, collected: Collected
) -> None:
    async with Client(full_server(collected), mode=mode) as client:
        await client.get_prompt("speak", {"topic": CANARY})
        await client.read_resource("data://fixed")
        await client.read_resource(f"data://{CANARY}/x")
        with pytest.raises(MCPError):
            await client.read_resource(f"data://unknown/{CANARY}")
    told = [
        (span.name, (span.attributes or {}).get("mcp.resource.uri")) for span in collected.spans
    ]
    assert told == [
        ("prompts/get speak", None),
        ("resources/read", "data://fixed"),
        ("resources/read", "data://{key}/x"),
        ("resources/read", "_OTHER"),
    ]
    assert CANARY not in "".join(span.to_json() for span in collected.spans)
    points = str(collected.reader.get_metrics_data())
    assert CANARY not in points
    assert "data://" not in points


@pytest.mark.parametrize("mode", MODES)
async def test_a_request_that_fails_has_the_code_of_the_protocol(
    mode: str, collected: Collected
) -> None:
    async with Client(full_server(collected), mode=mode) as client:
        with pytest.raises(MCPError):
            await client.get_prompt("speak", {})
    (span,) = collected.spans
    assert span.attributes is not None
    assert span.attributes["error.type"] == span.attributes["rpc.response.status_code"]
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.status.description is None


def test_the_code_of_a_structured_error_is_its_type() -> None:
    error = MCPError(-32603, "The API failed.", {"code": "API_ERROR"})
    told = {"error.type": "API_ERROR", "rpc.response.status_code": "-32603"}
    assert telemetry.failure_of_error(error) == told


@pytest.mark.parametrize("code", ["a sentence", "x" * 100, 7, None, ["A"], "ü"])
def test_text_that_does_not_look_like_a_code_does_not_become_a_name(code: object) -> None:
    result = {"isError": True, "structuredContent": {"error": {"code": code}}}
    assert telemetry.failure_of_result(result) == {"error.type": "tool_error"}


@pytest.mark.parametrize("content", [None, [], "text", {"error": "text"}, {"error": None}, {}])
def test_a_failed_call_of_any_form_has_a_type(content: object) -> None:
    result = {"isError": True, "structuredContent": content}
    assert telemetry.failure_of_result(result) == {"error.type": "tool_error"}


async def test_a_cancelled_call_ends_its_span(collected: Collected) -> None:
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    server = full_server(collected)
    server.tool(hang)
    async with Client(server) as client:
        call = asyncio.create_task(client.call_tool("hang"))
        await started.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    spans = [span for span in collected.spans if span.name == "tools/call hang"]
    assert [(span.attributes or {}).get("error.type") for span in spans] == ["cancelled"]
    assert {one.value for one in collected.points("mcp.server.active_requests")} == {0}


async def test_a_handshake_has_no_version_before_it_is_negotiated(collected: Collected) -> None:
    async with Client(traced_server(collected), mode="legacy") as client:
        await client.call_tool("work")
    spans = {span.name: span.attributes or {} for span in collected.exporter.get_finished_spans()}
    assert "mcp.protocol.version" not in spans["initialize"]
    assert spans["tools/call work"]["mcp.protocol.version"] == "2025-11-25"


async def test_methods_that_clients_invent_are_one_name(collected: Collected) -> None:
    told = RequestTelemetry(
        FastMCP("test"), collected.traces.get_tracer("test"), collected.meters.get_meter("test")
    )

    async def refuse(_: Any) -> None:
        raise MCPError(-32601, "Method not found")

    for number in range(3):
        message = Message(method=f"invented/{number}")
        with pytest.raises(MCPError):
            await told(message, refuse)  # type: ignore[arg-type]
    assert {span.name for span in collected.spans} == {"_OTHER"}
    assert "invented" not in str(collected.reader.get_metrics_data())


@dataclass
class Message(Received):
    method: str = "tools/call"
    params: dict[str, Any] = field(default_factory=dict)
    request_id: int = 1
    protocol_version: str = "2026-07-28"


@pytest.mark.parametrize("name", [None, 7, ["work"], {}])
async def test_a_name_of_another_type_is_other(name: object, collected: Collected) -> None:
    middleware = RequestTelemetry(
        traced_server(collected),
        collected.traces.get_tracer("test"),
        collected.meters.get_meter("test"),
    )

    async def answer(_: Any) -> dict[str, Any]:
        return {}

    message = Message(params={"name": name})
    assert await middleware(message, answer) == {}  # type: ignore[arg-type]
    assert {span.name for span in collected.spans} == {"tools/call _OTHER"}


@pytest.mark.parametrize("callers", [False, True])
async def test_callers_are_named_only_if_that_is_enabled(
    callers: bool, collected: Collected
) -> None:
    token = AccessToken(token="t", client_id="app", scopes=[], subject="alice")
    reset = auth_context_var.set(AuthenticatedUser(token))
    try:
        async with Client(full_server(collected, callers=callers)) as client:
            await client.call_tool("work")
    finally:
        auth_context_var.reset(reset)
    (span,) = collected.spans
    assert ("alice" in span.to_json()) is callers
    assert "alice" not in str(collected.reader.get_metrics_data())


# Outgoing requests


@dataclass
class Url:
    host: str = "api.test"
    port: int | None = None
    scheme: str = "https"


@dataclass
class Sent:
    method: str = "GET"
    url: Url = field(default_factory=Url)
    headers: dict[str, str] = field(default_factory=dict)


def test_an_outgoing_request_has_a_span_and_carries_its_context(collected: Collected) -> None:
    tracer = collected.traces.get_tracer("test")
    sent = Sent()
    with tracer.start_as_current_span("call"), traced(tracer, sent) as answered:
        answered(503)
    span, call = collected.spans
    assert span.context is not None
    assert span.parent is not None
    assert call.context is not None
    assert span.parent.span_id == call.context.span_id
    assert span.kind is trace.SpanKind.CLIENT
    assert span.attributes == {
        "http.request.method": "GET",
        "server.address": "api.test",
        "server.port": 443,
        "url.scheme": "https",
        "http.response.status_code": 503,
        "error.type": "503",
    }
    context = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-"
    assert sent.headers.keys() == {"traceparent"}
    assert sent.headers["traceparent"].startswith(context)


def test_a_request_that_fails_ends_its_span(collected: Collected) -> None:
    def fail() -> None:
        with traced(collected.traces.get_tracer("test"), Sent()):
            raise ConnectionError(CANARY)

    with pytest.raises(ConnectionError):
        fail()
    (span,) = collected.spans
    assert (span.attributes or {})["error.type"] == "ConnectionError"
    assert CANARY not in span.to_json()


def test_several_can_watch_requests_and_stop_to() -> None:
    seen: list[tuple[str, int]] = []
    outgoing = Outgoing()

    def watcher(name: str) -> Any:
        @contextmanager
        def watch(_: Any) -> Iterator[Any]:
            yield lambda status: seen.append((name, status))

        return watch

    with (
        outgoing.watched_by(watcher("first")),
        outgoing.watched_by(watcher("second")),
        outgoing.sending(Sent()) as answered,
    ):
        answered(200)
    with outgoing.sending(Sent()) as answered:
        answered(404)
    assert seen == [("first", 200), ("second", 200)]


# Settings


@pytest.mark.parametrize(
    ("variables", "traces", "metrics"),
    [
        ({}, set(), set()),
        ({ENDPOINT: "http://c"}, {"otlp"}, {"otlp"}),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/v1/traces"}, {"otlp"}, set()),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c/v1/metrics"}, set(), {"otlp"}),
        ({ENDPOINT: "http://c", "OTEL_TRACES_EXPORTER": "none"}, set(), {"otlp"}),
        ({ENDPOINT: "http://c", "OTEL_METRICS_EXPORTER": "None"}, {"otlp"}, set()),
        ({"OTEL_TRACES_EXPORTER": "OTLP, console"}, {"otlp", "console"}, set()),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}, set(), set()),
        ({ENDPOINT: "http://c", "OTEL_SDK_DISABLED": "TRUE"}, set(), set()),
        ({ENDPOINT: "http://c", "OTEL_SDK_DISABLED": "yes"}, {"otlp"}, {"otlp"}),
        ({ENDPOINT: " "}, set(), set()),
    ],
)
def test_the_standard_variables_decide(
    variables: dict[str, str],
    traces: set[str],
    metrics: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = TelemetrySettings()
    assert settings.exporters("traces") == traces
    assert settings.exporters("metrics") == metrics
    assert bool(settings.switch()) == bool(traces or metrics)


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"METRICS": "statsd"}, "METRICS: "),
        ({"METRICS": "prometheus", "WORKERS": "2"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"METRICS": "prometheus", "HTTP_HOST": "0.0.0.0"}, "METRICS_PUBLIC"),
        ({"METRICS": "prometheus", "PUBLIC_URL": "https://mcp.example.com"}, "METRICS_PORT"),
        (
            {"METRICS": "prometheus", "METRICS_PORT": "9464", "METRICS_HOST": "0.0.0.0"},
            "METRICS_PUBLIC",
        ),
    ],
)
def test_metrics_that_cannot_be_served_safely_are_refused(
    variables: dict[str, str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLOW_UNAUTHENTICATED", "true")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match=text) as refusal:
        check_settings()
    assert "METRICS: " in str(refusal.value)


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTP_HOST": "0.0.0.0", "METRICS_PUBLIC": "true"},
        {"HTTP_HOST": "0.0.0.0", "METRICS_PORT": "9464"},
        {"PUBLIC_URL": "https://mcp.example.com", "METRICS_PORT": "9464"},
    ],
)
def test_metrics_that_can_be_served_are_not(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"METRICS": "prometheus", **variables}.items():
        monkeypatch.setenv(name, value)
    check_settings()


def test_a_variable_without_the_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    for name in [*sys.modules]:
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    assert start_providers(TelemetrySettings(), FastMCP("test")) is None
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{ENDPOINT} is set, but")
    assert "uv sync --extra telemetry" in record.getMessage()


def test_a_value_that_the_sdk_cannot_read_is_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    assert start_providers(TelemetrySettings(), FastMCP("unreadable")) is None
    (record,) = caplog.records
    assert record.getMessage().startswith("There are no traces and metrics: max_queue_size must be")


# Start and end


async def test_the_rest_is_sent_in_the_background_within_a_limit() -> None:
    release = threading.Event()
    sent: list[str] = []

    def fail() -> None:
        raise OSError

    assert await flush([lambda: sent.append("sent"), fail], 10)
    assert sent == ["sent"]
    try:
        async with asyncio.timeout(10):
            assert not await flush([release.wait], 0.05)
            assert not await flush([release.wait], 0)
    finally:
        release.set()
    assert await flush([], 0)


def test_the_sdk_writes_one_line_a_minute_of_each_kind() -> None:
    now = 0.0
    few = FewFromTheSdk(lambda: now)

    def is_kept(name: str) -> bool:
        return few.filter(logging.makeLogRecord({"name": name}))

    assert is_kept("opentelemetry.sdk.trace")
    assert is_kept("opentelemetry.exporter")
    assert not is_kept("opentelemetry.exporter")
    assert is_kept("my_mcp_server.runtime")
    assert is_kept("my_mcp_server.runtime")
    now = 61
    assert is_kept("opentelemetry.exporter")


async def test_a_server_sends_what_is_left_when_it_ends(
    collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    providers = Providers(collected.traces, collected.meters, (lambda: flushed.append("all"),))
    monkeypatch.setattr(telemetry, "start_providers", lambda *_: providers)
    server = Server("test", tools=[work], lifespan=runtime)
    add_telemetry(server)
    before = [*server._mcp_server.middleware]
    async with Client(server) as client:
        await client.call_tool("work")
        assert not flushed
        assert len(server._mcp_server.middleware) == len(before) + 2
    assert flushed == ["all"]
    assert server._mcp_server.middleware == before
    assert [span.name for span in collected.spans] == ["tools/call work"]


async def test_without_variables_a_server_is_unchanged() -> None:
    server = Server("test", tools=[work], lifespan=runtime)
    add_telemetry(server)
    filters = [handler.filters[:] for handler in logging.getLogger().handlers]
    async with Client(server) as client:
        await client.call_tool("work")
        assert not [
            one for one in server._mcp_server.middleware if isinstance(one, RequestTelemetry)
        ]
        assert [handler.filters for handler in logging.getLogger().handlers] == filters


async def test_fastmcp_has_no_spans_of_its_own_in_a_request(collected: Collected) -> None:
    """Of its tracer too, which is the global one."""
    modes = []

    async def look() -> None:
        modes.append(fastmcp.telemetry.telemetry_mode())

    server = traced_server(collected)
    server.tool(look)
    async with Client(server) as client:
        await client.call_tool("look")
    assert modes == ["propagation_only"]


async def test_metrics_are_not_found_unless_they_are_served() -> None:
    request = over_http()
    assert (await Telemetry().answer_scrape(request)).status_code == 404
