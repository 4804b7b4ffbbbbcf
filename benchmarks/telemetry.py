"""Measure the cost of traces and metrics for one in-memory call, and the cost of the pattern while telemetry is off.

uv run python -m benchmarks.telemetry       a minute
"""

import importlib
import logging
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import anyio
from fastmcp import Client

from .call import UNLIMITED, call
from .generated import generated_server, importable
from .limits import TELEMETRY_MS, TELEMETRY_OFF
from .measure import Comparison, report

# Short turns, so that other load on the machine affects both sides of a round.
ROUNDS = 120
CALLS = 25
WARM_UP = 5
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
# A collector in another process, so that its CPU time is not measured.
SINK = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def sink() -> Iterator[str]:
    """Run a collector that accepts every request, and yield its URL."""
    with subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.kill()


@contextmanager
def server(name: str, **answers: object) -> Iterator[Any]:
    """Yield a generated server, which logs to the null device."""
    with generated_server(package_name=name, **answers) as source, importable(source):
        mcp = importlib.import_module(f"{name}.server").mcp
        logs = importlib.import_module(f"{name}.runtime.logs")
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            with redirect_stderr(nowhere):
                logs.configure_logging(mcp.log_format)
            yield mcp


async def turn(client: Client[Any]) -> float:
    """Return the CPU milliseconds per call."""
    start = time.process_time()
    for _ in range(CALLS):
        await call(client)
    return (time.process_time() - start) / CALLS * 1000


def medians(pairs: list[tuple[float, float]]) -> tuple[Comparison, float]:
    """Return the comparison of the pairs without warm-up, and the median of the differences."""
    pairs = pairs[WARM_UP:]
    comparison = Comparison(
        statistics.median(first for first, _ in pairs),
        statistics.median(second for _, second in pairs),
        statistics.median(first / second for first, second in pairs),
    )
    return comparison, statistics.median(first - second for first, second in pairs)


async def compare_on_and_off(mcp: Any) -> tuple[Comparison, float]:
    """Alternate between turns with and without telemetry, in one running server."""
    low_level = mcp._mcp_server
    handlers = logging.getLogger().handlers
    pairs = []
    async with Client(mcp) as client:
        middleware = low_level.middleware[0]
        assert type(middleware).__name__ == "RequestTelemetry"
        filters = [(handler, handler.filters[:]) for handler in handlers]
        for _ in range(WARM_UP + ROUNDS):
            on = await turn(client)
            low_level.middleware.remove(middleware)
            for handler, _ in filters:
                handler.filters.clear()
            off = await turn(client)
            low_level.middleware.insert(0, middleware)
            for handler, had in filters:
                handler.filters[:] = had
            pairs.append((on, off))
    return medians(pairs)


async def compare_servers(with_it: Any, without: Any) -> tuple[Comparison, float]:
    """Compare a server with telemetry turned off with one without the pattern."""
    async with Client(with_it) as first, Client(without) as second:
        return medians([(await turn(first), await turn(second)) for _ in range(WARM_UP + ROUNDS)])


def measure() -> dict[str, tuple[Comparison, float]]:
    os.environ.update(UNLIMITED)
    found: dict[str, tuple[Comparison, float]] = {}
    with ExitStack() as stack:
        off = stack.enter_context(server("silent"))
        without = stack.enter_context(server("plain", telemetry=False))
        on = stack.enter_context(server("traced"))
        found["off"] = anyio.run(compare_servers, off, without)
        os.environ[ENDPOINT] = stack.enter_context(sink())
        found["on"] = anyio.run(compare_on_and_off, on)
    return found


def main() -> None:
    found = measure()
    comparison, added = found["on"]
    verdict = "holds" if added <= TELEMETRY_MS else "MISSED"
    print(
        f"one call, CPU, traces and metrics: {comparison.first:.4g} ms against {comparison.second:.4g} ms,"
        f" {added:.3f} ms more (at most {TELEMETRY_MS}): {verdict}"
    )
    report("one call, CPU, telemetry off", "ms", found["off"][0], TELEMETRY_OFF)


if __name__ == "__main__":
    main()
