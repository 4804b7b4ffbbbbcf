"""Replicas share state in Redis: no write is lost or applied twice, and the maximum number of keys is exact."""

import asyncio
import gc
import socket
from contextlib import suppress

import pytest
from my_mcp_server.patterns.state_management import (
    ABSENT,
    RedisBackend,
    StateFull,
    StateStore,
    StateUnreadable,
    Turns,
    Versioned,
)
from my_mcp_server.redis_client import RedisRefused, RedisUnavailable

from ..engines import RedisEngine
from ..wire import Wire
from .conftest import Opened, keys_of

pytestmark = pytest.mark.anyio


def increment(value: object) -> int:
    return (value if isinstance(value, int) else 0) + 1


async def store(opened: Opened, max_keys: int = 100, **options: float) -> StateStore:
    return StateStore(RedisBackend(await opened(**options), max_keys), turns=Turns())


@pytest.mark.parametrize("value", [None, 0, "", [], {}, False, {"a": [1, {"b": None}]}, "ä'\n", "1 2"])
async def test_any_json_value_is_stored_unchanged(value: object, opened: Opened) -> None:
    here, there = await store(opened), await store(opened)
    assert await here.get("key") is None
    await here.update("key", lambda _: value)
    assert await there.get("key") == value
    assert await there.update("key", lambda stored: [stored]) == [value]


async def test_no_increment_of_three_replicas_is_lost(opened: Opened) -> None:
    stores = [await store(opened) for _ in range(3)]
    values = await asyncio.gather(*(one.update("n", increment) for one in stores for _ in range(40)))
    assert sorted(values) == list(range(1, 121))


async def test_a_write_whose_answer_is_lost_is_applied_once(opened: Opened, wire: Wire) -> None:
    """The client repeats the write, and another replica may have incremented in between."""
    stores = [await store(opened) for _ in range(3)]
    for one in stores:
        await one.update("n", increment)
    wire.every, wire.swallow = 5, 60
    done = refused = 0

    async def count(one: StateStore) -> None:
        nonlocal done, refused
        for _ in range(40):
            try:
                await one.update("n", increment)
                done += 1
            except RedisUnavailable as failure:
                refused += failure.in_doubt

    await asyncio.gather(*(count(one) for one in stores for _ in range(2)))
    assert wire.swallow < 60
    wire.swallow = 0
    stored = await stores[0].get("n")
    assert isinstance(stored, int)
    assert 3 + done <= stored <= 3 + done + refused
    assert done > 150


async def test_a_repeated_command_is_recognised_after_another_write(opened: Opened) -> None:
    """The client sends the same write again after another replica has written the next version."""
    backend = RedisBackend(await opened(), 10)
    other = RedisBackend(await opened(), 10)
    sent = []
    run = backend._server.run

    async def twice(command):
        result = await run(command)
        if not sent:
            sent.append(result)
            assert await other.write("n", Versioned(2, 2))
            return await run(command)
        return result

    backend._server.run = twice
    assert await backend.write("n", Versioned(1, 1))
    assert await other.read("n") == Versioned(2, 2)


async def test_a_write_in_doubt_is_not_retryable_and_one_that_was_not_sent_is(
    opened: Opened, wire: Wire
) -> None:
    state = await store(opened, seconds=0.2)
    await state.update("n", increment)
    backend = state._backend

    wire.cut = True
    with pytest.raises(RedisUnavailable) as before:
        await state.update("n", increment)
    assert before.value.retryable  # the read failed
    with pytest.raises(RedisUnavailable, match="may have been done") as during:
        await backend.write("n", Versioned(2, 2))
    assert during.value.in_doubt
    assert not during.value.retryable
    wire.reset()
    wire.cut = False
    assert await state.get("n") == 1


async def test_the_maximum_is_exact_for_concurrent_new_keys_of_replicas(
    opened: Opened, engine: RedisEngine
) -> None:
    stores = [await store(opened, max_keys=10) for _ in range(3)]
    results = await asyncio.gather(
        *(
            one.update(f"{place} {number}", increment)
            for place, one in enumerate(stores)
            for number in range(10)
        ),
        return_exceptions=True,
    )
    assert results.count(1) == 10
    assert sum(isinstance(result, StateFull) for result in results) == 20
    assert engine.ask("HLEN", "my-mcp-server:state:v1") == 10


async def test_state_does_not_expire_and_everything_else_does(opened: Opened, engine: RedisEngine) -> None:
    state = await store(opened)
    await state.update("n", increment)
    for key in keys_of(engine):
        lasts = engine.ask("PTTL", key) == -1
        assert lasts == (key == "my-mcp-server:state:v1")
        assert "{my-mcp-server:state:v1}" in key or lasts


async def test_a_value_of_another_program_is_neither_used_nor_overwritten(
    opened: Opened, engine: RedisEngine
) -> None:
    state = await store(opened)
    for foreign in (
        "",
        "1",
        "x 1",
        "1 {",
        "\x80",
        "-1 1",
        "01 1",
        "+1 1",
        "1_0 1",
        "0 1",
        "1 " + "[" * 100_000,
    ):
        engine.ask("HSET", "my-mcp-server:state:v1", "n", foreign)
        with pytest.raises(StateUnreadable, match="format"):
            async with asyncio.timeout(5):
                await state.update("n", increment)
        assert engine.ask("HGET", "my-mcp-server:state:v1", "n") == foreign.encode().decode()


async def test_a_key_of_another_type_is_named(opened: Opened, engine: RedisEngine) -> None:
    engine.ask("SET", "my-mcp-server:state:v1", "foreign")
    with pytest.raises(RedisRefused, match="another type") as raised:
        await (await store(opened)).update("n", increment)
    assert raised.value.engine_code == "WRONGTYPE"


async def test_a_full_server_refuses_a_write_without_doubt(opened: Opened, engine: RedisEngine) -> None:
    state = await store(opened)
    await state.update("n", increment)
    engine.configure(maxmemory="1")
    with pytest.raises(RedisRefused, match="no memory left") as raised:
        await state.update("n", increment)
    assert not raised.value.in_doubt
    assert raised.value.engine_code == "OOM"
    engine.configure(maxmemory="0")
    assert await state.update("n", increment) == 2


async def test_a_forgotten_script_is_sent_again(opened: Opened, engine: RedisEngine) -> None:
    state = await store(opened)
    await state.update("n", increment)
    engine.ask("SCRIPT", "FLUSH")
    assert await state.update("n", increment) == 2


async def test_cancelled_updates_leave_the_store_usable_and_no_lock_behind(opened: Opened) -> None:
    state = await store(opened)
    for _ in range(10):
        updates = [asyncio.create_task(state.update("n", increment)) for _ in range(30)]
        await asyncio.wait(updates, return_when=asyncio.FIRST_COMPLETED)
        for update in updates[::2]:
            update.cancel()
        results = await asyncio.gather(*updates, return_exceptions=True)
        assert not [one for one in results if not isinstance(one, int | asyncio.CancelledError)]
    async with asyncio.timeout(5):
        before = await state.get("n")
        assert await state.update("n", increment) == before + 1
    del update, updates, results
    gc.collect()
    assert len(state._turns._locks) == 0


async def test_an_engine_that_hangs_holds_the_updates_of_one_key_only_for_their_own_limit(
    opened: Opened, wire: Wire
) -> None:
    """The updates do not wait for each other's timeouts one after another."""
    state = await store(opened, seconds=0.5)
    await state.update("n", increment)
    wire.cut = True
    async with asyncio.timeout(10):
        results = await asyncio.gather(
            *(state.update("n", increment) for _ in range(60)), return_exceptions=True
        )
    assert all(isinstance(result, RedisUnavailable) for result in results)
    wire.cut = False


async def test_nothing_is_connected_until_the_first_command(opened: Opened, wire: Wire) -> None:
    state = await store(opened)
    assert wire.accepted == 0
    await state.get("n")
    assert wire.accepted == 1


async def test_a_silent_restart_of_the_server_costs_no_call(opened: Opened, wire: Wire) -> None:
    """Every pooled connection is broken after the restart."""
    state = await store(opened)
    await asyncio.gather(*(state.update(str(number), increment) for number in range(40)))
    wire.reset()
    values = await asyncio.gather(*(state.update(str(number), increment) for number in range(40)))
    assert values == [2] * 40


async def test_more_callers_than_connections_wait_for_one(opened: Opened, wire: Wire) -> None:
    state = await store(opened)
    await asyncio.gather(*(state.update(str(number % 50), increment) for number in range(300)))
    assert wire.accepted <= 20
    assert await state._backend.read("50") == ABSENT


async def test_a_server_without_a_free_connection_is_used_when_it_has_one(
    opened: Opened, engine: RedisEngine
) -> None:
    state = await store(opened)
    before = engine.ask("CONFIG", "GET", "maxclients")[1]
    engine.configure(maxclients="20")
    held = [socket.create_connection(("127.0.0.1", engine.port)) for _ in range(20)]
    try:
        with pytest.raises(RedisUnavailable) as failure:
            await state.update("n", increment)
        assert failure.value.retryable
        assert not failure.value.in_doubt
    finally:
        for connection in held:
            connection.close()
        while True:  # until the server detects it
            with suppress(OSError):
                engine.configure(maxclients=before)
                break
            await asyncio.sleep(0.05)
    assert await state.update("n", increment) == 1
