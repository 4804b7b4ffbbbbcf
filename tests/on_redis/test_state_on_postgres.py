"""Replicas share state in PostgreSQL: they wait for each other's row locks, and do not repeat writes."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from my_mcp_server.patterns.state_management import StateStore, StateUnreadable, state_store

from ..engines import PostgresEngine

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresEngine]:
    with PostgresEngine() as engine:
        yield engine


@pytest.fixture
async def stores(
    postgres: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[StateStore]]:
    monkeypatch.setenv("STATE_URL", postgres.url)
    monkeypatch.setenv("DATABASE_TIMEOUT_SECONDS", "60")
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(state_store()) for _ in range(3)]


async def test_no_increment_of_replicas_is_lost_or_repeated(stores: list[StateStore]) -> None:
    applied = 0

    def increment(value: object) -> int:
        nonlocal applied
        applied += 1
        return (value if isinstance(value, int) else 0) + 1

    assert await stores[0].update("n", increment) == 1
    values = await asyncio.gather(*(store.update("n", increment) for store in stores for _ in range(40)))
    assert sorted(values) == list(range(2, 122))
    assert applied == 121


async def test_a_new_key_of_several_replicas_is_created_once(stores: list[StateStore]) -> None:
    def append(value: object) -> list[int]:
        return [*(value if isinstance(value, list) else []), 1]

    await asyncio.gather(*(store.update("new", append) for store in stores for _ in range(10)))
    assert await stores[0].get("new") == [1] * 30


async def test_a_change_that_raises_changes_nothing_and_releases_its_lock(stores: list[StateStore]) -> None:
    await stores[0].update("raising", lambda _: 1)

    def fail(_: object) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await stores[0].update("raising", fail)
    assert await stores[1].update("raising", lambda value: [value]) == [1]


async def test_cancelled_updates_release_their_locks(stores: list[StateStore]) -> None:
    await stores[0].update("cancelled", lambda _: 0)
    updates = [
        asyncio.create_task(store.update("cancelled", lambda value: value + 1))
        for store in stores
        for _ in range(20)
    ]
    await asyncio.wait(updates, return_when=asyncio.FIRST_COMPLETED)
    for update in updates[::2]:
        update.cancel()
    results = await asyncio.gather(*updates, return_exceptions=True)
    assert all(isinstance(result, int | asyncio.CancelledError) for result in results)
    done = sum(isinstance(result, int) for result in results)
    async with asyncio.timeout(30):
        value = await stores[0].update("cancelled", lambda value: value + 1)
    assert done < value <= len(updates) + 1


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_no_update_fails_because_the_database_serializes_transactions(
    level: str, postgres: PostgresEngine, stores: list[StateStore]
) -> None:
    """A role can have a stricter isolation level than PostgreSQL's default, which would roll back the slower update."""

    def increment(value: object) -> int:
        return (value if isinstance(value, int) else 0) + 1

    setting = "ALTER ROLE app {} default_transaction_isolation"
    await asyncio.to_thread(postgres.execute, f"{setting.format('SET')} = '{level}'")
    try:
        async with AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(state_store()) for _ in stores]
            values = await asyncio.gather(
                *(store.update(level, increment) for store in opened for _ in range(10))
            )
    finally:
        await asyncio.to_thread(postgres.execute, setting.format("RESET"))
    assert sorted(values) == list(range(1, 31))


async def test_a_key_may_be_written_more_often_than_an_integer_can_count(
    postgres: PostgresEngine, stores: list[StateStore]
) -> None:
    """INTEGER overflows at 2,147,483,647, after 83 days with 300 writes per second."""
    await stores[0].update("old", lambda _: 1)
    change = f"UPDATE state SET version = {2**31 - 1} WHERE key = 'old'"
    await asyncio.to_thread(postgres.execute, change, database="app")
    for value in (2, 3):
        assert await stores[0].update("old", lambda _, value=value: value) == value


async def test_a_row_of_another_program_is_neither_used_nor_overwritten(
    postgres: PostgresEngine, stores: list[StateStore]
) -> None:
    await stores[0].update("foreign", lambda _: 1)
    change = "UPDATE state SET value = '{' WHERE key = 'foreign'"
    await asyncio.to_thread(postgres.execute, change, database="app")
    with pytest.raises(StateUnreadable, match="format"):
        await stores[0].update("foreign", lambda _: 2)
    rows = await asyncio.to_thread(postgres.fetch, "SELECT value FROM state WHERE key = 'foreign'")
    assert rows == ["{"]
