"""What a load balancer asks: is the process alive, and may it have traffic?"""

import asyncio
from collections.abc import Callable

import httpx2
import pytest
from fastmcp import Client

from .process import STOP, ServerProcess, shared_server


@pytest.fixture
def server(request: pytest.FixtureRequest) -> ServerProcess:
    return shared_server(request)


@pytest.mark.checklist("health-check")
async def test_a_draining_server_is_alive_takes_no_traffic_and_answers_what_is_in_flight(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    server = shared_server(request, SHUTDOWN_DELAY_SECONDS="1")
    async with (
        Client(f"{server.url}/mcp", mode="legacy") as client,
        httpx2.AsyncClient(base_url=server.url) as probe,
    ):
        await client.list_tools()
        assert (await probe.get("/readyz")).json()["status"] != "draining"
        arguments = {"seconds": 1, "label": "in flight"}
        call = asyncio.create_task(client.call_tool("wait", arguments))
        await server.logged("waiting: in flight")
        server.process.send_signal(STOP)
        await server.logged("Draining")
        live, ready = await probe.get("/livez"), await probe.get("/readyz")
        assert not call.done()
        assert live.status_code == 200
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert (await call).data == "done"
    await server.ended()
    record_property("observed", "livez 200, readyz 503 while a call was in flight")


@pytest.mark.checklist("responsive-under-load")
async def test_a_process_is_alive_to_its_probes_while_tools_work(server: ServerProcess) -> None:
    async with (
        Client(f"{server.url}/mcp") as client,
        httpx2.AsyncClient(base_url=server.url) as probe,
    ):
        await client.list_tools()
        arguments = {"seconds": 0.5, "label": "at work"}
        working = [asyncio.create_task(client.call_tool("wait", arguments)) for _ in range(10)]
        await server.logged("waiting: at work", times=len(working))
        assert (await probe.get("/livez")).status_code == 200
        assert not any(call.done() for call in working)
        await asyncio.gather(*working)
