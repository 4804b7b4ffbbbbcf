"""The database pattern with a real PostgreSQL: the result of a probe while calls use every connection."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from fastmcp import Client
from my_mcp_server.database import Database, DatabaseUnavailable, open_database
from my_mcp_server.server import mcp

from ..engines import PostgresEngine

pytestmark = pytest.mark.anyio

PROBE_SECONDS = 0.8  # the timeout of the readiness registry
# Much more than one call may take, and less than twenty calls take that wait for each other.
CALL_SECONDS = 20


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresEngine]:
    with PostgresEngine() as engine:
        yield engine


@pytest.fixture
async def busy(postgres: PostgresEngine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """Yield a database whose only connection is in use by a call that waits for a lock."""
    monkeypatch.setenv("DATABASE_POOL_SIZE", "1")
    monkeypatch.setenv("DATABASE_TIMEOUT_SECONDS", "30")
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(postgres.url))
        holder = await postgres.connection("app")
        stack.push_async_callback(holder.close)
        await holder.execute("SELECT pg_advisory_lock(1)")
        call = asyncio.create_task(database.fetch("SELECT 1 FROM pg_advisory_lock(1)"))
        while not await holder.fetch("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            await asyncio.sleep(0.01)
        yield database
        assert not call.done()
        await holder.execute("SELECT pg_advisory_unlock(1)")
        await call


async def test_a_busy_pool_is_not_an_outage(busy: Database) -> None:
    async with asyncio.timeout(PROBE_SECONDS):
        await busy.ping()


async def test_an_outage_is_noticed_while_the_pool_is_busy(busy: Database, postgres: PostgresEngine) -> None:
    postgres.pause()
    try:
        with pytest.raises((TimeoutError, DatabaseUnavailable)):
            async with asyncio.timeout(PROBE_SECONDS):
                await busy.ping()
    finally:
        postgres.resume()


async def test_a_ping_closes_its_own_connection(busy: Database, postgres: PostgresEngine) -> None:
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'"
    for _ in range(3):
        await busy.ping()
    async with asyncio.timeout(30):
        while await asyncio.to_thread(postgres.fetch, sessions) != [1]:  # a backend ends after the disconnect
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("tool", "arguments"), [("database_operation", {"limit": 1}), ("increment_counter", {"name": "first"})]
)
async def test_concurrent_first_calls_fail_together_while_postgresql_does_not_respond(
    postgres: PostgresEngine, monkeypatch: pytest.MonkeyPatch, tool: str, arguments: dict[str, Any]
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres.url)
    monkeypatch.setenv("STATE_URL", postgres.url)
    async with Client(mcp) as client:
        postgres.pause()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                calls = (client.call_tool(tool, arguments, raise_on_error=False) for _ in range(20))
                results = await asyncio.gather(*calls)
        finally:
            postgres.resume()
        assert all("does not answer" in str(result.content) for result in results)
        assert not (await client.call_tool(tool, arguments)).is_error
