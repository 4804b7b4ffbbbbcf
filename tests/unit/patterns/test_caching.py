"""Details of the cache: cancelled callers, copies, keys, and tools that use it."""

import asyncio
import gc
import importlib.util
from typing import Any

import pytest
from fastmcp import Client, FastMCP

from my_mcp_server.patterns.caching import (
    Cache,
    CachingSettings,
    LoadingCache,
    MemoryCache,
    cache,
    cache_key,
)
from my_mcp_server.runtime.caller import (
    token_identity,
)
from my_mcp_server.settings import (
    InvalidSettings,
    check_settings,
)
from my_mcp_server.upstream import (
    Api,
    UpstreamSettings,
    upstream_api,
)

from ...patterns.test_caching import KEY, token_of
from ...upstream import answer, local_upstream


class Source:
    """Loads `value` once released, and counts the loads. A value that is an exception is raised."""

    def __init__(self, value: Any = "value", *, released: bool = True) -> None:
        self.value = value
        self.loads = 0
        self.release = asyncio.Event()
        self.cancelled = asyncio.Event()
        if released:
            self.release.set()

    async def __call__(self) -> Any:
        self.loads += 1
        try:
            await self.release.wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.fixture
def kept() -> LoadingCache:
    return LoadingCache(MemoryCache(ttl_seconds=60, max_entries=100))


async def fetch(resource_id: str, api: Api, cache: Cache) -> Any:
    """Get a resource of the API through the cache, like a tool."""

    async def load() -> Any:
        return (await api.get_resource("resources", resource_id)).data

    data, from_cache = await cache.get_or_load(cache_key("resources", resource_id), load)
    return {"data": data, "from_cache": from_cache}


@pytest.mark.parametrize("url", ["sqlite:///cache.db", "postgresql://h/n", "redis://h:x", "h"])
def test_an_unusable_url_of_the_cache_is_a_settings_error(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_URL", url)
    with pytest.raises(
        InvalidSettings, match=r"^CACHE_URL: (must be memory://|has an invalid port)"
    ):
        check_settings()


def test_the_url_of_the_cache_is_a_secret(
    with_the_extra: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_URL", "redis://user:hunter2@h")
    settings = CachingSettings()
    assert "hunter2" not in repr(settings) + settings.model_dump_json()


def test_sessions_with_a_shared_cache_are_refused(
    with_the_extra: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_SESSIONS", "true")
    assert CachingSettings().http_sessions
    monkeypatch.setenv("CACHE_URL", "redis://h")
    with pytest.raises(InvalidSettings, match="HTTP_SESSIONS: sessions are"):
        check_settings()


@pytest.fixture
def with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the client library is installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


async def test_keys_do_not_share_a_load(kept: LoadingCache) -> None:
    results = await asyncio.gather(
        *(kept.get_or_load(cache_key(str(number)), Source(number)) for number in range(10))
    )
    assert results == [(number, False) for number in range(10)]


@pytest.mark.parametrize("cancelled", [[0], [2], [0, 1]], ids=["first", "last", "all but one"])
async def test_a_cancelled_caller_does_not_affect_others(
    cancelled: list[int], kept: LoadingCache
) -> None:
    source = Source(released=False)
    calls = [asyncio.create_task(kept.get_or_load(KEY, source)) for _ in range(3)]
    await _until_all_wait()
    for number in cancelled:
        calls[number].cancel()
    await _until_all_wait()
    source.release.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    for number, result in enumerate(results):
        if number in cancelled:
            assert isinstance(result, asyncio.CancelledError)
        else:
            assert result == ("value", False)
    assert source.loads == 1
    assert await kept.get_or_load(KEY, source) == ("value", True)


async def test_a_load_that_nobody_waits_for_is_cancelled(kept: LoadingCache) -> None:
    source = Source(released=False)
    calls = [asyncio.create_task(kept.get_or_load(KEY, source)) for _ in range(3)]
    await _until_all_wait()
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await _until_all_wait()
    assert source.cancelled.is_set()
    source.release.set()
    assert await kept.get_or_load(KEY, source) == ("value", False)


async def test_a_load_ends_with_the_cache() -> None:
    source = Source(released=False)
    async with cache() as opened:
        call = asyncio.create_task(opened.get_or_load(KEY, source))
        await _until_all_wait()
    assert source.cancelled.is_set()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_caller_that_modifies_a_value_does_not_change_the_cached_value(
    kept: LoadingCache,
) -> None:
    source = Source({"names": ["Ada"]})
    for _ in range(3):
        value, _ = await kept.get_or_load(KEY, source)
        assert value == {"names": ["Ada"]}
        value["names"].append("Eve")
    assert source.loads == 1


async def test_a_load_that_began_before_an_invalidation_is_not_cached(kept: LoadingCache) -> None:
    old = Source("old", released=False)
    reader = asyncio.create_task(kept.get_or_load(KEY, old))
    await _until_all_wait()
    await kept.invalidate(KEY)
    old.release.set()
    assert await reader == ("old", False)
    assert await kept.get_or_load(KEY, Source("new")) == ("new", False)


async def test_a_call_after_an_invalidation_does_not_join_a_load_that_began_before(
    kept: LoadingCache,
) -> None:
    old, new = Source("old", released=False), Source("new", released=False)
    before = asyncio.create_task(kept.get_or_load(KEY, old))
    await _until_all_wait()
    await kept.invalidate(KEY)
    after = [asyncio.create_task(kept.get_or_load(KEY, new)) for _ in range(10)]
    await _until_all_wait()
    new.release.set()
    await _until_all_wait()
    old.release.set()  # completes last, and must not replace the newer value
    assert await asyncio.gather(*after) == [("new", False)] * 10
    assert await before == ("old", False)
    assert await kept.get_or_load(KEY, Source("newest")) == ("new", True)
    assert (old.loads, new.loads) == (1, 1)


@pytest.mark.parametrize("ending", ["answers", "fails", "is cancelled"])
async def test_later_callers_share_one_load_for_any_outcome_of_an_outdated_load(
    ending: str, kept: LoadingCache
) -> None:
    old = Source(ValueError() if ending == "fails" else "old", released=False)
    new = Source("new", released=False)
    before = asyncio.create_task(kept.get_or_load(KEY, old))
    await _until_all_wait()
    await kept.invalidate(KEY)
    first = asyncio.create_task(kept.get_or_load(KEY, new))
    await _until_all_wait()
    if ending == "is cancelled":
        before.cancel()
    old.release.set()
    await asyncio.gather(before, return_exceptions=True)
    await _until_all_wait()
    second = asyncio.create_task(kept.get_or_load(KEY, new))
    await _until_all_wait()
    new.release.set()
    assert [await first, await second] == [("new", False)] * 2
    assert new.loads == 1


async def test_a_call_after_an_invalidation_gets_the_new_value(kept: LoadingCache) -> None:
    version = 0

    async def load() -> int:
        seen = version
        for _ in range(seen % 7):
            await asyncio.sleep(0)
        return seen

    async def read() -> None:
        for _ in range(30):
            written = version
            value, _ = await kept.get_or_load(KEY, load)
            assert value >= written
            await asyncio.sleep(0)

    async def write() -> None:
        nonlocal version
        for _ in range(100):
            version += 1
            await kept.invalidate(KEY)
            await asyncio.sleep(0)

    await asyncio.gather(write(), *(read() for _ in range(10)))
    assert (await kept.get_or_load(KEY, load))[0] == version


async def test_invalidating_a_key_does_not_affect_similar_keys(kept: LoadingCache) -> None:
    for parts in (("issues",), ("issues", "10"), ("issues", "2")):
        await kept.get_or_load(cache_key(*parts), Source())
    await kept.invalidate(cache_key("issues", "1"))
    for parts in (("issues",), ("issues", "10"), ("issues", "2")):
        assert await kept.get_or_load(cache_key(*parts), Source()) == ("value", True)


async def test_completed_and_cancelled_loads_do_not_leak(kept: LoadingCache) -> None:
    for number in range(10):
        call = asyncio.create_task(kept.get_or_load(cache_key(str(number)), Source()))
        if number % 2:
            await asyncio.sleep(0)
            call.cancel()  # in some cases before the load begins
        await asyncio.gather(call, return_exceptions=True)
    del call
    await _until_all_wait()
    gc.collect()
    assert len(kept._loading) == 0


async def test_callers_with_different_credentials_share_neither_credentials_nor_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def credential(_settings: UpstreamSettings) -> str:
        identity = token_identity()
        await asyncio.sleep(0)
        return f"Bearer for-{identity}"

    monkeypatch.setattr(f"{UpstreamSettings.__module__}.authorization", credential)
    async with local_upstream() as upstream:
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        upstream.default = answer(body="data", pause_seconds=0.02)
        async with upstream_api() as api, cache() as opened:

            async def call(user: str) -> None:
                with token_of("desktop", user):
                    await fetch("1", api, opened)

            await asyncio.gather(*(call(user) for user in ("ada", "eve") * 10))
    sent = sorted(headers["authorization"] for _, headers in upstream.requests)
    assert sent == ["Bearer for-desktop/ada", "Bearer for-desktop/eve"]


def test_each_client_and_each_of_its_users_has_separate_keys() -> None:
    keys = [cache_key("resources", "1")]
    for client, user in (("desktop", None), ("desktop", "ada"), ("desktop", "eve"), ("web", "ada")):
        with token_of(client, user):
            keys.append(cache_key("resources", "1"))
    assert len(set(keys)) == 5


def test_the_parts_of_a_key_are_unambiguous() -> None:
    assert cache_key("a", "bc") != cache_key("ab", "c")
    assert cache_key("a", "b") != cache_key('a", "b')


async def test_twenty_concurrent_calls_of_a_tool_make_one_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with local_upstream() as upstream:
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        upstream.default = answer(body="data", pause_seconds=0.03)
        async with Client(FastMCP("test", tools=[fetch])) as client:

            async def call() -> Any:
                return await client.call_tool("fetch", {"resource_id": "a/b"})

            results = await asyncio.gather(*(call() for _ in range(20)))
            results.append(await call())
    assert upstream.paths == ["/resources/a%2Fb"]
    assert [result.data["data"] for result in results] == ["data"] * 21
    assert not results[0].data["from_cache"]
    assert results[-1].data["from_cache"]


async def test_an_api_failure_is_reported_and_the_next_call_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with local_upstream(answer(503)) as upstream:
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        server = FastMCP("test", tools=[fetch], mask_error_details=True)
        async with Client(server) as client:
            failed, succeeded = [
                await client.call_tool("fetch", {"resource_id": "1"}, raise_on_error=False)
                for _ in range(2)
            ]
    assert failed.is_error
    assert failed.content[0].text == "The API answered 503."
    assert succeeded.data == {"data": {"ok": True}, "from_cache": False}


async def test_a_cancelled_call_does_not_cancel_the_shared_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with local_upstream() as upstream:
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        upstream.default = answer(body="data", pause_seconds=0.02)
        async with upstream_api() as api, cache() as opened:
            first, second = (asyncio.create_task(fetch("1", api, opened)) for _ in range(2))
            await upstream.requested.wait()
            first.cancel()
            result = await second
    assert first.cancelled()
    assert result["data"] == "data"
    assert len(upstream.requests) == 1


async def _until_all_wait() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)
