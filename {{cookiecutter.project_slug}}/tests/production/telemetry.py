"""An OpenTelemetry collector for tests, which can refuse requests or never answer them."""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

PATIENCE_SECONDS = 30


class Collector:
    """Receives OTLP over HTTP, and keeps what it accepts.

    While it `refuses`, it answers 503. While it `hangs`, it reads requests and answers none.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.metrics: list[Metric] = []
        self.services: set[tuple[str, str]] = set()
        self.requests = 0
        self.refuses = False
        self._answering = threading.Event()
        self._answering.set()
        self._changed = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                status = collector.receive(self.path, self.headers, self.rfile)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._answering.set()
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Answer nothing in this context."""
        self._answering.clear()
        try:
            yield
        finally:
            self._answering.set()

    def receive(self, path: str, headers: Any, stream: Any) -> HTTPStatus:
        body = stream.read(int(headers["Content-Length"]))
        if headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with self._changed:
            self.requests += 1
            self._changed.notify_all()
        self._answering.wait(PATIENCE_SECONDS)
        if self.refuses:
            return HTTPStatus.SERVICE_UNAVAILABLE
        with self._changed:
            self._keep(path, body)
            self._changed.notify_all()
        return HTTPStatus.OK

    def _keep(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for traces in ExportTraceServiceRequest.FromString(body).resource_spans:
                self._keep_service(traces.resource)
                self.spans += [span for scope in traces.scope_spans for span in scope.spans]
        elif path == "/v1/metrics":
            for metrics in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self._keep_service(metrics.resource)
                self.metrics += [one for scope in metrics.scope_metrics for one in scope.metrics]

    def _keep_service(self, resource: Any) -> None:
        told = attributes_of(resource)
        self.services.add((told["service.name"], told["service.instance.id"]))

    def wait_for(self, found: Callable[[], Any]) -> Any:
        """Wait until `found` returns something, and return it."""
        with self._changed:
            self._changed.wait_for(found, PATIENCE_SECONDS)
            result = found()
        assert result, f"{self.requests} requests, {len(self.spans)} spans"
        return result


def attributes_of(told: Any) -> dict[str, Any]:
    """Return the attributes of a span, a data point or a resource."""
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value")
        for one in told.attributes
    }


@contextmanager
def running_collector() -> Iterator[Collector]:
    collector = Collector()
    try:
        yield collector
    finally:
        collector.close()
