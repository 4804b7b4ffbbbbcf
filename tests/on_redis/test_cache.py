"""Two replicas share the values and the invalidations of one cache."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from my_mcp_server.patterns.caching import MISSING, Found, LoadingCache, RedisCache, cache_key
from my_mcp_server.redis_client import RedisServer

from ..engines import RedisEngine
from ..wire import Wire
from .conftest import Opened, keys_of

pytestmark = pytest.mark.anyio
KEY = cache_key("issues", "1")
# The timeout of a load, so that a test that does not release it fails instead of hanging.
LONGEST_LOAD_SECONDS = 20


class Source:
    """Loads `value` once released, and counts the loads."""

    def __init__(self, value: Any = "value", *, released: bool = True) -> None:
        self.value = value
        self.loads = 0
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        if released:
            self.release.set()

    async def __call__(self) -> Any:
        self.loads += 1
        self.begun.set()
        async with asyncio.timeout(LONGEST_LOAD_SECONDS):
            await self.release.wait()
        return self.value


def cache_on(server: RedisServer, ttl_seconds: float = 60, max_value_bytes: int = 100_000) -> LoadingCache:
    return LoadingCache(RedisCache(server, ttl_seconds, max_value_bytes))


@pytest.fixture
async def caches(opened: Opened) -> AsyncIterator[tuple[LoadingCache, LoadingCache]]:
    two = cache_on(await opened()), cache_on(await opened())
    yield two
    for cache in two:
        await cache.close()


Caches = tuple[LoadingCache, LoadingCache]


@pytest.mark.parametrize("value", [None, 0, 0.0, False, "", [], {}, "ä\n", {"a": [1, {"b": None}]}], ids=repr)
async def test_a_value_that_one_replica_has_loaded_is_a_hit_for_the_other(value: Any, caches: Caches) -> None:
    here, there = caches
    assert await here.get_or_load(KEY, Source(value)) == (value, False)
    found, from_cache = await there.get_or_load(KEY, Source("other"))
    assert repr(found) == repr(value)
    assert from_cache


async def test_a_hundred_concurrent_misses_of_two_replicas_load_twice_at_most(caches: Caches) -> None:
    source = Source()
    await asyncio.gather(*(cache.get_or_load(KEY, source) for cache in caches for _ in range(50)))
    assert source.loads <= 2


async def test_what_one_replica_invalidates_the_other_loads_again(caches: Caches) -> None:
    here, there = caches
    await here.get_or_load(KEY, Source("old"))
    await there.get_or_load(cache_key("users"), Source("kept"))
    await there.invalidate(cache_key("issues"))
    assert await here.get_or_load(KEY, Source("new")) == ("new", False)
    assert await there.get_or_load(KEY, Source("newer")) == ("new", True)
    assert await here.get_or_load(cache_key("users"), Source("newer")) == ("kept", True)


@pytest.mark.parametrize("parts", [("issues", "1"), ("issues",), ()])
async def test_a_load_that_began_before_an_invalidation_elsewhere_is_not_cached(
    parts: tuple[str, ...], caches: Caches
) -> None:
    here, there = caches
    old = Source("old", released=False)
    reader = asyncio.create_task(here.get_or_load(KEY, old))
    await old.begun.wait()
    await there.invalidate(cache_key(*parts))
    old.release.set()
    assert await reader == ("old", False)
    assert await there.get_or_load(KEY, Source("new")) == ("new", False)


async def test_a_call_after_an_invalidation_elsewhere_does_not_join_a_load_from_before_it(
    caches: Caches,
) -> None:
    here, there = caches
    old = Source("old", released=False)
    before = asyncio.create_task(here.get_or_load(KEY, old))
    await old.begun.wait()
    await there.invalidate(cache_key("issues"))
    assert await here.get_or_load(KEY, Source("new")) == ("new", False)
    old.release.set()
    assert await before == ("old", False)
    assert await there.get_or_load(KEY, Source("newest")) == ("new", True)


async def test_an_invalidation_while_redis_is_down_is_made_up_for(caches: Caches, wire: Wire) -> None:
    here, there = caches
    await here.get_or_load(KEY, Source("old"))
    wire.closed = True
    wire.reset()
    await there.invalidate(cache_key("issues"))
    wire.closed = False
    await there.get_or_load(cache_key("users"), Source())
    assert await here.get_or_load(KEY, Source("new")) == ("new", False)


async def test_a_cancelled_invalidation_is_made_up_for(caches: Caches, wire: Wire) -> None:
    here, there = caches
    await here.get_or_load(KEY, Source("old"))
    wire.cut = True
    invalidation = asyncio.create_task(there.invalidate(KEY))
    await asyncio.sleep(0.05)
    invalidation.cancel()
    with suppress(asyncio.CancelledError):
        await invalidation
    wire.reset()
    wire.cut = False
    await there.get_or_load(cache_key("users"), Source())
    assert await here.get_or_load(KEY, Source("new")) == ("new", False)


async def test_redis_that_is_down_costs_neither_the_value_nor_a_second_load(
    opened: Opened, wire: Wire
) -> None:
    cache = cache_on(await opened(seconds=0.2, pause_seconds=60))
    wire.cut = True
    source = Source(released=False)
    calls = [asyncio.create_task(cache.get_or_load(KEY, source)) for _ in range(20)]
    await source.begun.wait()
    await asyncio.sleep(0.3)
    source.release.set()
    assert await asyncio.gather(*calls) == [("value", False)] * 20
    assert source.loads == 1


@pytest.mark.parametrize("late", [False, True])
async def test_a_caller_that_looked_before_a_load_has_ended_does_not_load_again(
    late: bool, opened: Opened
) -> None:
    """Its read from Redis returns after the load has ended, or times out."""
    store = RedisCache(await opened(), 60, 100_000)
    cache = LoadingCache(store)
    source = Source(released=False)
    first = asyncio.create_task(cache.get_or_load(KEY, source))
    await source.begun.wait()
    looked = await store.read(KEY)
    read = store.read

    async def look(_key: object) -> Found:
        store.read = read
        if late:
            return Found(MISSING, None)
        source.release.set()
        await first
        return looked

    store.read = look
    second = asyncio.create_task(cache.get_or_load(KEY, source))
    await asyncio.sleep(0.01)
    source.release.set()
    assert await first == ("value", False)
    assert await second == ("value", not late)
    assert source.loads == 1


@pytest.mark.parametrize("foreign", ['{"no": ', "\x80\x04K\x01.", "", "3", "[]", "null", '{"value": 1}'])
async def test_a_value_in_a_foreign_format_is_a_miss(
    foreign: str, caches: Caches, engine: RedisEngine
) -> None:
    here, _ = caches
    await here.get_or_load(KEY, Source("old"))
    (name,) = value_keys(engine)
    for command in ("SET", "RPUSH"):
        engine.ask("DEL", name)
        engine.ask(command, name, foreign)
        assert await here.get_or_load(KEY, Source("new")) == ("new", False)
        assert await here.get_or_load(KEY, Source("newer")) == ("new", True)


def value_keys(engine: RedisEngine) -> list[str]:
    return [key for key in keys_of(engine) if "generation" not in key]


async def test_what_redis_evicts_is_a_miss_and_brings_no_old_value_back(
    caches: Caches, engine: RedisEngine
) -> None:
    here, _ = caches
    await here.get_or_load(KEY, Source("old"))
    await here.invalidate(KEY)
    for key in keys_of(engine):
        if "generation" in key:
            engine.ask("DEL", key)
    assert await here.get_or_load(KEY, Source("new")) == ("new", False)


async def test_every_key_expires_and_a_generation_outlives_its_values(
    caches: Caches, engine: RedisEngine
) -> None:
    here, _ = caches
    await here.get_or_load(KEY, Source())
    lifetimes = {key: int(engine.ask("PTTL", key)) for key in keys_of(engine)}
    values = {lifetimes.pop(key) for key in value_keys(engine)}
    assert 0 < max(values) <= 60_000
    assert len(lifetimes) == 3
    assert min(lifetimes.values()) > max(values)


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), b"bytes"], ids=repr)
async def test_a_value_that_is_not_json_is_returned_and_not_cached(
    value: Any, caches: Caches, caplog: pytest.LogCaptureFixture
) -> None:
    here, _ = caches
    for _ in range(2):
        found, from_cache = await here.get_or_load(KEY, Source(value))
        assert repr(found) == repr(value)
        assert not from_cache
    assert "A value is not cached, because it is not JSON" in caplog.text


async def test_a_value_beyond_the_maximum_is_returned_and_not_cached(
    opened: Opened, engine: RedisEngine
) -> None:
    cache = cache_on(await opened(), max_value_bytes=1000)
    assert await cache.get_or_load(KEY, Source("x" * 1000)) == ("x" * 1000, False)
    assert value_keys(engine) == []


async def test_the_api_of_a_full_redis_is_asked(
    caches: Caches, engine: RedisEngine, caplog: pytest.LogCaptureFixture
) -> None:
    here, _ = caches
    await here.get_or_load(KEY, Source("kept"))
    engine.configure(maxmemory="1")
    assert await here.get_or_load(KEY, Source("new")) == ("kept", True)
    for number in range(3):
        assert await here.get_or_load(cache_key(str(number)), Source("new")) == ("new", False)
    assert caplog.text.count("(OOM)") == 1


async def test_keys_have_neither_parts_nor_callers(caches: Caches, engine: RedisEngine) -> None:
    here, _ = caches
    await here.get_or_load(cache_key("secret-part"), Source())
    assert all(key.startswith("my-mcp-server:{cache}:v1:") for key in keys_of(engine))
    assert not any("secret-part" in key for key in keys_of(engine))


async def test_a_value_is_json_with_the_generations_of_its_load(caches: Caches, engine: RedisEngine) -> None:
    here, _ = caches
    await here.get_or_load(KEY, Source({"a": 1}))
    (name,) = value_keys(engine)
    kept = json.loads(engine.ask("GET", name))
    assert kept["value"] == {"a": 1}
    assert len(kept["generations"]) == len(KEY.parts) + 1


async def test_readers_and_writers_of_two_replicas_never_see_an_older_value(
    opened: Opened,
) -> None:
    """Each read returns a value that is at least as new as the last write before it started."""
    version = 0

    async def load() -> int:
        seen = version
        await asyncio.sleep(0.001 * (seen % 3))
        return seen

    caches = [cache_on(await opened()) for _ in range(3)]

    async def read(cache: LoadingCache) -> None:
        for _ in range(150):
            written = invalidated
            value, _ = await cache.get_or_load(KEY, load)
            assert value >= written

    invalidated = 0

    async def write(cache: LoadingCache) -> None:
        nonlocal version, invalidated
        for _ in range(100):
            version += 1
            new = version
            await cache.invalidate(cache_key("issues"))
            invalidated = max(invalidated, new)

    await asyncio.gather(write(caches[0]), *(read(cache) for cache in caches for _ in range(5)))
