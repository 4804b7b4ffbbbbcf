"""No update is lost: not between callers, and not when a caller leaves."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastmcp import Client, FastMCP
from pydantic import JsonValue

from {{ cookiecutter.package_name }}.patterns.state_management import (
    ABSENT,
    LONGEST_PAUSE_SECONDS,
    MemoryBackend,
    StateFull,
    StateManagementSettings,
    StateStore,
    Versioned,
    state_store,
    warn_of_lost_state,
)
from {{ cookiecutter.package_name }}.runtime.readiness import (
    readiness,
)
from {{ cookiecutter.package_name }}.settings import (
    InvalidSettings,
    check_settings,
)
from {{ cookiecutter.package_name }}.tools.state_management import (
    increment_counter,
)


@pytest.fixture
def in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the state in a new SQLite file."""
    monkeypatch.setenv("STATE_URL", f"sqlite:///{tmp_path}/state.db")


@pytest.fixture(params=["in memory", "in a file"])
def in_either(request: pytest.FixtureRequest) -> None:
    """Run the test with each kind of store."""
    if request.param == "in a file":
        request.getfixturevalue("in_a_file")


@pytest.fixture
async def state(in_either: None) -> AsyncIterator[StateStore]:
    async with state_store() as opened:
        yield opened


def increment(value: JsonValue) -> JsonValue:
    return (value if isinstance(value, int) else 0) + 1


async def test_fifty_concurrent_increments_are_all_counted(state: StateStore) -> None:
    async def count() -> list[JsonValue]:
        return [await state.update("n", increment) for _ in range(5)]

    counts = await asyncio.gather(*(count() for _ in range(10)))
    values = [value for five in counts for value in five if isinstance(value, int)]
    assert sorted(values) == [*range(1, 51)]
    assert await state.get("n") == 50


async def test_the_tool_counts_concurrent_calls(in_either: None) -> None:
    async with Client(FastMCP("test", tools=[increment_counter])) as client:
        calls = (client.call_tool("increment_counter", {"name": "n", "by": 2}) for _ in range(10))
        await asyncio.gather(*calls)
        result = await client.call_tool("increment_counter", {"name": "n", "by": -5})
    assert result.structured_content == {"name": "n", "value": 15}


async def test_state_in_a_file_survives_a_restart(in_a_file: None) -> None:
    for expected in (1, 2):
        async with Client(FastMCP("test", tools=[increment_counter])) as client:
            result = await client.call_tool("increment_counter", {"name": "n"})
            assert result.structured_content == {"name": "n", "value": expected}


@pytest.mark.parametrize("value", [None, 0, "", [], {}, False, {"a": [1, {"b": None}]}, "ä'\n"])
async def test_any_json_value_is_kept_as_it_is(state: StateStore, value: JsonValue) -> None:
    assert await state.get("key") is None
    assert await state.update("key", lambda _: value) == value
    assert await state.get("key") == value
    seen: list[JsonValue] = []
    await state.update("key", seen.append)
    assert seen == [value]


async def test_a_full_store_refuses_a_new_key_and_still_changes_old_ones(
    in_either: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_MAX_KEYS", "2")
    async with state_store() as state:
        for key in ("a", "b"):
            await state.update(key, increment)
        with pytest.raises(StateFull, match="holds 2 keys"):
            await state.update("c", increment)
        assert await state.get("c") is None
        assert await state.update("a", increment) == 2


async def test_concurrent_new_keys_do_not_overfill_the_store(
    in_either: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_MAX_KEYS", "3")
    async with state_store() as state:
        results = await asyncio.gather(
            *(state.update(f"key {number}", increment) for number in range(10)),
            return_exceptions=True,
        )
    assert results.count(1) == 3
    assert sum(isinstance(result, StateFull) for result in results) == 7


async def test_a_full_store_is_told_to_the_caller(
    in_either: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_MAX_KEYS", "1")
    server = FastMCP[Any]("test", tools=[increment_counter], mask_error_details=True)
    async with Client(server) as client:
        await client.call_tool("increment_counter", {"name": "a"})
        result = await client.call_tool("increment_counter", {"name": "b"}, raise_on_error=False)
    assert result.is_error
    assert "The state store is full" in str(result.content)


class OvertakenOnce(MemoryBackend):
    """A store in which another caller's first write comes before ours."""

    async def write(self, key: str, new: Versioned) -> bool:
        if await self.read(key) == ABSENT:
            await super().write(key, Versioned(10, 1))
        return await super().write(key, new)


async def test_a_change_is_made_again_from_the_newer_value() -> None:
    pauses: list[float] = []
    seen: list[JsonValue] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    def change(value: JsonValue) -> JsonValue:
        seen.append(value)
        return increment(value)

    assert await StateStore(OvertakenOnce(max_keys=1), sleep).update("n", change) == 11
    assert seen == [None, 10]
    (pause,) = pauses
    assert 0 <= pause <= LONGEST_PAUSE_SECONDS


async def test_a_change_that_raises_changes_nothing(state: StateStore) -> None:
    await state.update("n", increment)

    def fail(_: JsonValue) -> JsonValue:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await state.update("n", fail)
    assert await state.update("n", increment) == 2


async def test_cancelled_updates_leave_the_store_usable(state: StateStore) -> None:
    # More than there are connections in a pool, each as far as it came when the first was done.
    updates = [asyncio.create_task(state.update("n", increment)) for _ in range(30)]
    await asyncio.wait(updates, return_when=asyncio.FIRST_COMPLETED)
    for update in updates:
        update.cancel()
    await asyncio.gather(*updates, return_exceptions=True)
    async with asyncio.timeout(5):
        before = await state.get("n")
        assert isinstance(before, int)
        assert 1 <= before <= 30
        assert await state.update("n", increment) == before + 1


async def test_a_caller_that_leaves_during_its_pause_has_changed_nothing() -> None:
    backend = OvertakenOnce(max_keys=1)
    paused = asyncio.Event()

    async def sleep(_: float) -> None:
        paused.set()
        await asyncio.Event().wait()

    with anyio.fail_after(5):
        update = asyncio.create_task(StateStore(backend, sleep).update("n", increment))
        await paused.wait()
        update.cancel()
        await asyncio.gather(update, return_exceptions=True)
    assert await StateStore(backend).get("n") == 10


async def test_a_store_in_a_file_reports_its_health_while_it_is_open(in_a_file: None) -> None:
    async with state_store():
        with readiness.serving():
            assert (await readiness.report()).checks["state"] == "ok"
    with readiness.serving():
        assert "state" not in (await readiness.report()).checks


def test_several_workers_with_state_in_memory_are_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STATE_URL", "memory://")
    monkeypatch.setenv("WORKERS", "2")
    with pytest.raises(InvalidSettings, match="STATE_URL: memory:// is not shared by several work"):
        check_settings()


def test_several_workers_with_state_in_a_file_are_accepted(
    in_a_file: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKERS", "2")
    assert StateManagementSettings().workers == 2


@pytest.mark.parametrize(
    "url",
    [
        *("redis://localhost", "state.db", "memory://x", "sqlite://", "sqlite:///:memory:"),
        "sqlite:///state\n.db",
    ],
)
def test_any_other_store_is_refused_by_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_URL", url)
    with pytest.raises(InvalidSettings, match="STATE_URL: must be memory:// or sqlite:///file"):
        check_settings()


@pytest.mark.parametrize("url", ["Memory://", "SQLite:////home/Ada Lovelace/state.db"])
def test_the_case_of_a_scheme_does_not_matter(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_URL", url)
    scheme, _, rest = url.partition("://")
    assert StateManagementSettings().state_url == f"{scheme.lower()}://{rest}"


@pytest.mark.parametrize(
    ("environment", "warnings"), [("production", 1), ("staging", 0), ("development", 0)]
)
async def test_production_with_state_in_memory_logs_a_warning(
    environment: str,
    warnings: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await warnings_at_start(environment, monkeypatch, caplog) == warnings


async def test_production_with_state_in_a_file_logs_none(
    in_a_file: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert await warnings_at_start("production", monkeypatch, caplog) == 0


async def warnings_at_start(
    environment: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> int:
    monkeypatch.setenv("ENVIRONMENT", environment)
    async with Client(FastMCP("test", lifespan=warn_of_lost_state)):
        return caplog.text.count("State is lost when this process ends: set STATE_URL")
