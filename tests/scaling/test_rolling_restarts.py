"""Replicas with shared state are restarted one after another while clients count, and no increment is lost."""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..balancers import Proxy, nginx_before
from .conftest import Fleets
from .replicas import REPLICAS, Tally, counting, stored, until_more

pytestmark = [
    pytest.mark.engines,
    pytest.mark.matrix,
    pytest.mark.skipif(sys.platform == "win32", reason="no process can be sent SIGTERM there"),
]

STORES = ["sqlite", "redis", "postgres"]
# Enough calls that each replica gets some over connections that the proxy kept open.
CALLS_BETWEEN = 60


@pytest.mark.parametrize("store", STORES)
def test_a_rolling_restart_fails_no_call_and_loses_no_increment(
    fleets: Fleets, name: str, tmp_path: Path, store: str
) -> None:
    fleet = fleets(store)

    async def roll(nginx_ports: list[int]) -> tuple[Tally, list[int]]:
        codes = []
        proxy = Proxy(fleet.ports)
        async with await asyncio.start_server(proxy.serve, "127.0.0.1") as server:
            own = server.sockets[0].getsockname()[1]
            async with counting([own, *nginx_ports], name, clients=8) as tally:
                for index in range(REPLICAS):
                    await until_more(tally, CALLS_BETWEEN)
                    codes.append(await asyncio.to_thread(fleet.replicas.restart, index))
                await until_more(tally, CALLS_BETWEEN)
        proxy.close()
        return tally, codes

    with ExitStack() as stack:
        proxies = [stack.enter_context(nginx_before(fleet.ports, tmp_path))]
        tally, codes = asyncio.run(roll(proxies))
    assert codes == [-15] * REPLICAS
    assert tally.acknowledged == tally.calls, tally
    assert asyncio.run(stored(fleet.ports[0], name)) == tally.acknowledged
