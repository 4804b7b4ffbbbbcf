"""Three replicas share a rate limit and a cache in Redis. Keys contain no names from callers; their number is bounded."""

import asyncio
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ..conftest import Projects
from ..engines import RedisEngine
from ..fault_server import FaultServer
from ..running import Reply, running
from .conftest import BURST, EVERY_PATTERN, RATE_PER_MINUTE, SETTINGS, STATE_MAX_KEYS, Fleets
from .replicas import call, caller, failure

pytestmark = [
    pytest.mark.engines,
    pytest.mark.matrix,
    pytest.mark.skipif(sys.platform == "win32", reason="the engines do not run there"),
]

TOLERANCE = 0.05
CLIENTS = 9
NAMESPACE = "my-mcp-server:"


async def burst(
    ports: list[int], headers: dict[str, str], calls: int, clients: int = CLIENTS
) -> tuple[list[Reply], float]:
    """Make calls as one caller through the servers in turn, with one call at a time for each client.

    Return the replies and the elapsed seconds.
    """
    start = time.monotonic()
    replies: list[Reply] = []
    turns = iter(range(calls))

    async def client() -> None:
        for number in turns:
            port = ports[number % len(ports)]
            replies.append(await call(port, "process_data", headers, text="tea for two"))

    await asyncio.gather(*(client() for _ in range(clients)))
    return replies, time.monotonic() - start


def allowed(replies: list[Reply]) -> int:
    return sum(failure(reply) is None for reply in replies)


def assert_one_limit(replies: list[Reply], seconds: float) -> None:
    expected = BURST + seconds * RATE_PER_MINUTE / 60
    assert BURST * (1 - TOLERANCE) <= allowed(replies) <= expected * (1 + TOLERANCE), (expected, seconds)


def test_one_limit_holds_over_three_replicas(fleets: Fleets) -> None:
    assert_one_limit(*asyncio.run(burst(fleets("redis").ports, caller(), 2 * BURST)))


def test_the_limit_holds_with_more_concurrent_calls_than_connections(
    projects: Projects, redis: RedisEngine, tmp_path: Path
) -> None:
    # On a busy machine, two hundred calls can take longer than the default time limit of a command.
    shared = {**SETTINGS, "RATE_LIMIT_URL": redis.url, "RATE_LIMIT_TIMEOUT_SECONDS": "10"}
    with running(projects(EVERY_PATTERN), tmp_path, **shared) as server:
        assert_one_limit(*asyncio.run(burst([server.port], caller(), 2 * BURST, clients=2 * BURST)))
        assert not [line for line in server.log if "RATE_LIMIT_URL" in line]


def test_a_refusal_says_how_long_to_wait_whichever_replica_refuses(fleets: Fleets) -> None:
    fleet, headers = fleets("redis"), caller()

    async def refusal(port: int) -> dict[str, Any]:
        """Call until this replica refuses: on a slow machine, the limit may have been refilled."""
        while True:
            error = failure(await call(port, "process_data", headers, text="tea for two"))
            if error is not None:
                return error

    async def wait_and_call() -> None:
        await burst(fleet.ports, headers, BURST + 20)
        for port in fleet.ports:
            error = await refusal(port)
            wait = error["details"]["retry_after_seconds"]
            assert 0 < wait <= 60 / RATE_PER_MINUTE + 0.1, error
            assert f"{wait:g} seconds" in error["message"]
            await asyncio.sleep(wait)
            assert failure(await call(port, "process_data", headers, text="tea for two")) is None

    asyncio.run(wait_and_call())


def test_workers_do_not_divide_a_limit_that_they_share(
    projects: Projects, redis: RedisEngine, tmp_path: Path
) -> None:
    shared = {**SETTINGS, "RATE_LIMIT_URL": redis.url, "STATE_URL": redis.url}
    with running(projects(EVERY_PATTERN), tmp_path, "--workers", "2", **shared) as server:
        server.logged("Application startup complete", times=2)
        assert_one_limit(*asyncio.run(burst([server.port], caller(), 2 * BURST)))


def test_a_hundred_concurrent_misses_over_three_replicas_are_at_most_three_fetches(
    fleets: Fleets, api: FaultServer, name: str
) -> None:
    ports = fleets("redis").ports

    async def fetch(number: int) -> bool:
        reply = await call(ports[number % 3], "cached_fetch", resource_id=f"slow~{name}")
        assert failure(reply) is None, reply
        assert reply.result["structuredContent"]["data"] == {"fetched": True}
        return bool(reply.result["_meta"]["from_cache"])

    async def fetch_all() -> list[bool]:
        await asyncio.gather(*(fetch(number) for number in range(100)))
        assert 1 <= api.attempts()[name] <= 3
        return [await fetch(number) for number in range(6)]

    fetches = asyncio.run(fetch_all())
    assert fetches == [True] * 6
    assert api.attempts()[name] <= 3


def test_a_value_that_one_replica_has_fetched_serves_the_others(
    fleets: Fleets, api: FaultServer, name: str
) -> None:
    ports = fleets("redis").ports

    async def fetch(port: int) -> bool:
        reply = await call(port, "cached_fetch", resource_id=f"slow~{name}")
        return bool(reply.result["_meta"]["from_cache"])

    async def fetch_in_turn() -> list[bool]:
        return [await fetch(port) for port in ports]

    assert asyncio.run(fetch_in_turn()) == [False, True, True]
    assert api.attempts()[name] == 1


@pytest.mark.parametrize("wrong_type", [False, True])
def test_a_value_in_a_foreign_format_is_a_miss(
    fleets: Fleets, api: FaultServer, redis: RedisEngine, name: str, *, wrong_type: bool
) -> None:
    port = fleets("redis").ports[0]

    async def fetch() -> bool:
        reply = await call(port, "cached_fetch", resource_id=f"slow~{name}")
        assert failure(reply) is None, reply
        return bool(reply.result["_meta"]["from_cache"])

    before = set(redis.keys())
    assert not asyncio.run(fetch())
    (key,) = [key for key in set(redis.keys()) - before if "cache" in key and "generation" not in key]
    for foreign in ('{"no": ', "\x80\x04K\x01.", ""):
        redis.ask("DEL", key)
        redis.ask("RPUSH" if wrong_type else "SET", key, foreign)
        assert not asyncio.run(fetch())
    assert api.attempts()[name] == 4
    redis.ask("DEL", key)


def test_keys_are_namespaced_and_hold_nothing_that_a_caller_has_named(
    fleets: Fleets, redis: RedisEngine, name: str
) -> None:
    fleet, headers = fleets("redis"), caller()

    async def use() -> None:
        for tool, arguments in (
            ("cached_fetch", {"resource_id": f"slow~{name}"}),
            ("increment_counter", {"name": name}),
        ):
            assert failure(await call(fleet.ports[0], tool, headers, **arguments)) is None

    asyncio.run(use())
    keys = redis.keys()
    assert {kind for kind in ("cache", "limit", "state") if any(kind in key for key in keys)} == {
        "cache",
        "limit",
        "state",
    }
    for key in keys:
        assert key.startswith(NAMESPACE), keys
        assert re.search(r":v\d+(:|$)", key), keys
        assert name not in key
        assert headers["X-Forwarded-For"] not in key
        lasting = redis.ask("PTTL", key) == -1
        assert lasting == (key == f"{NAMESPACE}state:v1"), key


def test_the_cap_of_keys_is_exact_on_redis(fleets: Fleets, redis: RedisEngine, name: str) -> None:
    ports = fleets("redis").ports
    redis.ask("FLUSHALL")

    async def create(number: int) -> bool:
        error = failure(await call(ports[number % 3], "increment_counter", name=f"{name}-{number}"))
        assert error is None or "STATE_MAX_KEYS" in error["message"], error
        return error is None

    async def create_all() -> list[bool]:
        return list(await asyncio.gather(*(create(number) for number in range(2 * STATE_MAX_KEYS))))

    created = asyncio.run(create_all())
    again = asyncio.run(create(created.index(True)))
    redis.ask("FLUSHALL")
    assert sum(created) == STATE_MAX_KEYS
    assert again
