"""Keep what is expensive to fetch, for a while.

A dictionary with timestamps grows for ever, takes an empty answer for a miss, lets a hundred
callers fetch the same thing at once, and hands one caller's data to another. This cache is
bounded, keeps falsy values, fetches a missing key once however many wait for it, and keeps
callers apart.
"""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Annotated, Any

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
        self._kept: TTLCache[str, Any] = TTLCache(max_entries, ttl_seconds, timer=clock)
        # ttl=0 forgets a load when it ends: this only joins callers of one that is under way.
        self._load_once = alru_cache(maxsize=None, ttl=0, key=lambda key, _: key)(self._load)

    async def get_or_load(self, key: str, load: Load) -> tuple[Any, bool]:
        """Return the value and whether it was kept; if not, `load` it and keep it.

        Concurrent callers share one load. It goes on when one of them is cancelled, and ends with
        the last. What `load` raises reaches all of them and is not kept. Each gets a copy.
        """
        value = self._kept.get(key, MISSING)
        if value is not MISSING:
            return deepcopy(value), True
        return deepcopy(await self._load_once(key, load)), False

    async def _load(self, key: str, load: Load) -> Any:
        value = await load()
        self._kept[key] = value
        return value

    async def close(self) -> None:
        await self._load_once.cache_close()


def cache_key(*parts: str) -> str:
    """Return a key for `parts` that no other caller shares; without tokens, all callers are one."""
    return json.dumps([token_identity(), *parts])


@asynccontextmanager
async def cache() -> AsyncIterator[LoadingCache]:
    settings = CachingSettings()
    opened = LoadingCache(settings.cache_ttl_seconds, settings.cache_max_entries)
    try:
        yield opened
    finally:
        await opened.close()


Cache = Annotated[LoadingCache, Shared(cache)]
