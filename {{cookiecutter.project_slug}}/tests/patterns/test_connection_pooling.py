"""One pool for all calls: bounded, reused, and closed at the end."""

import asyncio

import httpx2 as httpx
import pytest

from {{ cookiecutter.package_name }}.patterns.connection_pooling import (
    ConnectionPoolingSettings,
    connection_pool,
)

from ..upstream import DROPPED, answer, local_upstream


async def test_thirty_calls_three_at_a_time_use_at_most_three_connections() -> None:
    at_a_time = asyncio.Semaphore(3)
    async with local_upstream() as upstream:
        upstream.default = answer(body={"ok": True}, pause_seconds=0.002)
        async with connection_pool(ConnectionPoolingSettings()) as client:

            async def call() -> None:
                async with at_a_time:
                    await client.get(upstream.url)

            await asyncio.gather(*(call() for _ in range(30)))
    assert len(upstream.requests) == 30
    assert upstream.connections <= 3


async def test_a_failed_call_is_not_retried() -> None:
    async with (
        local_upstream(answer(503), DROPPED) as upstream,
        connection_pool(ConnectionPoolingSettings()) as client,
    ):
        assert (await client.get(upstream.url)).status_code == 503
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(upstream.url)
    assert len(upstream.requests) == 2


async def test_a_call_without_a_free_connection_fails_fast() -> None:
    settings = ConnectionPoolingSettings(pool_max_connections=1, pool_wait_seconds=0.01)
    async with local_upstream() as upstream:
        upstream.default = answer(pause_seconds=5)
        async with connection_pool(settings) as client:
            first = asyncio.create_task(client.get(upstream.url))
            await upstream.requested.wait()
            with pytest.raises(httpx.PoolTimeout):
                await client.get(upstream.url)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)


async def test_the_pool_is_closed_at_shutdown() -> None:
    async with connection_pool(ConnectionPoolingSettings()) as client:
        assert not client.is_closed
    assert client.is_closed
