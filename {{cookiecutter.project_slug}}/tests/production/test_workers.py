"""Several processes behind one port: a client may meet another one with each request."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from fastmcp import Client, FastMCP

from {{ cookiecutter.package_name }}.runtime import (
    http,
)
from {{ cookiecutter.package_name }}.runtime.serving import (
    STOP_SIGNALS,
)

from .process import ERAS, bare_environment, http_server

WORKERS = 2
CLIENTS = 10


@pytest.mark.checklist("several-workers")
async def test_several_workers_serve_every_client_and_end_with_their_supervisor(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
{% if cookiecutter.state_management %}
    environment = bare_environment(tmp_path, STATE_URL=f"sqlite:///{tmp_path / 'state.db'}")
{% else %}
    environment = bare_environment(tmp_path)
{% endif %}
{% if cookiecutter.rate_limiting %}
    # Each worker allows its part of the calls, and one of them may get most.
    environment["RATE_LIMIT_BURST"] = "1000"
{% endif %}
    with http_server(environment, "--workers", str(WORKERS)) as server:
        await server.logged("Application startup complete", times=WORKERS)

        async def serve(era: str) -> int:
            async with Client(f"{server.url}/mcp", mode=era) as client:
{% if cookiecutter.state_management %}
                answer = await client.call_tool("increment_counter", {"name": "cups"})
                return int(answer.data.value)
{% else %}
                return int((await client.call_tool("process_data", {"text": "tea"})).data.words)
{% endif %}

        answers: list[int] = []
        for era in ERAS:
            answers += await asyncio.gather(*(serve(era) for _ in range(CLIENTS)))
{% if cookiecutter.state_management %}
        # Each of the values once: no increment was lost.
        assert sorted(answers) == list(range(1, len(ERAS) * CLIENTS + 1))
{% else %}
        assert answers == [1] * len(ERAS) * CLIENTS
{% endif %}
        assert len({line for line in server.log if " in process " in line}) > 1
        server.process.kill()
        await server.logged("Application shutdown complete", times=WORKERS)
    record_property("observed", f"{len(answers)} of {len(answers)} clients served")


def test_a_worker_that_is_slow_to_start_is_not_taken_for_dead(
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
    for number, handler in handlers.items():  # which the supervisor has replaced
        signal.signal(number, handler)
    for supervisor in started:
        assert supervisor.config.timeout_worker_healthcheck > 30
        for listener in supervisor.sockets:
            listener.close()
    assert len(started) == 1
