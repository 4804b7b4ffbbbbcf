"""Traces and metrics of each request, sent to an OpenTelemetry collector.

FastMCP has spans but no exporter and no metrics, and clients can choose the names of its spans.
The OpenTelemetry SDK delays a shutdown by 15 seconds while the collector is down. Here the
standard `OTEL_` variables are enough, and names are bounded. A dead collector does not delay
calls, and delays a shutdown by at most 3 seconds. Without these variables, the SDK is not
imported.
"""

import asyncio
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from http import HTTPStatus
from itertools import product
from typing import Any, Literal

from fastmcp import FastMCP
from fastmcp.telemetry import suppress_fastmcp_telemetry
from mcp import MCPError
from mcp.server.context import HandlerResult, ServerRequestContext
from mcp_types import INVALID_PARAMS
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ..runtime.caller import token_identity
from ..runtime.ending import end
from ..runtime.guards import is_public
from ..runtime.outgoing import Answered, OutgoingRequest, outgoing
from ..runtime.server import Server
from ..settings import Settings

Signal = Literal["traces", "metrics"]
NextHandler = Callable[[ServerRequestContext[Any, Any]], Awaitable[HandlerResult]]

telemetry_log = logging.getLogger(__name__)

# The names are those of https://github.com/open-telemetry/semantic-conventions-genai,
# docs/gen-ai/mcp.md.
DURATION_METRIC = "mcp.server.operation.duration"
DURATION_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
ACTIVE_METRIC = "mcp.server.active_requests"
# Replaces names that the server does not know: clients can send any number of them.
OTHER_NAME = "_OTHER"
# The kinds of components that requests call by name.
NAMED = {"tools/call": "tool", "prompts/get": "prompt"}
MAX_KNOWN_NAMES = 1000
# The format of error codes. Other texts are not used as names.
CODE_FORM = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
# RFC 9110, section 9, and RFC 5789.
HTTP_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# How long a shutdown waits for the collector, and what it leaves for the rest of the shutdown.
FLUSH_SECONDS = 3
RESERVED_SECONDS = 0.3
SDK_LOG_SECONDS = 60
NOT_DELIVERED = "The last traces and metrics were lost: the collector did not take them in %.1f s"
METRICS_PATH = "/metrics"
NOT_PUBLIC_METRICS = (
    "Metrics are served on loopback addresses only. The operator of this server can set"
    " METRICS_PORT, or METRICS_PUBLIC=true."
)
OTLP_PROTOCOL = "OTEL_EXPORTER_OTLP_PROTOCOL"
OTLP_OVER_HTTP = "http/protobuf"
# Each of these turns telemetry on.
SWITCHES = (
    *("otel_exporter_otlp_endpoint", "otel_exporter_otlp_traces_endpoint"),
    *("otel_exporter_otlp_metrics_endpoint", "otel_traces_exporter", "otel_metrics_exporter"),
    "metrics",
)
SDK_MISSING = (
    "%s is set, but the OpenTelemetry SDK is not installed, so there are no traces and metrics:"
    " install the extra `telemetry`, for example with `uv sync --extra telemetry`"
)


class TelemetrySettings(Settings):
    otel_sdk_disabled: str = ""
    otel_service_name: str = ""
    otel_exporter_otlp_endpoint: str = ""
    otel_exporter_otlp_traces_endpoint: str = ""
    otel_exporter_otlp_metrics_endpoint: str = ""
    otel_exporter_otlp_headers: SecretStr = SecretStr("")
    otel_traces_exporter: str = ""
    otel_metrics_exporter: str = ""
    telemetry_callers: bool = False
    http_host: str = "127.0.0.1"
    public_url: str = ""
    workers: int = Field(1, ge=1, le=64)
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(None, ge=0, le=65535)
    metrics_public: bool = False
    metrics: Literal["", "prometheus"] = ""

    @field_validator("metrics")
    @classmethod
    def _can_be_scraped(cls, metrics: str, info: ValidationInfo) -> str:
        told = info.data
        if metrics and told.get("workers", 1) > 1:
            raise ValueError(
                "a scrape reaches only one of several workers; set WORKERS=1, or send metrics to a"
                " collector with OTEL_EXPORTER_OTLP_ENDPOINT"
            )
        own_port = told.get("metrics_port") is not None
        host = told.get("metrics_host" if own_port else "http_host", "")
        if metrics and not told.get("metrics_public"):
            if is_public(host):
                raise ValueError(
                    f"{host} is reachable from other machines; set METRICS_PORT to serve metrics on"
                    " METRICS_HOST (127.0.0.1) instead, or METRICS_PUBLIC=true if that is intended"
                )
            if told.get("public_url") and not own_port:
                raise ValueError(
                    "the proxy of PUBLIC_URL would pass /metrics on; set METRICS_PORT to serve"
                    " metrics on a separate port, or METRICS_PUBLIC=true if that is intended"
                )
        return metrics

    def exporters(self, signal: Signal) -> frozenset[str]:
        """Return the exporters of a signal by OpenTelemetry's rules, none if it is off."""
        chosen = str(getattr(self, f"otel_{signal}_exporter")).lower()
        endpoint = self.otel_exporter_otlp_endpoint or getattr(
            self, f"otel_exporter_otlp_{signal}_endpoint"
        )
        names = frozenset(map(str.strip, (chosen or ("otlp" if endpoint else "")).split(",")))
        return frozenset() if self.is_disabled else names - {"", "none"}

    @property
    def is_disabled(self) -> bool:
        return self.otel_sdk_disabled.lower() == "true"

    def switch(self) -> str:
        """Return the variable that turns telemetry on, or "" if none does."""
        signals = (self.exporters("traces"), self.exporters("metrics"), self.metrics)
        if self.is_disabled or not any(signals):
            return ""
        names = [name for name in SWITCHES if getattr(self, name)]
        return names[0].upper()


@dataclass(frozen=True)
class Providers:
    """Where spans and measurements go.

    Each of `flushes` sends what has not been sent. `registry` is the one of Prometheus.
    """

    traces: trace.TracerProvider
    metrics: metrics.MeterProvider
    flushes: tuple[Callable[[], object], ...] = ()
    registry: Any = None


def start_providers(settings: TelemetrySettings, server: FastMCP[Any]) -> Providers | None:
    """Return the providers of this process, or None if telemetry is off or cannot start.

    Those of an application around the server are used as they are.
    """
    variable = settings.switch()
    if not variable:
        return None
    is_free = isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    if not is_free and not own_providers.cache_info().currsize:
        return Providers(trace.get_tracer_provider(), metrics.get_meter_provider())
    try:
        return own_providers(settings, server.name, server.version)
    except ImportError:
        telemetry_log.warning(SDK_MISSING, variable)
    except Exception as error:  # noqa: BLE001 - a server without telemetry is better than none
        telemetry_log.error("There are no traces and metrics: %s", error)
    return None


@lru_cache
def own_providers(settings: TelemetrySettings, name: str, version: str | None) -> Providers:
    """Start the SDK, once in this process. It reads the `OTEL_` variables itself.

    Raises:
        ImportError: the extra `telemetry` is not installed.
        ValueError: a variable has a value that the SDK cannot read.
    """
    warn_of_unsupported(settings)
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415

    for field in TelemetrySettings.model_fields:  # set in `.env`, for example
        if field.startswith("otel_") and (value := getattr(settings, field)):
            secret = isinstance(value, SecretStr)
            os.environ[field.upper()] = value.get_secret_value() if secret else value
    resource = Resource.create()
    missing = {"service.name": name, "service.version": version or ""}
    for field, value in resource.attributes.items():
        if not str(value).startswith("unknown_service"):
            missing.pop(field, None)
    resource = resource.merge(Resource(missing))
    flushes: list[Callable[[], object]] = []
    traces: trace.TracerProvider = trace.NoOpTracerProvider()
    if settings.exporters("traces"):
        traces = own = TracerProvider(resource=resource, shutdown_on_exit=False)
        for processor in span_processors(settings.exporters("traces")):
            own.add_span_processor(processor)
        flushes.append(own.force_flush)
    readers, registry = metric_readers(settings)
    meters = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    flushes.append(meters.force_flush)
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        trace.set_tracer_provider(traces)  # for spans that tools open themselves
        metrics.set_meter_provider(meters)
    return Providers(traces, meters, tuple(flushes), registry)


def warn_of_unsupported(settings: TelemetrySettings) -> None:
    """Log which values of the variables are not supported."""
    signals: tuple[Signal, Signal] = ("traces", "metrics")
    for signal in signals:
        for name in sorted(settings.exporters(signal) - {"otlp", "console"}):
            advice = "set METRICS=prometheus" if name == "prometheus" else "use otlp or console"
            variable = f"OTEL_{signal.upper()}_EXPORTER"
            telemetry_log.warning("%s: there is no exporter %s: %s", variable, name, advice)
        variables = (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", OTLP_PROTOCOL)
        chosen = next(filter(None, map(os.environ.get, variables)), OTLP_OVER_HTTP)
        if chosen.lower() != OTLP_OVER_HTTP:
            text = "%s are sent as http/protobuf, not as %s: the port of a collector is often 4318"
            telemetry_log.warning(text, signal, chosen)


def span_processors(names: frozenset[str]) -> Iterator[Any]:
    """Return the processors of spans for the exporters with these names."""
    from opentelemetry.sdk.trace.export import (  # noqa: PLC0415
        BatchSpanProcessor,
        ConsoleSpanExporter,
    )

    if "otlp" in names:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )

        yield BatchSpanProcessor(OTLPSpanExporter())
    if "console" in names:
        yield BatchSpanProcessor(ConsoleSpanExporter(out=sys.stderr))


def metric_readers(settings: TelemetrySettings) -> tuple[list[Any], Any]:
    """Return the readers of metrics, and the registry for Prometheus if that is enabled."""
    from opentelemetry.sdk.metrics.export import (  # noqa: PLC0415
        ConsoleMetricExporter,
        PeriodicExportingMetricReader,
    )

    names = settings.exporters("metrics")
    readers: list[Any] = []
    registry = None
    if "otlp" in names:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import (  # noqa: PLC0415
            OTLPMetricExporter,
        )

        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    if "console" in names:
        readers.append(PeriodicExportingMetricReader(ConsoleMetricExporter(out=sys.stderr)))
    if settings.metrics:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader  # noqa: PLC0415
        from prometheus_client import CollectorRegistry  # noqa: PLC0415

        registry = CollectorRegistry()
        readers.append(PrometheusMetricReader(registry=registry))
    return readers, registry


class RequestTelemetry:
    """A middleware of the SDK: one span and one measurement for each request.

    It runs outside FastMCP, so it also sees requests that FastMCP refuses, and the answer as the
    client gets it. With `callers`, spans name the caller.
    """

    def __init__(
        self,
        server: FastMCP[Any],
        tracer: trace.Tracer,
        meter: metrics.Meter,
        *,
        callers: bool = False,
    ) -> None:
        self._server = server
        self._tracer = tracer
        self._callers = callers
        self._known: set[tuple[str, str]] = set()
        self._active = meter.create_up_down_counter(
            ACTIVE_METRIC, "{request}", "Requests that are being served."
        )
        self._duration = meter.create_histogram(
            DURATION_METRIC,
            "s",
            "Duration of each request.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )

    async def __call__(
        self, ctx: ServerRequestContext[Any, Any], call_next: NextHandler
    ) -> HandlerResult:
        if ctx.request_id is None:  # a notification
            return await call_next(ctx)
        name, attributes = await self._describe(ctx)
        details = {"jsonrpc.request.id": str(ctx.request_id), **await self._details(ctx)}
        parent, links = received_context(ctx)
        span = self._tracer.start_span(
            name, parent, trace.SpanKind.SERVER, {**attributes, **details}, links
        )
        busy = {"mcp.method.name": attributes["mcp.method.name"]}
        self._active.add(1, busy)
        failure: dict[str, str] = {}
        start = time.perf_counter()
        try:
            with suppress_fastmcp_telemetry(), _current(span):
                result = await call_next(ctx)
            failure = failure_of_result(result)
        except BaseException as error:
            failure = failure_of_error(error)
            raise
        finally:
            seconds = time.perf_counter() - start
            self._active.add(-1, busy)
            context = trace.set_span_in_context(span)  # for exemplars
            self._duration.record(seconds, {**attributes, **failure}, context)
            if failure:
                span.set_attributes(failure)
                # Without a text, because an error may quote arguments.
                span.set_status(trace.StatusCode.ERROR)
            span.end()
        return result

    async def _describe(self, ctx: ServerRequestContext[Any, Any]) -> tuple[str, dict[str, str]]:
        """Return the name of the span and the attributes of span and measurement."""
        method = ctx.method
        is_handshake = method == "initialize"
        if not is_handshake and self._handler(method) is None:
            method = OTHER_NAME
        attributes = {"mcp.method.name": method, "network.transport": "pipe"}
        # In a handshake, the version is not negotiated yet.
        if not is_handshake and ctx.protocol_version in KNOWN_PROTOCOL_VERSIONS:
            attributes["mcp.protocol.version"] = ctx.protocol_version
        if ctx.request is not None:
            attributes["network.transport"] = "tcp"
            attributes["network.protocol.name"] = "http"
        kind = NAMED.get(method)
        if kind is None:
            return method, attributes
        target = await self._known_name(kind, (ctx.params or {}).get("name"))
        attributes[f"gen_ai.{kind}.name"] = target
        if kind == "tool":
            attributes["gen_ai.operation.name"] = "execute_tool"
        return f"{method} {target}", attributes

    async def _details(self, ctx: ServerRequestContext[Any, Any]) -> dict[str, str]:
        """Return the attributes of spans only: their number of values is not bounded."""
        details = {}
        uri = (ctx.params or {}).get("uri")
        if isinstance(uri, str) and ctx.method.startswith("resources/"):
            details["mcp.resource.uri"] = await self._known_uri(uri)
        request = ctx.request
        if self._callers:
            if identity := token_identity():
                details["enduser.id"] = identity
            if isinstance(request, Request) and request.client:
                details["client.address"] = request.client.host
        return details

    async def _known_name(self, kind: str, name: object) -> str:
        """Return the name of a tool or a prompt if the server has it."""
        if not isinstance(name, str):
            return OTHER_NAME
        if (kind, name) in self._known:
            return name
        find = self._server.get_tool if kind == "tool" else self._server.get_prompt
        with suppress(Exception):  # the request fails for the same reason, and says so
            if await find(name) is not None and len(self._known) < MAX_KNOWN_NAMES:
                self._known.add((kind, name))
                return name
        return OTHER_NAME

    async def _known_uri(self, uri: str) -> str:
        """Return a known URI, or its template, because the values in it are arguments."""
        with suppress(Exception):
            if await self._server.get_resource(uri):
                return uri
            if template := await self._server.get_resource_template(uri):
                return template.uri_template
        return OTHER_NAME

    def _handler(self, method: str) -> object:
        low_level = self._server._mcp_server  # noqa: SLF001 - FastMCP does not say what it serves
        return low_level.get_request_handler(method)


@contextmanager
def _current(span: trace.Span) -> Iterator[None]:
    with trace.use_span(span, record_exception=False, set_status_on_exception=False):
        yield


def received_context(
    ctx: ServerRequestContext[Any, Any],
) -> tuple[Context, list[trace.Link]]:
    """Return the parent of a request's span, and its links.

    `_meta.traceparent` is the parent, because it comes from the client's span. The span of
    a web framework, or the HTTP header, becomes a link; without `_meta`, it is the parent.
    Baggage is dropped, because a client could use it to send data to the API.
    """
    own = _span_context(ctx.meta or {})
    around = trace.get_current_span().get_span_context()
    if not around.is_valid and isinstance(ctx.request, Request):
        around = _span_context(ctx.request.headers)
    links = [trace.Link(around)] if own.is_valid and around.is_valid else []
    parent = own if own.is_valid else around
    return trace.set_span_in_context(trace.NonRecordingSpan(parent)), links


def _span_context(carrier: Mapping[str, object]) -> trace.SpanContext:
    fields = propagate.get_global_textmap().fields
    texts = {name: text for name in fields if isinstance(text := carrier.get(name), str)}
    context = propagate.extract(texts, Context())
    return trace.get_current_span(context).get_span_context()


def failure_of_result(result: HandlerResult) -> dict[str, str]:
    """Return the attributes of a call whose result has `isError`."""
    if not isinstance(result, dict) or result.get("isError") is not True:
        return {}
    content = result.get("structuredContent")
    error = content.get("error") if isinstance(content, dict) else None
    return {"error.type": _code(error) or "tool_error"}


def failure_of_error(error: BaseException) -> dict[str, str]:
    """Return the attributes of a request that has failed."""
    match error:
        case MCPError():
            number = str(error.error.code)
            kind = _code(error.error.data) or number
            return {"error.type": kind, "rpc.response.status_code": number}
        case ValidationError():  # the SDK's: the parameters of the request
            number = str(INVALID_PARAMS)
            return {"error.type": number, "rpc.response.status_code": number}
        case asyncio.CancelledError():
            return {"error.type": "cancelled"}
    return {"error.type": type(error).__name__}


def _code(told: object) -> str:
    """Return the code of a structured error, if that is one."""
    code = told.get("code") if isinstance(told, dict) else None
    return code if isinstance(code, str) and CODE_FORM.fullmatch(code) else ""


@contextmanager
def traced(tracer: trace.Tracer, request: OutgoingRequest) -> Iterator[Answered]:
    """Open a span around an outgoing request, and send its context along.

    The span omits the path and query of the URL, which contain arguments.
    """
    url = request.url
    attributes = {
        "http.request.method": request.method if request.method in HTTP_METHODS else OTHER_NAME,
        "server.address": url.host,
        "server.port": url.port or (443 if url.scheme == "https" else 80),
        "url.scheme": url.scheme,
    }
    with tracer.start_as_current_span(
        request.method,
        kind=trace.SpanKind.CLIENT,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        headers: dict[str, str] = {}
        propagate.inject(headers)
        request.headers.update(headers)

        def answered(status: int) -> None:
            span.set_attribute("http.response.status_code", status)
            if status >= HTTPStatus.BAD_REQUEST:
                span.set_attribute("error.type", str(status))
                span.set_status(trace.StatusCode.ERROR)

        try:
            yield answered
        except BaseException as error:
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(trace.StatusCode.ERROR)
            raise


class TraceIds(logging.Filter):
    """Adds the ids of the current trace and span to each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        span = trace.get_current_span().get_span_context()
        if span.is_valid and not hasattr(record, "trace_id"):
            record.trace_id = trace.format_trace_id(span.trace_id)
            record.span_id = trace.format_span_id(span.span_id)
        return True


class FewFromTheSdk(logging.Filter):
    """Keeps one record per minute of each SDK logger, because they log every failed attempt."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._kept: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("opentelemetry."):
            return True
        now = self._clock()
        if now - self._kept.get(record.name, -math.inf) < SDK_LOG_SECONDS:
            return False
        self._kept[record.name] = now
        return True


@contextmanager
def log_filtered() -> Iterator[None]:
    """Add trace ids to log records, and limit the records of the SDK, while this is open."""
    handlers = logging.getLogger().handlers[:]
    filters = (TraceIds(), FewFromTheSdk())
    for handler, own in product(handlers, filters):
        handler.addFilter(own)
    try:
        yield
    finally:
        for handler, own in product(handlers, filters):
            handler.removeFilter(own)


async def flush(flushes: Iterable[Callable[[], object]], seconds: float) -> bool:
    """Call blocking functions in threads, and return whether all of them ended in time.

    The process does not wait for a thread that is still waiting for the collector.
    """
    loop = asyncio.get_running_loop()

    def run(work: Callable[[], object], done: "asyncio.Future[None]") -> None:
        with suppress(Exception):
            work()
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(done.set_result, None)

    waiting = [loop.create_future() for _ in flushes]
    for work, done in zip(flushes, waiting, strict=True):
        threading.Thread(target=run, args=(work, done), daemon=True).start()
    if not waiting:
        return True
    _, late = await asyncio.wait(waiting, timeout=max(0, seconds))
    return not late


class Telemetry:
    """The telemetry of one server: `running` is its extension, `answer_scrape` its route."""

    def __init__(self) -> None:
        self._registry: Any = None

    @asynccontextmanager
    async def running(self, server: FastMCP[Any]) -> AsyncIterator[RequestTelemetry | None]:
        """Start telemetry in this process if it is configured, and send the rest at the end."""
        settings = TelemetrySettings()
        providers = start_providers(settings, server)
        if providers is None:
            yield None
            return
        tracer = providers.traces.get_tracer(server.name, server.version)
        meter = providers.metrics.get_meter(server.name, server.version)
        with ExitStack() as stack:
            stack.enter_context(outgoing.watched_by(partial(traced, tracer)))
            stack.enter_context(log_filtered())
            if providers.registry and settings.metrics_port is None:
                self._registry = providers.registry
            elif providers.registry:
                stack.enter_context(metrics_served(settings, providers.registry))
            yield RequestTelemetry(server, tracer, meter, callers=settings.telemetry_callers)
        self._registry = None
        seconds = max(0, min(FLUSH_SECONDS, end.seconds_left() - RESERVED_SECONDS))
        if not await flush(providers.flushes, seconds):
            telemetry_log.warning(NOT_DELIVERED, seconds)

    async def answer_scrape(self, request: Request) -> Response:
        """Answer `GET /metrics` on the server's own port, if metrics are served there."""
        if self._registry is None:
            return PlainTextResponse("Not Found", HTTPStatus.NOT_FOUND)
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest  # noqa: PLC0415

        address, _ = request.scope.get("server") or ("", None)
        if is_public(address) and not TelemetrySettings().metrics_public:
            return PlainTextResponse(NOT_PUBLIC_METRICS, HTTPStatus.FORBIDDEN)
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


@contextmanager
def metrics_served(settings: TelemetrySettings, registry: Any) -> Iterator[None]:
    """Serve metrics on a separate port. If it is in use, log one line."""
    from prometheus_client import start_http_server  # noqa: PLC0415

    address = (settings.metrics_host, settings.metrics_port or 0)
    try:
        listener, _ = start_http_server(address[1], address[0], registry)
    except OSError as error:
        telemetry_log.error("METRICS_PORT: no metrics on %s port %d: %s", *address, error)
        yield
        return
    port = listener.server_port
    telemetry_log.info("Metrics are served on http://%s:%d%s", address[0], port, METRICS_PATH)
    try:
        yield
    finally:
        listener.shutdown()
        listener.server_close()


def add_telemetry(server: Server) -> None:
    """Send traces and metrics while `server` runs, if a variable turns them on."""
    telemetry = Telemetry()
    server.extensions = (*server.extensions, telemetry.running)
    server.custom_route(METRICS_PATH, methods=["GET"])(telemetry.answer_scrape)
