"""A real Redis server for the patterns of a rendered project, and a wire that can drop messages."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from my_mcp_server.redis_client import RedisServer, open_redis

from ..engines import RedisEngine
from ..wire import Wire

Opened = Callable[..., Any]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def running() -> Iterator[RedisEngine]:
    with RedisEngine() as engine:
        yield engine


@pytest.fixture
def engine(running: RedisEngine) -> Iterator[RedisEngine]:
    running.ask("FLUSHALL")
    yield running
    running.configure(maxmemory="0", maxmemory_policy="noeviction")


@pytest.fixture
def wire(engine: RedisEngine) -> Iterator[Wire]:
    with Wire(engine.port) as wire:
        yield wire


@pytest.fixture
async def opened(engine: RedisEngine, wire: Wire) -> AsyncIterator[Opened]:
    """Yield a function that opens clients, as separate replicas do. They are closed after the test."""
    async with AsyncExitStack() as stack:

        async def open_one(**options: Any) -> RedisServer:
            limits = {"seconds": 5.0, "pause_seconds": 0.0} | options
            return await stack.enter_async_context(open_redis("A_URL", wire.url(engine.url), **limits))

        yield open_one


def keys_of(engine: RedisEngine) -> list[str]:
    return engine.keys()
