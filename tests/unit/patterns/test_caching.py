"""The cache in detail: cancelled callers, copies, keys, and the cache of a server's tools."""

import asyncio
from typing import Any

import pytest
from fastmcp import Client, FastMCP

from my_mcp_server.patterns.caching import (
    Cache,
    LoadingCache,
    cache,
    cache_key,
)
from my_mcp_server.upstream import (
    Api,
    upstream_api,
)

from ...patterns.test_caching import token_of
from ...upstream import answer, local_upstream


class Source:
    """Loads `value` when it is released, and counts its loads. An exception is raised."""

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
    return LoadingCache(ttl_seconds=60, max_entries=100)


async def fetch(resource_id: str, api: Api, cache: Cache) -> Any:
    """Get a resource of the API through the cache, as tools do."""

    async def load() -> Any:
        return (await api.get_resource("resources", resource_id)).data

    data, from_cache = await cache.get_or_load(cache_key("resources", resource_id), load)
    return {"data": data, "from_cache": from_cache}


async def test_keys_do_not_share_a_load(kept: LoadingCache) -> None:
    results = await asyncio.gather(
        *(kept.get_or_load(str(number), Source(number)) for number in range(10))
    )
    assert results == [(number, False) for number in range(10)]


@pytest.mark.parametrize("cancelled", [[0], [2], [0, 1]], ids=["first", "last", "all but one"])
async def test_a_cancelled_caller_harms_no_other(cancelled: list[int], kept: LoadingCache) -> None:
    source = Source(released=False)
    calls = [asyncio.create_task(kept.get_or_load("key", source)) for _ in range(3)]
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
    assert await kept.get_or_load("key", source) == ("value", True)


async def test_a_load_that_nobody_waits_for_is_cancelled(kept: LoadingCache) -> None:
    source = Source(released=False)
    calls = [asyncio.create_task(kept.get_or_load("key", source)) for _ in range(3)]
    await _until_all_wait()
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await _until_all_wait()
    assert source.cancelled.is_set()
    source.release.set()
    assert await kept.get_or_load("key", source) == ("value", False)


async def test_a_load_ends_with_the_cache() -> None:
    source = Source(released=False)
    async with cache() as opened:
        call = asyncio.create_task(opened.get_or_load("key", source))
        await _until_all_wait()
    assert source.cancelled.is_set()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_what_a_caller_does_to_a_value_does_not_change_what_is_kept(
    kept: LoadingCache,
) -> None:
    source = Source({"names": ["Ada"]})
    for _ in range(3):
        value, _ = await kept.get_or_load("key", source)
        assert value == {"names": ["Ada"]}
        value["names"].append("Eve")
    assert source.loads == 1


def test_each_client_and_each_of_its_users_has_keys_of_its_own() -> None:
    keys = [cache_key("resources", "1")]
    for client, user in (("desktop", None), ("desktop", "ada"), ("desktop", "eve"), ("web", "ada")):
        with token_of(client, user):
            keys.append(cache_key("resources", "1"))
    assert len(set(keys)) == 5


def test_the_parts_of_a_key_do_not_run_together() -> None:
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


async def test_a_failure_of_the_api_is_told_and_the_next_call_tries_again(
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


async def test_a_cancelled_call_leaves_the_request_to_the_others(
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
    """Let every task run as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)
