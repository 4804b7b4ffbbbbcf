"""Three replicas increment shared counters in SQLite, Redis and PostgreSQL, and lose no increment."""

import asyncio
import sys
from collections.abc import Iterator

import pytest

from ..combinations import TEMPLATE
from ..engines import RedisEngine, find_redis_programs
from .conftest import Fleet, Fleets
from .replicas import Tally, count, stored

pytestmark = [
    pytest.mark.engines,
    pytest.mark.matrix,
    pytest.mark.skipif(sys.platform == "win32", reason="the engines do not run there"),
]

# Includes both Valkey and Redis if both are installed.
STORES = ["sqlite", "redis", "postgres", *(["other_redis"] if find_redis_programs()[1:] else [])]
PROCESSES, CALLS = 4, 200


@pytest.fixture(scope="module", params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    """Return the kind of engine. In the scope of the module, tests with the same kind run one after the other."""
    return str(request.param)


@pytest.fixture
def fleet(store: str, fleets: Fleets) -> Iterator[Fleet]:
    used = fleets(store)
    yield used
    if used.wire:
        used.wire.swallow, used.wire.silent = 0, False


async def hammer(name: str, ports: list[int]) -> Tally:
    """Increment a counter from several client processes."""
    command = ("-m", "tests.scaling.hammer", name, str(CALLS), *map(str, ports))
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=TEMPLATE, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(PROCESSES)
    ]
    tally = Tally()
    for process in processes:
        printed, _ = await process.communicate()
        tally += Tally.from_json(printed.decode())
    return tally


def test_no_increment_of_four_processes_over_three_replicas_is_lost(fleet: Fleet, name: str) -> None:
    tally = asyncio.run(hammer(name, fleet.ports))
    assert tally.acknowledged == PROCESSES * CALLS, tally
    assert asyncio.run(stored(fleet.ports[0], name)) == PROCESSES * CALLS


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("store", ["redis", "postgres"], indirect=True, scope="module")
def test_a_lost_answer_neither_counts_twice_nor_is_called_harmless(
    fleet: Fleet, name: str, *, silent: bool
) -> None:
    """Every seventh reply of the engine is lost. Its connection is reset, or stays silent until a timeout."""
    assert fleet.wire
    wire = fleet.wire

    async def lose_answers() -> Tally:
        tally = Tally()
        await asyncio.gather(*(count([port], name, 2, tally) for port in fleet.ports))
        wire.every, wire.swallow, wire.silent = 7, 12 if silent else 40, silent
        await asyncio.gather(*(count(fleet.ports, name, 20 if silent else 40, tally) for _ in range(6)))
        assert wire.swallow <= 0 or not silent
        wire.swallow, wire.silent = 0, False
        return tally

    tally = asyncio.run(lose_answers())
    value = asyncio.run(stored(fleet.ports[0], name))
    assert tally.agrees_with(value), (tally, value)
    assert tally.acknowledged > 80, tally
    if silent and isinstance(fleet.engine, RedisEngine):  # on PostgreSQL, only a lost COMMIT is in doubt
        assert tally.in_doubt, tally
