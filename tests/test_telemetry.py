"""A collector receives the telemetry of a running server, and failures of the collector do not affect calls."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .conftest import Projects
from .fault_server import FaultServer, always, fault_server, reset_always
from .fault_server import slow as answer_slowly
from .otlp import attributes_of, running_collector
from .project import Project
from .running import (
    ERAS,
    PATIENCE_SECONDS,
    UNLIMITED,
    Reply,
    Running,
    environment,
    headers_of,
    message,
    running,
    start,
    tool_call,
)

pytestmark = [pytest.mark.sweep, pytest.mark.matrix, pytest.mark.anyio]

PROMPT = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_METRIC_EXPORT_INTERVAL": "100", **UNLIMITED}
CLEAN = {0, 143, -signal.SIGTERM}
SHOW = """
import asyncio, importlib, sys
from fastmcp import Client
mcp = importlib.import_module(f"{sys.argv[1]}.server").mcp
async def main():
    async with Client(mcp) as client:
        await client.call_tool("process_data", {"text": "tea"})
asyncio.run(main())
print("opentelemetry.sdk" in sys.modules, "prometheus_client" in sys.modules)
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def project(projects: Projects) -> Project:
    return projects("all")


@pytest.fixture
def collector() -> Iterator[Any]:
    with running_collector() as running_one:
        yield running_one


@pytest.fixture(scope="module")
def api() -> Iterator[FaultServer]:
    with fault_server({"told": always(), "slow": answer_slowly}) as server:
        yield server


class Traces:
    """The traces that a client starts, and their spans in the collector."""

    def __init__(self, collector: Any) -> None:
        self._collector = collector

    def begin(self) -> tuple[str, str]:
        """Return a new trace id, and its `traceparent`."""
        trace = os.urandom(16).hex()
        return trace, f"00-{trace}-00f067aa0ba902b7-01"

    def wait_for(self, trace: str, name: str) -> list[Any]:
        """Wait until a trace has a span with this name, and return all its spans."""

        def found() -> list[Any]:
            return [span for span in self._collector.spans if span.trace_id.hex() == trace]

        self._collector.wait_for(lambda: [span for span in found() if span.name == name])
        return found()


@pytest.fixture
def traces(collector: Any) -> Traces:
    return Traces(collector)


@contextmanager
def traced(project: Project, home: Path, collector: Any, *flags: str, **variables: str) -> Iterator[Running]:
    settings = {**PROMPT, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **variables}
    with running(project, home, *flags, **settings) as server:
        server.logged("Application startup complete")
        yield server


async def call(
    server: Running, era: str, tool: str, arguments: dict[str, Any], *, meta: str = "", header: str = ""
) -> Reply:
    """Call a tool with the `traceparent` of `_meta` and of the HTTP header."""
    request = tool_call(era, tool, arguments)
    if meta:
        request["params"]["_meta"] = {**request["params"].get("_meta", {}), "traceparent": meta}
    headers = {**headers_of(era, request), **({"traceparent": header} if header else {})}
    reply = await server.post(json.dumps(request).encode(), headers)
    assert reply.status == 200, reply
    return reply


async def test_the_meta_is_the_parent_and_the_header_a_link_or_the_parent(
    project: Project, collector: Any, traces: Traces, tmp_path: Path
) -> None:
    with traced(project, tmp_path, collector) as server:
        for era in ERAS:
            (first, meta), (second, header) = traces.begin(), traces.begin()
            await call(server, era, "process_data", {"text": "tea"}, meta=meta, header=header)
            (span,) = traces.wait_for(first, "tools/call process_data")
            assert span.parent_span_id.hex() == "00f067aa0ba902b7"
            assert [link.trace_id.hex() for link in span.links] == [second]
            await call(server, era, "process_data", {"text": "tea"}, header=header)
            (span,) = traces.wait_for(second, "tools/call process_data")
            assert span.parent_span_id.hex() == "00f067aa0ba902b7"
            assert not span.links
            told = attributes_of(span)
            assert told["mcp.protocol.version"] == era
            assert told["network.transport"] == "tcp"
            assert told["gen_ai.operation.name"] == "execute_tool"


async def test_a_request_to_the_api_is_a_span_of_the_call_and_carries_its_trace(
    project: Project, collector: Any, traces: Traces, api: FaultServer, tmp_path: Path
) -> None:
    with traced(project, tmp_path, collector, API_BASE_URL=api.url) as server:
        for era in ERAS:
            for tool in ("api_request", "resilient_api_call"):
                trace, meta = traces.begin()
                await call(server, era, tool, {"endpoint": "told"}, meta=meta)
                client, span = sorted(traces.wait_for(trace, f"tools/call {tool}"), key=lambda one: one.kind)[
                    ::-1
                ]
                assert client.name == "GET"
                assert client.parent_span_id == span.span_id
                _, received = api.requests[-1]
                assert f"traceparent: 00-{trace}-{client.span_id.hex()}-0" in received
                assert "told" not in str(client)


async def test_the_records_of_the_log_name_the_trace(
    project: Project, collector: Any, traces: Traces, tmp_path: Path
) -> None:
    with traced(project, tmp_path, collector) as server:
        for era in ERAS:
            trace, meta = traces.begin()
            await call(server, era, "process_data", {"text": "tea"}, meta=meta)
            (span,) = traces.wait_for(trace, "tools/call process_data")
            record = json.loads(server.logged(trace))
            assert record["message"] == "tool call"
            assert record["span_id"] == span.span_id.hex()


async def test_a_collector_gets_the_durations_of_bounded_names_with_the_codes_of_errors(
    project: Project, collector: Any, tmp_path: Path
) -> None:
    def series() -> list[dict[str, Any]]:
        metrics = [one for one in collector.metrics if one.name == "mcp.server.operation.duration"]
        return [attributes_of(point) for one in metrics for point in one.histogram.data_points]

    def is_there(name: str, error: str) -> Callable[[], bool]:
        return lambda: any(
            (one.get("gen_ai.tool.name"), one.get("error.type", "")) == (name, error) for one in series()
        )

    with traced(project, tmp_path, collector) as server:
        for era in ERAS:
            await call(server, era, "process_data", {"text": "tea"})
            await call(server, era, "api_request", {"endpoint": "canary"})
            for number in range(3):
                request = tool_call(era, f"canary-{number}", {})
                await server.post(json.dumps(request).encode(), headers_of(era, request))
                request = message(era, f"canary/{number}")
                await server.post(json.dumps(request).encode(), headers_of(era, request))
        for name, error in (("process_data", ""), ("api_request", "API_ERROR"), ("_OTHER", "NOT_FOUND")):
            collector.wait_for(is_there(name, error))
        collector.wait_for(lambda: "_OTHER" in {one["mcp.method.name"] for one in series()})
    assert "canary" not in str(collector.metrics)
    assert "canary" not in str(collector.spans)
    duration = next(one for one in collector.metrics if one.name == "mcp.server.operation.duration")
    assert duration.unit == "s"
    bounds = duration.histogram.data_points[0].explicit_bounds
    assert list(bounds) == [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300]
    assert {name for name, _ in collector.services} == {"my-mcp-server"}


async def test_each_worker_sends_its_own_and_everything_that_is_left_at_the_end(
    project: Project, collector: Any, tmp_path: Path
) -> None:
    """With intervals of ten minutes, all data is sent at shutdown."""
    later = {"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_METRIC_EXPORT_INTERVAL": "600000"}
    later["STATE_URL"] = f"sqlite:///{tmp_path / 'state'}"
    with traced(project, tmp_path, collector, "--workers", "2", **later) as server:
        server.logged("Application startup complete", times=2)
        for _ in range(20):
            for era in ERAS:
                await call(server, era, "process_data", {"text": "tea"})
        assert collector.spans == []
        server.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(server.process.wait, 60)
    assert code in CLEAN
    calls = [span for span in collector.spans if span.name == "tools/call process_data"]
    assert len(calls) == 40
    assert len({instance for _, instance in collector.services}) == 2


@contextmanager
def down(_: Any) -> Iterator[str]:
    with closing(socket.create_server(("127.0.0.1", 0))) as nobody:
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    yield url


@contextmanager
def unavailable(collector: Any) -> Iterator[str]:
    collector.refuses = True
    yield collector.url


@contextmanager
def slow(collector: Any) -> Iterator[str]:
    receive = collector.receive

    def receive_slowly(*request: Any) -> Any:
        time.sleep(SLOW_SECONDS)
        return receive(*request)

    collector.receive = receive_slowly
    yield collector.url


@contextmanager
def silent(collector: Any) -> Iterator[str]:
    with collector.hanging():
        yield collector.url


@contextmanager
def disconnecting(_: Any) -> Iterator[str]:
    """Accept connections, and close them after the first bytes."""
    with fault_server({"metrics": reset_always, "traces": reset_always}) as server:
        yield f"http://127.0.0.1:{server.port}"


SLOW_SECONDS = 0.5


@pytest.mark.parametrize("fail", [down, unavailable, slow, silent, disconnecting])
async def test_a_broken_collector_delays_no_call_and_loses_no_answer_at_the_end(
    fail: Callable[[Any], AbstractContextManager[str]],
    project: Project,
    collector: Any,
    api: FaultServer,
    tmp_path: Path,
) -> None:
    """If the shutdown hung, the process would be killed after its grace period, with a log line.

    The exporter's timeout is ten minutes, so a call that waits for the exporter would not get a response in time.
    """
    grace = {"SHUTDOWN_GRACE_SECONDS": "4", "OTEL_EXPORTER_OTLP_TIMEOUT": "600", "API_BASE_URL": api.url}
    with (
        fail(collector) as url,
        traced(project, tmp_path, collector, **{**grace, "OTEL_EXPORTER_OTLP_ENDPOINT": url}) as server,
    ):
        async with asyncio.timeout(PATIENCE_SECONDS):
            for era in ERAS:
                for _ in range(20):
                    await server.good_call(era)
        calls = [asyncio.create_task(call(server, era, "api_request", {"endpoint": "slow"})) for era in ERAS]
        known = len(api.requests)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(api.requests) < known + len(calls):
                await asyncio.sleep(0.02)
        server.process.send_signal(signal.SIGTERM)
        for reply in await asyncio.gather(*calls):
            assert not reply.result.get("isError"), reply
        code = await asyncio.to_thread(server.process.wait, PATIENCE_SECONDS)
        log = "".join(server.log)
    assert code in CLEAN, log
    assert "Application shutdown complete" in log
    assert "Exiting before the shutdown is complete" not in log
    if fail is slow:
        calls_seen = [span for span in collector.spans if span.name == "tools/call process_data"]
        assert len(calls_seen) == 40
    if lost := re.search(r"the collector did not take them in ([\d.]+) s", log):
        assert float(lost[1]) <= 3
    assert lost or fail is not silent, log


async def test_a_broken_collector_writes_few_lines_to_the_log(
    project: Project, collector: Any, tmp_path: Path
) -> None:
    collector.refuses = True
    with traced(project, tmp_path, collector) as server:
        for _ in range(30):
            await server.good_call(ERAS[0])
        collector.wait_for(lambda: collector.requests > 4)
        lines = [line for line in server.log if '"opentelemetry' in line]
    assert len(lines) <= 4, lines


async def test_the_clean_end_of_stdio_sends_what_is_left(
    project: Project, collector: Any, tmp_path: Path
) -> None:
    variables = {**PROMPT, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with start(project, tmp_path, **variables) as process:
        request = tool_call(ERAS[0], "process_data", {"text": "tea"})
        out, _ = await asyncio.to_thread(process.communicate, json.dumps(request).encode() + b"\n", 60)
    assert json.loads(out)["result"]["structuredContent"]["words"] == 1
    (span,) = [span for span in collector.spans if span.name == "tools/call process_data"]
    assert attributes_of(span)["network.transport"] == "pipe"


# Prometheus


async def test_prometheus_scrapes_the_port_of_the_server(project: Project, tmp_path: Path) -> None:
    with running(project, tmp_path, METRICS="prometheus") as server:
        for era in ERAS:
            await server.good_call(era)
        reply = await server.get("/metrics")
        assert reply.status == 200
        text = reply.body.decode()
    assert "mcp_server_operation_duration_seconds_bucket{" in text
    assert 'gen_ai_tool_name="process_data"' in text
    assert "mcp_server_active_requests" in text


async def test_prometheus_scrapes_a_separate_port(project: Project, tmp_path: Path) -> None:
    with running(project, tmp_path, METRICS="prometheus", METRICS_PORT="0") as server:
        await server.good_call(ERAS[0])
        url = json.loads(server.logged("Metrics are served on"))["message"].split()[-1]
        async with httpx2.AsyncClient(trust_env=False) as client:
            text = (await client.get(url)).text
        assert (await server.get("/metrics")).status == 404
    assert 'gen_ai_tool_name="process_data"' in text


async def test_metrics_are_refused_on_a_public_address_however_the_server_is_started(
    project: Project, tmp_path: Path
) -> None:
    public = {"METRICS": "prometheus", "ALLOW_UNAUTHENTICATED": "true"}
    flags = ("--transport", "http", "--host", "0.0.0.0", "--port", "0")
    with start(project, tmp_path, *flags, **public) as process:
        _, errors = await asyncio.to_thread(process.communicate, b"", 60)
    assert process.returncode == 2
    assert b"METRICS_PUBLIC=true" in errors
    assert len(errors.splitlines()) == 1


async def test_a_port_in_use_is_one_line_and_the_server_serves(project: Project, tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = str(taken.getsockname()[1])
        with running(project, tmp_path, METRICS="prometheus", METRICS_PORT=port) as server:
            server.logged(f"METRICS_PORT: no metrics on 127.0.0.1 port {port}")
            await server.good_call(ERAS[0])


# Off


@pytest.mark.parametrize(
    ("variables", "imported"),
    [
        ({}, "False False"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}, "False False"),
        ({"OTEL_TRACES_EXPORTER": "none"}, "False False"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "True False"),
    ],
)
def test_the_sdk_is_imported_only_if_telemetry_is_on(
    variables: dict[str, str], imported: str, project: Project, tmp_path: Path
) -> None:
    ran = subprocess.run(
        [project.python, "-c", SHOW, project.package_name],
        capture_output=True,
        text=True,
        check=True,
        env=environment(project, tmp_path, **variables),
    )
    assert ran.stdout == f"{imported}\n", ran.stderr


async def test_the_endpoint_can_be_set_in_the_env_file(
    project: Project, collector: Any, tmp_path: Path
) -> None:
    path = tmp_path / "variables"
    path.write_text(f"OTEL_EXPORTER_OTLP_ENDPOINT={collector.url}\nOTEL_SERVICE_NAME=tea\n")
    with running(project, tmp_path, ENV_FILE=str(path), **PROMPT) as server:
        await server.good_call(ERAS[0])
        collector.wait_for(lambda: collector.spans)
    assert {name for name, _ in collector.services} == {"tea"}
