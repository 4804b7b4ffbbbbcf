"""The cache: one load for concurrent callers, limits of age and size, and separate callers."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.server.auth import AccessToken
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser

from {{ cookiecutter.package_name }}.patterns.caching import (
    Cache,
    LoadingCache,
    MemoryCache,
    cache_key,
)

KEY = cache_key("resources", "1")


class Source:
    """Loads `value`, and counts its loads. An exception is raised."""

    def __init__(self, value: Any = "value") -> None:
        self.value = value
        self.loads = 0

    async def __call__(self) -> Any:
        self.loads += 1
        await asyncio.sleep(0)
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.fixture
def kept() -> LoadingCache:
    return LoadingCache(MemoryCache(ttl_seconds=60, max_entries=100))


@contextmanager
def token_of(client: str, user: str | None = None) -> Iterator[None]:
    access = AccessToken(token="token", client_id=client, scopes=[], claims={"sub": user})
    reset = auth_context_var.set(AuthenticatedUser(access))
    try:
        yield
    finally:
        auth_context_var.reset(reset)


async def test_a_hundred_concurrent_misses_load_once(kept: LoadingCache) -> None:
    source = Source()
    results = await asyncio.gather(*(kept.get_or_load(KEY, source) for _ in range(100)))
    assert results == [("value", False)] * 100
    assert await kept.get_or_load(KEY, source) == ("value", True)
    assert source.loads == 1


@pytest.mark.parametrize("value", [None, 0, 0.0, False, "", [], {}], ids=repr)
async def test_an_empty_value_is_a_hit(value: Any, kept: LoadingCache) -> None:
    source = Source(value)
    await kept.get_or_load(KEY, source)
    found, from_cache = await kept.get_or_load(KEY, source)
    assert repr(found) == repr(value)
    assert from_cache
    assert source.loads == 1


async def test_an_error_reaches_all_waiting_callers_and_is_not_cached(kept: LoadingCache) -> None:
    source = Source(ValueError("no answer"))
    results = await asyncio.gather(
        *(kept.get_or_load(KEY, source) for _ in range(10)), return_exceptions=True
    )
    assert results == [source.value] * 10
    assert source.loads == 1
    assert await kept.get_or_load(KEY, Source()) == ("value", False)


async def test_a_value_is_loaded_again_when_it_expires() -> None:
    now = 0.0
    kept = LoadingCache(MemoryCache(ttl_seconds=60, max_entries=10, clock=lambda: now))
    await kept.get_or_load(KEY, Source("old"))
    await asyncio.sleep(0)  # the load that has just ended is forgotten a moment later
    now = 60.0
    assert await kept.get_or_load(KEY, Source("new")) == ("new", False)


async def test_a_full_cache_evicts_the_least_recently_used_value() -> None:
    kept = LoadingCache(MemoryCache(ttl_seconds=60, max_entries=3))
    source = Source()
    for number in range(10):
        await kept.get_or_load(cache_key(str(number)), source)
    assert await kept.get_or_load(cache_key("7"), source) == ("value", True)
    await kept.get_or_load(cache_key("10"), source)
    assert await kept.get_or_load(cache_key("7"), source) == ("value", True)
    assert await kept.get_or_load(cache_key("8"), source) == ("value", False)
    assert await kept.get_or_load(cache_key("0"), source) == ("value", False)


async def test_an_invalidated_value_is_loaded_again(kept: LoadingCache) -> None:
    await kept.get_or_load(KEY, Source("old"))
    await kept.invalidate(KEY)
    assert await kept.get_or_load(KEY, Source("new")) == ("new", False)


async def test_an_invalidation_applies_to_all_callers_and_to_keys_below_it(
    kept: LoadingCache,
) -> None:
    for user in ("ada", "eve"):
        with token_of("desktop", user):
            await kept.get_or_load(cache_key("issues"), Source())
            await kept.get_or_load(cache_key("issues", "1"), Source())
            await kept.get_or_load(cache_key("users"), Source())
    with token_of("desktop", "ada"):
        await kept.invalidate(cache_key("issues"))
    for user in ("ada", "eve"):
        with token_of("desktop", user):
            assert await kept.get_or_load(cache_key("issues"), Source("new")) == ("new", False)
            assert await kept.get_or_load(cache_key("issues", "1"), Source("new")) == ("new", False)
            assert await kept.get_or_load(cache_key("users"), Source("new")) == ("value", True)


async def test_two_callers_never_share_an_answer() -> None:
    async def fetch(answer: str, cache: Cache) -> str:
        value, _ = await cache.get_or_load(cache_key("greeting"), Source(answer))
        return str(value)

    server = FastMCP("test", tools=[fetch])
    async with Client(server):  # keeps the server, and so the cache, open
        for user, answer, expected in (("ada", "A", "A"), ("eve", "B", "B"), ("ada", "C", "A")):
            with token_of("desktop", user):
                async with Client(server) as client:
                    result = await client.call_tool("fetch", {"answer": answer})
            assert result.data == expected
