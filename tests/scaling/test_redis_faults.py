"""During every Redis failure, calls end in time and acknowledged writes are kept, and the server recovers."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..conftest import Projects
from ..engines import RedisEngine
from ..running import MIB, PATIENCE_SECONDS, running
from ..wire import Wire
from .certificates import certificates
from .conftest import EVERY_PATTERN, SETTINGS, Fleet, Fleets
from .loads import healthy_afterwards, under_load
from .replicas import Tally, call, counting, failure, stored, until_more, until_ready, until_refused

pytestmark = [
    pytest.mark.engines,
    pytest.mark.matrix,
    pytest.mark.skipif(sys.platform == "win32", reason="the engines do not run there"),
]


@pytest.fixture
def fleet(fleets: Fleets) -> Iterator[Fleet]:
    with healthy_afterwards(fleets("redis")) as used:
        yield used


def test_a_killed_engine_is_used_again_when_it_is_back(fleet: Fleet, redis: RedisEngine, name: str) -> None:
    asyncio.run(under_load(fleet, name, redis.kill, redis.start))


def test_a_paused_engine_holds_no_call_and_is_used_again(fleet: Fleet, redis: RedisEngine, name: str) -> None:
    asyncio.run(under_load(fleet, name, redis.pause, redis.resume))


def test_a_restart_of_the_engine_loses_nothing(fleet: Fleet, redis: RedisEngine, name: str) -> None:
    asyncio.run(under_load(fleet, name, redis.restart))


def test_connections_that_are_reset_lose_nothing(fleet: Fleet, name: str) -> None:
    assert fleet.wire
    wire = fleet.wire

    def reset_for_a_while() -> None:
        for _ in range(20):
            wire.reset()
            time.sleep(0.05)

    asyncio.run(under_load(fleet, name, reset_for_a_while))


def test_a_network_that_swallows_packets_holds_no_call(fleet: Fleet, name: str) -> None:
    assert fleet.wire
    wire = fleet.wire

    def cut() -> None:
        wire.cut = True

    def join() -> None:
        wire.cut = False
        wire.reset()

    asyncio.run(under_load(fleet, name, cut, join))


def test_a_script_that_the_engine_has_forgotten_is_sent_again(
    fleet: Fleet, redis: RedisEngine, name: str
) -> None:
    flush = lambda: redis.ask("SCRIPT", "FLUSH")  # noqa: E731
    tally = asyncio.run(under_load(fleet, name, flush))
    assert tally.acknowledged == tally.calls, tally


def test_a_full_engine_refuses_writes_and_keeps_what_it_has(
    fleet: Fleet, redis: RedisEngine, name: str
) -> None:
    """The readiness probe does not write, so it does not detect this. Calls that do not write still succeed."""
    redis.configure(maxmemory_policy="noeviction")

    def fill() -> None:
        redis.configure(maxmemory="1")

    def empty() -> None:
        redis.configure(maxmemory="0")

    tally = asyncio.run(under_load(fleet, name, fill, empty, status="ready"))
    assert set(tally.messages) == {"API_ERROR: Redis has no memory left: check maxmemory and its policy."}
    assert not tally.refused  # the error is not retryable


@contextmanager
def nearly_full(redis: RedisEngine, policy: str) -> Iterator[Callable[[], None]]:
    """Leave 2 MiB of memory, and yield a function that writes more than that, with an expiry."""
    used = int(str(redis.ask("INFO", "memory")).split("used_memory:")[1].split()[0])
    redis.configure(maxmemory_policy=policy, maxmemory=str(used + 2 * MIB))

    def fill() -> None:
        for number in range(400):
            redis.ask("SET", f"filler:{number}", "x" * 16 * 1024, "PX", "600000")

    try:
        yield fill
    finally:
        for number in range(400):
            redis.ask("DEL", f"filler:{number}")
        redis.configure(maxmemory="0", maxmemory_policy="noeviction")


def test_a_full_engine_that_evicts_what_expires_keeps_the_state(
    fleet: Fleet, redis: RedisEngine, name: str
) -> None:
    with nearly_full(redis, "volatile-lru") as fill:
        tally = asyncio.run(under_load(fleet, name, fill))
        assert tally.acknowledged == tally.calls, tally
        assert int(str(redis.ask("INFO", "stats")).split("evicted_keys:")[1].split()[0]) > 0


def test_a_full_engine_that_evicts_anything_fails_no_call(
    fleet: Fleet, redis: RedisEngine, name: str
) -> None:
    """State may be evicted too, and a counter starts at 0 again. `docs/scaling.md` explains which policy to choose."""

    async def count_on() -> None:
        async with counting(fleet.ports, name) as tally:
            await until_more(tally)
            await asyncio.to_thread(fill)
            await until_more(tally)
        assert tally.acknowledged == tally.calls, tally
        assert await stored(fleet.ports[0], name) <= tally.acknowledged

    with nearly_full(redis, "allkeys-lru") as fill:
        asyncio.run(count_on())


def test_a_failover_behind_one_address_is_followed(fleet: Fleet, redis: RedisEngine, name: str) -> None:
    """The replica is read-only at first, so calls fail without being retryable. Once promoted, it has all data."""
    assert fleet.wire
    wire = fleet.wire
    with RedisEngine(redis.program, replica_of=redis) as standby:

        async def fail_over() -> Tally:
            async with counting(fleet.ports, name) as tally:
                await until_more(tally)
            await asyncio.to_thread(until_in_sync, redis, standby)
            acknowledged = tally.acknowledged
            wire.switch(standby.port)
            async with counting(fleet.ports, name) as tally:
                await until_refused(tally)
                assert tally.in_doubt, tally  # not retryable
                assert any("read-only" in message for message in tally.messages), tally
                await asyncio.to_thread(standby.ask, "REPLICAOF", "NO", "ONE")
                await until_more(tally)
            value = await stored(fleet.ports[0], name)
            assert value == acknowledged + tally.acknowledged
            return tally

        asyncio.run(fail_over())
        wire.switch(redis.port)


def until_in_sync(primary: RedisEngine, replica: RedisEngine) -> None:
    """Wait until a replica has caught up with its primary."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        theirs, ours = (
            dict(line.partition(":")[::2] for line in str(engine.ask("INFO", "replication")).split("\r\n"))
            for engine in (primary, replica)
        )
        if ours["master_link_status"] == "up" and ours["slave_repl_offset"] == theirs["master_repl_offset"]:
            return
        time.sleep(0.05)
    raise AssertionError("the replica does not follow")


def test_a_changed_password_is_named_and_not_retryable(fleet: Fleet, redis: RedisEngine, name: str) -> None:
    assert fleet.wire
    wire = fleet.wire

    async def lock_out() -> None:
        async with counting(fleet.ports, name) as tally:
            await until_more(tally)
            await asyncio.to_thread(redis.configure, requirepass="other")
            wire.reset()
            redis.password = "other"
            try:
                await until_refused(tally)
            finally:
                await asyncio.to_thread(redis.configure, requirepass="")
                redis.password = ""
            await until_more(tally)
        assert any("password" in message for message in tally.messages), tally
        assert tally.agrees_with(await stored(fleet.ports[0], name))

    asyncio.run(lock_out())


def test_a_flushed_engine_begins_at_zero_and_breaks_nothing(
    fleet: Fleet, redis: RedisEngine, name: str
) -> None:
    async def flush() -> None:
        async with counting(fleet.ports, name) as tally:
            await until_more(tally)
            await asyncio.to_thread(redis.ask, "FLUSHALL")
            before = tally.acknowledged
            await until_more(tally)
        assert tally.acknowledged == tally.calls, tally
        value = await stored(fleet.ports[0], name)
        assert tally.acknowledged - before - len(fleet.ports) * 6 <= value < tally.acknowledged

    asyncio.run(flush())


def test_tls_is_verified(projects: Projects, redis: RedisEngine, tmp_path: Path) -> None:
    authority, context = certificates(tmp_path)
    with Wire(redis.port, tls=context) as wire:
        secure = wire.url(redis.url).replace("redis://", "rediss://")
        for url, works in ((f"{secure}?ssl_ca_certs={authority}", True), (secure, False)):
            with running(projects(EVERY_PATTERN), tmp_path, **SETTINGS, STATE_URL=url) as server:
                error = failure(asyncio.run(call(server.port, "increment_counter", name="tls")))
                assert (error is None) == works, error
                if error is not None:
                    assert "certificate" in error["message"].lower()
                    assert not error["retryable"]


def test_a_server_starts_without_its_engine_and_finds_it_later(
    projects: Projects, tmp_path: Path, name: str
) -> None:
    """The readiness check fails until the engine has worked once."""
    with RedisEngine() as engine, Wire(engine.port) as wire:
        wire.closed = True
        url = wire.url(engine.url)
        shared = dict.fromkeys(("CACHE_URL", "RATE_LIMIT_URL", "STATE_URL"), url)
        with running(projects(EVERY_PATTERN), tmp_path, **{**SETTINGS, **shared}) as server:
            error = failure(asyncio.run(call(server.port, "increment_counter", name=name)))
            assert error is not None
            assert error["retryable"], error
            assert asyncio.run(until_ready(server, "unready", "state")).code == 503
            wire.closed = False
            assert asyncio.run(until_ready(server)).code == 200
            assert asyncio.run(stored(server.port, name)) == 0
