"""No update is lost: not between callers, and not with the end of the process."""

import asyncio
from pathlib import Path

import pytest
from pydantic import JsonValue

from {{ cookiecutter.package_name }}.patterns.state_management import (
    MemoryBackend,
    StateFull,
    StateStore,
    Versioned,
    state_store,
)
from {{ cookiecutter.package_name }}.settings import (
    InvalidSettings,
    check_settings,
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


def increment(value: JsonValue) -> JsonValue:
    return (value if isinstance(value, int) else 0) + 1


async def test_fifty_concurrent_increments_are_all_counted(in_either: None) -> None:
    async with state_store() as state:

        async def count() -> list[JsonValue]:
            return [await state.update("n", increment) for _ in range(5)]

        counts = await asyncio.gather(*(count() for _ in range(10)))
        assert await state.get("n") == 50
    values = [value for five in counts for value in five if isinstance(value, int)]
    assert sorted(values) == [*range(1, 51)]


class OvertakenOnce(MemoryBackend):
    """A store in which another caller's first write comes before ours."""

    async def write(self, key: str, new: Versioned) -> bool:
        if new.version == 1:
            await super().write(key, Versioned(10, 1))
        return await super().write(key, new)


async def test_a_change_is_made_again_from_the_newer_value() -> None:
    seen: list[JsonValue] = []

    def change(value: JsonValue) -> JsonValue:
        seen.append(value)
        return increment(value)

    assert await StateStore(OvertakenOnce(max_keys=1)).update("n", change) == 11
    assert seen == [None, 10]


async def test_state_in_a_file_survives_a_restart(in_a_file: None) -> None:
    for expected in (1, 2):
        async with state_store() as state:
            assert await state.update("n", increment) == expected


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


def test_several_workers_with_state_in_memory_are_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STATE_URL", "memory://")
    monkeypatch.setenv("WORKERS", "2")
    with pytest.raises(InvalidSettings, match="STATE_URL: several workers do not share memory://"):
        check_settings()
