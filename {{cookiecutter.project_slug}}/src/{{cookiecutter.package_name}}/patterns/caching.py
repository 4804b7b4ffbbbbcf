"""Cache what is expensive to fetch, for a while.

A dictionary with timestamps grows forever, treats an empty answer as a miss, lets a hundred
callers fetch the same thing at once, and gives one caller's data to another. This cache is
bounded, keeps falsy values, fetches a missing key once for all concurrent callers, keeps callers
apart, and forgets what a write has made outdated.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Annotated, Any, NamedTuple
from weakref import WeakValueDictionary

from async_lru import alru_cache
from cachetools import TTLCache
from fastmcp.dependencies import Shared
from pydantic import Field

from ..runtime.caller import token_identity
from ..settings import Settings

Load = Callable[[], Awaitable[Any]]
MISSING = object()


class CachingSettings(Settings):
    cache_ttl_seconds: float = Field(60, gt=0)
    cache_max_entries: int = Field(1000, ge=1)


class CacheKey(NamedTuple):
    caller: str | None
    parts: tuple[str, ...]

    def is_below(self, key: "CacheKey") -> bool:
        """Tell whether the parts begin with those of `key`, whoever the callers are."""
        return self.parts[: len(key.parts)] == key.parts


def cache_key(*parts: str) -> CacheKey:
    """Return a key for `parts` that no other caller shares; without tokens, all callers are one."""
    return CacheKey(token_identity(), parts)


class Loading:
    """The loads of a key since it was last invalidated."""


class LoadingCache:
    """JSON values by key for `ttl_seconds`, at most `max_entries` of them.

    The least recently used leave first.
    """

    def __init__(
        self,
        ttl_seconds: float,
        max_entries: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kept: TTLCache[CacheKey, Any] = TTLCache(max_entries, ttl_seconds, timer=clock)
        # An entry lives as long as a call or a load refers to it.
        self._loading: WeakValueDictionary[CacheKey, Loading] = WeakValueDictionary()
        # ttl=0 forgets a load when it ends: this only joins callers of one that is under way.
        self._load_once = alru_cache(
            maxsize=None, ttl=0, key=lambda key, loading, _: (key, loading)
        )(self._load)

    async def get_or_load(self, key: CacheKey, load: Load) -> tuple[Any, bool]:
        """Return the value and whether it was kept; if not, `load` it and keep it.

        Concurrent callers share one load. It goes on when one of them is cancelled, and ends with
        the last. What `load` raises reaches all of them and is not kept. Each gets a copy.
        """
        value = self._kept.get(key, MISSING)
        if value is not MISSING:
            return deepcopy(value), True
        loading = self._loading.setdefault(key, Loading())
        return deepcopy(await self._load_once(key, loading, load)), False

    async def invalidate(self, key: CacheKey) -> None:
        """Forget the values of `key` and of the keys that begin with its parts, for all callers.

        Callers from now on get what is loaded from now on, and a load under way is not kept. Call
        it after a write, and in a `finally`: a write that has failed may have been applied.
        """
        for kept in [kept for kept in self._kept if kept.is_below(key)]:
            self._kept.pop(kept, None)
        for loading in [loading for loading in self._loading if loading.is_below(key)]:
            self._loading.pop(loading, None)

    async def _load(self, key: CacheKey, loading: Loading, load: Load) -> Any:
        value = await load()
        if self._loading.get(key) is loading:  # not invalidated meanwhile
            self._kept[key] = value
        return value

    async def close(self) -> None:
        await self._load_once.cache_close()


@asynccontextmanager
async def cache() -> AsyncIterator[LoadingCache]:
    settings = CachingSettings()
    opened = LoadingCache(settings.cache_ttl_seconds, settings.cache_max_entries)
    try:
        yield opened
    finally:
        await opened.close()


Cache = Annotated[LoadingCache, Shared(cache)]
