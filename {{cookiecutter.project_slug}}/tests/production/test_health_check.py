"""The probes of a load balancer: is the process alive, and can it get traffic?"""

import asyncio

import httpx2
import pytest

from .process import STOP, ServerProcess
from .report import Observe


@pytest.mark.checklist("responsive-under-load")
async def test_a_process_answers_its_probes_while_tools_work(server: ServerProcess) -> None:
    async with (
        server.client() as client,
        httpx2.AsyncClient(base_url=server.url) as balancer,
    ):
        await client.list_tools()
        work = {"seconds": 0.8, "label": "at work"}
        working = [asyncio.create_task(client.call_tool("probe_wait", work)) for _ in range(10)]
        await server.logged("waiting: at work", times=len(working))
        assert (await balancer.get("/livez")).status_code == 200
        assert not any(call.done() for call in working)
        await asyncio.gather(*working)


@pytest.mark.ends_server
@pytest.mark.checklist("health-check")
async def test_a_draining_server_is_alive_but_not_ready_and_answers_in_flight_calls(
    server: ServerProcess, observe: Observe
) -> None:
    async with (
        server.client("legacy") as client,
        httpx2.AsyncClient(base_url=server.url) as balancer,
    ):
        await client.list_tools()
        # On two connections, which the server keeps when it closes its port.
        _, ready = await asyncio.gather(balancer.get("/livez"), balancer.get("/readyz"))
        assert ready.json()["status"] != "draining"
        in_flight = {"seconds": 0.5, "label": "in flight"}
        call = asyncio.create_task(client.call_tool("probe_wait", in_flight))
        await server.logged("waiting: in flight")
        server.process.send_signal(STOP)
        await server.logged("Draining")
        live, ready = await asyncio.gather(balancer.get("/livez"), balancer.get("/readyz"))
        assert not call.done()
        assert live.status_code == 200
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert (await call).data == "done"
    await server.ended()
    observe("livez 200, readyz 503 while a call was in flight")
