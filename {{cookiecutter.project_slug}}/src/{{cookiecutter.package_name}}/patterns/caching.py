"""Cache what is slow or expensive to fetch.

A dictionary with timestamps grows forever, treats an empty value as a miss, lets a hundred
callers fetch the same thing at once, and gives one caller's data to another. This cache is
bounded, keeps falsy values, fetches a missing key once for all concurrent callers, keeps callers
apart, and forgets what a write has made outdated. With `CACHE_URL`, replicas share it.
"""

import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from typing import Annotated, Any, NamedTuple, Protocol, Self
from weakref import WeakValueDictionary

from async_lru import alru_cache
from cachetools import TTLCache
from fastmcp.dependencies import Shared
from pydantic import Field, SecretStr, model_validator

from ..redis_client import (
    MEMORY,
    NAMESPACE,
    MemoryOrRedis,
    RedisServer,
    RedisUnavailable,
    digest,
    open_redis,
    refuse_sessions,
)
from ..runtime.caller import token_identity
from ..runtime.readiness import readiness
from ..settings import Settings

cache_log = logging.getLogger(__name__)

Load = Callable[[], Awaitable[Any]]
MISSING = object()
# The braces keep all keys of the cache on one node of a cluster, where one command reads several.
CACHE_KEYS = NAMESPACE + ":{cache}:v1"
# How much longer a generation lives than the values under it: the longest that a load may take.
LOAD_SECONDS = 120
MAX_PENDING_INVALIDATIONS = 1000


class CachingSettings(Settings):
    cache_url: MemoryOrRedis = SecretStr(MEMORY)
    cache_ttl_seconds: float = Field(60, gt=0)
    # In memory. On Redis, its `maxmemory` is the limit.
    cache_max_entries: int = Field(1000, ge=1)
    # On Redis. A larger value is not cached.
    cache_max_value_bytes: int = Field(1024 * 1024, ge=1024)
    # Of one command on Redis, and how long no call asks Redis after a failure.
    cache_timeout_seconds: float = Field(0.5, gt=0, le=10)
    cache_pause_seconds: float = Field(2, ge=0, le=60)
    http_sessions: bool = False

    @model_validator(mode="after")
    def _has_no_sessions(self) -> Self:
        url = self.cache_url.get_secret_value()
        refuse_sessions(url, http_sessions=self.http_sessions)
        return self


class CacheKey(NamedTuple):
    caller: str | None
    parts: tuple[str, ...]

    def is_below(self, key: "CacheKey") -> bool:
        """Return whether the parts begin with those of `key`, for any caller."""
        return self.parts[: len(key.parts)] == key.parts


def cache_key(*parts: str) -> CacheKey:
    """Return a key for `parts` that no other caller shares; without tokens, all callers are one."""
    return CacheKey(token_identity(), parts)


class Found(NamedTuple):
    """A value or MISSING, and the stamp that must still be valid when a loaded value is kept."""

    value: Any
    stamp: tuple[str, ...] | None


class CacheStore(Protocol):
    async def read(self, key: CacheKey) -> Found: ...

    async def keep(self, key: CacheKey, value: Any, stamp: tuple[str, ...] | None) -> None:
        """Keep a value, unless it was invalidated since the `read` that returned `stamp`."""

    async def forget(self, key: CacheKey) -> None:
        """Forget the values of `key` and of the keys that begin with its parts."""


class MemoryCache:
    """Values of this process. The least recently used are evicted first."""

    def __init__(
        self, ttl_seconds: float, max_entries: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._kept: TTLCache[CacheKey, Any] = TTLCache(max_entries, ttl_seconds, timer=clock)

    async def read(self, key: CacheKey) -> Found:
        value = self._kept.get(key, MISSING)
        return Found(value if value is MISSING else deepcopy(value), None)

    async def keep(self, key: CacheKey, value: Any, _stamp: tuple[str, ...] | None) -> None:
        self._kept[key] = value  # LoadingCache knows what this process has invalidated

    async def forget(self, key: CacheKey) -> None:
        for kept in [kept for kept in self._kept if kept.is_below(key)]:
            self._kept.pop(kept, None)


# Return the generations; create those that are missing.
GENERATIONS = """
local found = {}
for i, key in ipairs(KEYS) do
  redis.call('SET', key, ARGV[2] .. i, 'NX', 'PX', ARGV[1])
  found[i] = redis.call('GET', key)
end
return found
"""
# Keep a value (the first key) if all generations are those of its load.
KEEP = """
for i = 2, #KEYS do
  if redis.call('GET', KEYS[i]) ~= ARGV[i + 2] then return 0 end
end
for i = 2, #KEYS do redis.call('PEXPIRE', KEYS[i], ARGV[2]) end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[1])
return 1
"""


class RedisCache:
    """JSON values that replicas share. While Redis is down, every key is missing.

    Each prefix of a key has a generation, a random text. A value is only valid with the generations
    that it was loaded with. So removing a generation invalidates everything below it, including
    loads in progress on other replicas. If Redis evicts a generation, the effect is the same.
    """

    def __init__(self, server: RedisServer, ttl_seconds: float, max_value_bytes: int) -> None:
        self._server = server
        self._ttl = max(1, int(ttl_seconds * 1000))
        self._generation_ttl = self._ttl + LOAD_SECONDS * 1000
        self._max_value_bytes = max_value_bytes
        self._create = server.client.register_script(GENERATIONS)
        self._keep = server.client.register_script(KEEP)
        # What to invalidate when Redis is back, with the number of the invalidation.
        self._pending: dict[str, int] = {}
        self._invalidations = 0

    async def read(self, key: CacheKey) -> Found:
        try:
            return await self._server.run(lambda: self._read(key))
        except RedisUnavailable:
            return Found(MISSING, None)

    async def _read(self, key: CacheKey) -> Found:
        if self._pending:
            await self._invalidate_pending()
        generations = _generations_of(key)
        found = await self._server.client.mget([_name_of(key), *generations])
        stamp = _texts(found[1:])
        if stamp is not None:
            return Found(_value_in(found[0], stamp), stamp)
        arguments = [self._generation_ttl, secrets.token_hex(8)]
        return Found(MISSING, _texts(await self._create(generations, arguments)))

    async def keep(self, key: CacheKey, value: Any, stamp: tuple[str, ...] | None) -> None:
        if stamp is None:
            return
        try:
            text = json.dumps({"generations": stamp, "value": value}, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            cache_log.warning("A value is not cached, because it is not JSON: %s", error)
            return
        if len(text) > self._max_value_bytes:
            return
        keys = [_name_of(key), *_generations_of(key)]
        arguments = [self._ttl, self._generation_ttl, text, *stamp]
        with suppress(RedisUnavailable):
            await self._server.run(lambda: self._keep(keys, arguments))

    async def forget(self, key: CacheKey) -> None:
        """Invalidate at once, or as soon as this process reads from Redis again."""
        self._invalidations += 1
        if len(self._pending) >= MAX_PENDING_INVALIDATIONS:
            self._pending = {}
            key = CacheKey(None, ())
        self._pending[_generations_of(key)[-1]] = self._invalidations
        with suppress(RedisUnavailable):
            await self._server.run(self._invalidate_pending)

    async def _invalidate_pending(self) -> None:
        sent = dict(self._pending)
        await self._server.client.unlink(*sent)
        for name, number in sent.items():
            if self._pending.get(name) == number:
                del self._pending[name]


def _name_of(key: CacheKey) -> str:
    return f"{CACHE_KEYS}:{digest(key.caller, *key.parts)}"


def _generations_of(key: CacheKey) -> list[str]:
    """Return the names of the generations of a key, the shortest prefix first."""
    lengths = range(len(key.parts) + 1)
    return [f"{CACHE_KEYS}:generation:{digest(*key.parts[:length])}" for length in lengths]


def _texts(found: list[bytes | None]) -> tuple[str, ...] | None:
    """Return the generations, or None if one is missing."""
    return tuple(text.decode("latin-1") for text in found if text) if all(found) else None


def _value_in(text: bytes | None, stamp: tuple[str, ...]) -> Any:
    """Return the value, or MISSING if there is none of these generations in our format."""
    try:
        kept = json.loads(text or b"")
        if kept["generations"] == list(stamp):
            return kept["value"]
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    return MISSING


class Loading:
    """The loads of a key since this process last invalidated it, and the stamp of the latest."""

    stamp: tuple[str, ...] | None = None


class LoadingCache:
    """JSON values by key, loaded once for all concurrent callers of this process."""

    def __init__(self, store: CacheStore) -> None:
        self._store = store
        # An entry lives as long as a call or a load refers to it.
        self._loading: WeakValueDictionary[CacheKey, Loading] = WeakValueDictionary()
        # ttl=0 forgets a load when it ends: callers join only a load in progress.
        self._load_once = alru_cache(
            maxsize=None, ttl=0, key=lambda key, loading, stamp, _: (key, loading, stamp)
        )(self._load)

    async def get_or_load(self, key: CacheKey, load: Load) -> tuple[Any, bool]:
        """Return the value and whether it was cached; if not, `load` it and cache it.

        Concurrent callers share one load. It continues when one of them is cancelled, and ends
        with the last. What `load` raises reaches all of them and is not cached. Each gets a copy.
        """
        value, stamp = await self._store.read(key)
        if value is not MISSING:
            return value, True
        loading = self._loading.setdefault(key, Loading())
        # If Redis did not respond in time, the caller joins the latest load.
        loading.stamp = stamp or loading.stamp
        value, from_cache = await self._load_once(key, loading, loading.stamp, load)
        return deepcopy(value), from_cache

    async def invalidate(self, key: CacheKey) -> None:
        """Forget the values of `key` and of the keys that begin with its parts, for all callers.

        Later calls, on any replica, get values that are loaded from now on. A load in progress is
        not cached. Call this after a write, in a `finally`: a failed write may have been applied.
        It does not fail: while Redis is down, the invalidation is remembered.
        """
        for loading in [loading for loading in self._loading if loading.is_below(key)]:
            self._loading.pop(loading, None)
        await self._store.forget(key)

    async def _load(
        self, key: CacheKey, loading: Loading, stamp: tuple[str, ...] | None, load: Load
    ) -> tuple[Any, bool]:
        if stamp is not None:  # someone may have loaded it since the caller looked
            found = await self._store.read(key)
            if found.value is not MISSING:
                return found.value, True
            stamp = found.stamp
        value = await load()
        if self._loading.get(key) is loading:  # not invalidated in the meantime
            await self._store.keep(key, value, stamp)
        return value, False

    async def close(self) -> None:
        await self._load_once.cache_close()


@asynccontextmanager
async def cache_store(settings: CachingSettings) -> AsyncIterator[CacheStore]:
    url = settings.cache_url.get_secret_value()
    if url == MEMORY:
        yield MemoryCache(settings.cache_ttl_seconds, settings.cache_max_entries)
        return
    async with open_redis(
        "CACHE_URL",
        url,
        seconds=settings.cache_timeout_seconds,
        pause_seconds=settings.cache_pause_seconds,
        meanwhile="Values are loaded from their source.",
    ) as server:
        with readiness.reporting("cache", server.ping, optional=True):
            yield RedisCache(server, settings.cache_ttl_seconds, settings.cache_max_value_bytes)


@asynccontextmanager
async def cache() -> AsyncIterator[LoadingCache]:
    async with cache_store(CachingSettings()) as store:
        opened = LoadingCache(store)
        try:
            yield opened
        finally:
            await opened.close()


Cache = Annotated[LoadingCache, Shared(cache)]
