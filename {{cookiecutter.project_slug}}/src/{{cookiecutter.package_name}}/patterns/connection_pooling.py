"""Reuse HTTP connections.

A new client for every call repeats the TCP and TLS handshakes, and can overload the upstream.
Here the process has one client with a bounded pool. If the pool is exhausted, a call waits
briefly and then fails, because a longer queue would make an overload worse.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2 as httpx
from pydantic import Field

from ..settings import Settings


class ConnectionPoolingSettings(Settings):
    pool_max_connections: int = Field(20, ge=1, le=1000)
    pool_max_idle_connections: int = Field(10, ge=0, le=1000)
    pool_idle_seconds: float = Field(30, gt=0)
    pool_wait_seconds: float = Field(2, gt=0)


@asynccontextmanager
async def connection_pool(
    settings: ConnectionPoolingSettings, **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client with a bounded connection pool. `options` are passed to the client.

    A request that waits for a connection longer than `pool_wait_seconds` raises `PoolTimeout`.
    """
    limits = httpx.Limits(
        max_connections=settings.pool_max_connections,
        max_keepalive_connections=settings.pool_max_idle_connections,
        keepalive_expiry=settings.pool_idle_seconds,
    )
    async with httpx.AsyncClient(limits=limits, **options) as client:
        waits = client.timeout.as_dict() | {"pool": settings.pool_wait_seconds}
        client.timeout = httpx.Timeout(**waits)
        yield client
