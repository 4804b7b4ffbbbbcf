"""Breaks an engine while clients increment a counter, and restores it."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..running import MIB
from .conftest import Fleet
from .replicas import Tally, call, counting, failure, stored, until_more, until_ready, until_refused

# Far above every timeout of the server, and below the deadline of a tool: no call may hang.
LONGEST_CALL_SECONDS = 25
LARGEST_GROWTH = 64 * MIB


@contextmanager
def healthy_afterwards(fleet: Fleet) -> Iterator[Fleet]:
    """Check that the replicas survive a test with bounded memory, and that their readiness checks pass afterwards."""
    assert fleet.wire
    assert fleet.engine
    asyncio.run(use(fleet))
    memory = [server.memory for server in fleet.replicas.servers]
    try:
        yield fleet
    finally:
        fleet.wire.swallow, fleet.wire.closed, fleet.wire.cut = 0, False, False
        if fleet.wire.target != fleet.engine.port:
            fleet.wire.switch(fleet.engine.port)
    for server, before in zip(fleet.replicas.servers, memory, strict=True):
        assert server.process.poll() is None, "".join(server.log[-20:])
        assert server.memory - before < LARGEST_GROWTH
        asyncio.run(until_ready(server))


async def use(fleet: Fleet) -> None:
    """Use the cache and the state once and wait for readiness, so that the engine has worked since startup."""
    for server in fleet.replicas.servers:
        assert failure(await call(server.port, "cached_fetch", resource_id="slow~used")) is None
        await stored(server.port, "used")
        await until_ready(server)


async def under_load(
    fleet: Fleet,
    name: str,
    break_it: Callable[[], object],
    heal: Callable[[], object] | None = None,
    *,
    status: str = "degraded",
) -> Tally:
    """Break the engine while clients increment a counter, and check the result.

    With `heal`, calls must fail until it is called. Afterwards, increments must succeed again.
    """
    async with counting(fleet.ports, name) as tally:
        await until_more(tally)
        await asyncio.to_thread(break_it)
        if heal:
            try:
                await until_refused(tally)
                await check_while_broken(fleet, name, status)
            finally:
                await asyncio.to_thread(heal)
        await until_more(tally)
    value = await stored(fleet.ports[0], name)
    assert tally.agrees_with(value), (tally, value)
    assert tally.slowest < LONGEST_CALL_SECONDS, tally
    return tally


async def check_while_broken(fleet: Fleet, name: str, status: str) -> None:
    """Check that calls that do not need the engine succeed, and that the readiness probe still returns 200."""
    for server in fleet.replicas.servers:
        start = time.monotonic()
        for reply in (
            await call(server.port, "process_data", text="tea for two"),
            await call(server.port, "cached_fetch", resource_id=f"slow~{name}"),
        ):
            assert failure(reply) is None, reply
        assert time.monotonic() - start < LONGEST_CALL_SECONDS
        assert (await until_ready(server, status, "state" if status == "degraded" else "")).code == 200
