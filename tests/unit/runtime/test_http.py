"""A supervisor waits for slow workers."""

import signal

import pytest
from fastmcp import FastMCP

from my_mcp_server.runtime import (
    http,
)
from my_mcp_server.runtime.serving import (
    STOP_SIGNALS,
)


def test_a_worker_that_is_slow_to_start_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[http.Workers] = []

    def run(supervisor: http.Workers) -> None:
        started.append(supervisor)

    monkeypatch.setattr(http.Workers, "run", run)
    monkeypatch.setenv("WORKERS", "2")
    monkeypatch.setenv("HTTP_PORT", "0")
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    http.serve_http(FastMCP("server"), "unused:app")
    for number, handler in handlers.items():  # the supervisor replaced them
        signal.signal(number, handler)
    for supervisor in started:
        assert supervisor.config.timeout_worker_healthcheck > 30
        for listener in supervisor.sockets:
            listener.close()
    assert len(started) == 1
