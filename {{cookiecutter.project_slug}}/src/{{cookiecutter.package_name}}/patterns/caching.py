"""Keep what is expensive to fetch, for a while.

A dictionary with timestamps grows for ever, takes an empty answer for a miss, lets a hundred
callers fetch the same thing at once, and hands one caller's data to another. This cache is
bounded, keeps falsy values, fetches a missing key once however many wait for it, and keeps
callers apart.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from async_lru import alru_cache
from fastmcp.dependencies import Shared
from key_value.aio.stores.memory import MemoryStore
from pydantic import Field

from ..runtime.caller import token_identity
from ..settings import Settings

Load = Callable[[], Awaitable[Any]]


class CachingSettings(Settings):
    cache_ttl_seconds: float = Field(60, gt=0)
    cache_max_entries: int = Field(1000, ge=1)


class TTLCache:
    """JSON values by key for `ttl_seconds`, at most `max_entries` of them.

    The least recently used leave first.
    """

    def __init__(self, ttl_seconds: float, max_entries: int) -> None:
        self._ttl_seconds = ttl_seconds
        self._store = MemoryStore(max_entries_per_collection=max_entries)
        # ttl=0 forgets a load when it ends: this only joins callers of one that is under way.
        self._load_once = alru_cache(maxsize=None, ttl=0, key=lambda key, _: key)(self._load)

    async def get_or_load(self, key: str, load: Load) -> tuple[Any, bool]:
        """Return the value and whether it was kept; if not, `load` it and keep it.

        Concurrent callers share one load. It goes on when one of them is cancelled, and ends with
        the last.
        What `load` raises reaches all of them and is not kept.
        """
        kept = await self._store.get(key)
        if kept is not None:
            return kept["value"], True
        return await self._load_once(key, load), False

    async def _load(self, key: str, load: Load) -> Any:
        value = await load()
        await self._store.put(key, {"value": value}, ttl=self._ttl_seconds)
        return value

    async def close(self) -> None:
        await self._load_once.cache_close()


def cache_key(*parts: str) -> str:
    """Return a key for `parts` that no other caller shares; without tokens, all callers are one."""
    return json.dumps([token_identity(), *parts])


@asynccontextmanager
async def cache() -> AsyncIterator[TTLCache]:
    settings = CachingSettings()
    opened = TTLCache(settings.cache_ttl_seconds, settings.cache_max_entries)
    try:
        yield opened
    finally:
        await opened.close()


Cache = Annotated[TTLCache, Shared(cache)]
