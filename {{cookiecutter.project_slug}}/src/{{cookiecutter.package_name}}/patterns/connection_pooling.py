"""Reuse connections: a new client for every call pays for TCP and TLS each time, and can exhaust
the upstream.

The process has one client, with a bounded pool. A call waits for a free connection, but not long:
when the pool is exhausted, only failing fast does not make it worse.
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
    """Open a client whose connections are shared and bounded; `options` are passed to it.

    A request that finds no free connection for `pool_wait_seconds` raises `PoolTimeout`.
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
