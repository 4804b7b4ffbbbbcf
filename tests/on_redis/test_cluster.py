"""The keys of each command and script are in one hash slot of a cluster."""

from collections.abc import AsyncIterator

import pytest
from my_mcp_server.patterns.caching import LoadingCache, RedisCache, cache_key
from my_mcp_server.patterns.rate_limiting import SharedLimit
from my_mcp_server.patterns.state_management import RedisBackend, StateStore
from my_mcp_server.redis_client import RedisServer, open_redis

from ..engines import RedisEngine

pytestmark = pytest.mark.anyio


@pytest.fixture
async def node() -> AsyncIterator[RedisServer]:
    """Open a client of a cluster with one node, which has every slot and rejects commands with keys of several slots."""
    with RedisEngine(options={"cluster-enabled": "yes"}) as engine:
        engine.ask("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        while "cluster_state:ok" not in engine.ask("CLUSTER", "INFO"):
            pass
        async with open_redis("A_URL", engine.url, seconds=5) as server:
            yield server


async def load() -> str:
    return "value"


async def test_a_cluster_accepts_every_command(node: RedisServer) -> None:
    cache = LoadingCache(RedisCache(node, 60, 1000))
    for key in (cache_key("issues", "1"), cache_key("issues", "2")):
        assert await cache.get_or_load(key, load) == ("value", False)
        assert await cache.get_or_load(key, load) == ("value", True)
    for key in (cache_key("issues"), cache_key("users", "1")):
        await cache.invalidate(key)
    assert await cache.get_or_load(cache_key("issues", "1"), load) == ("value", False)
    await cache.close()

    state = StateStore(RedisBackend(node, 10))
    for name in ("a", "b"):
        assert await state.update(name, lambda _: 1) == 1
        assert await state.get(name) == 1
    assert await SharedLimit(node, per_minute=1, burst=1).wait("ada") == 0
