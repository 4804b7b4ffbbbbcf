"""Several processes behind one port: each request of a client may reach another one."""

import asyncio
from typing import Any

import pytest

from .process import ServerProcess
from .report import Observe
from .wire import MODES

WORKERS = 2
CLIENTS = 10
CALLS = 3


@pytest.mark.serving(
    "--workers",
    str(WORKERS),
    TOOL_DEADLINE_SECONDS="30",
{% if cookiecutter.rate_limiting %}
    # Each worker allows its part of the calls, and one of them may get most.
    RATE_LIMIT_BURST="1000",
{% endif %}
{% if cookiecutter.state_management %}
    STATE_URL="sqlite:///{home}/state.db",
{% endif %}
)
@pytest.mark.checklist("several-workers")
async def test_several_workers_serve_every_client_and_end_with_their_supervisor(
    server: ServerProcess, observe: Observe
) -> None:
    await server.logged("Application startup complete", times=WORKERS)

    async def serve(mode: str) -> list[Any]:
        async with server.client(mode) as client:
{% if cookiecutter.state_management %}
            calls = [await client.call_tool("probe_count", {"name": "n"}) for _ in range(CALLS)]
{% else %}
            calls = [await client.call_tool("probe_echo", {"text": "tea"}) for _ in range(CALLS)]
{% endif %}
        return [call.data for call in calls]

    served = await asyncio.gather(*(serve(mode) for mode in MODES * CLIENTS))
    answers = [answer for each in served for answer in each]
{% if cookiecutter.state_management %}
    # Each number once: no increment was lost, although both workers count.
    assert sorted(answers) == list(range(1, len(MODES) * CLIENTS * CALLS + 1))
{% else %}
    assert answers == ["tea"] * len(MODES) * CLIENTS * CALLS
{% endif %}
    assert len({line.split()[-1] for line in server.log if " in process " in line}) > 1
    server.process.kill()
    await server.logged("Application shutdown complete", times=WORKERS)
    observe(f"{len(served)} of {len(served)} clients served")
