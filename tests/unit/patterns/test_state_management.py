"""Details of the state store: values, cancelled callers, a full store, and settings."""

import asyncio
import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastmcp import Client, FastMCP
from pydantic import JsonValue

from my_mcp_server.database import (
    open_database,
)
from my_mcp_server.patterns.state_management import (
    LONGEST_PAUSE_SECONDS,
    MemoryBackend,
    State,
    StateFull,
    StateManagementSettings,
    StateStore,
    StateUnreadable,
    Turns,
    Versioned,
    state_readiness,
    state_store,
)
from my_mcp_server.runtime.readiness import (
    readiness,
)
from my_mcp_server.settings import (
    InvalidSettings,
    check_settings,
)

from ...patterns.test_state_management import OvertakenOnce, increment


async def count(name: str, state: State) -> JsonValue:
    """Count the calls for a name, like a stateful tool."""
    return await state.update(name, increment)


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


@pytest.mark.parametrize("value", [None, 0, "", [], {}, False, {"a": [1, {"b": None}]}, "ä'\n"])
async def test_any_json_value_is_stored_unchanged(state: StateStore, value: JsonValue) -> None:
    assert await state.get("key") is None
    assert await state.update("key", lambda _: value) == value
    assert await state.get("key") == value
    seen: list[JsonValue] = []
    await state.update("key", seen.append)
    assert seen == [value]


@pytest.mark.parametrize("value", ["", "{", "NaN!", "[" * 100_000])
@pytest.mark.parametrize("version", [1, 0, -1])
async def test_a_row_of_another_program_is_neither_used_nor_overwritten(
    value: str, version: int, in_a_file: None
) -> None:
    url = StateManagementSettings().state_url.get_secret_value()
    row = {"key": "n", "value": value if version == 1 else "1", "version": version}
    async with state_store() as state, open_database(url) as database:
        await database.execute("INSERT INTO state VALUES (:key, :value, :version)", row)
        with pytest.raises(StateUnreadable, match="format"):
            await state.update("n", increment)
        assert await database.fetch("SELECT * FROM state") == [row]


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


async def test_concurrent_calls_of_a_tool_are_all_counted(in_either: None) -> None:
    async with Client(FastMCP("test", tools=[count])) as client:
        calls = (client.call_tool("count", {"name": "n"}) for _ in range(10))
        results = await asyncio.gather(*calls)
    assert sorted(int(result.content[0].text) for result in results) == [*range(1, 11)]


async def test_a_full_store_is_reported_to_the_caller(
    in_either: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_MAX_KEYS", "1")
    server = FastMCP[Any]("test", tools=[count], mask_error_details=True)
    async with Client(server) as client:
        await client.call_tool("count", {"name": "a"})
        result = await client.call_tool("count", {"name": "b"}, raise_on_error=False)
    assert result.is_error
    assert "The state store is full" in str(result.content)


async def test_a_conflicting_change_is_retried_after_a_short_pause() -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    assert await StateStore(OvertakenOnce(max_keys=1), sleep).update("n", increment) == 11
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
    # More updates than pooled connections, each cancelled wherever it is when the first completes.
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


async def test_a_caller_cancelled_during_its_pause_has_changed_nothing() -> None:
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


@pytest.fixture
def with_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that the client libraries are installed."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


@pytest.mark.parametrize("url", ["redis://u:hunter2@h", "postgresql://u:hunter2@h/n"])
def test_the_url_of_the_state_is_a_secret(
    url: str, with_the_extras: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_URL", url)
    settings = StateManagementSettings()
    assert "hunter2" not in repr(settings) + settings.model_dump_json()


@pytest.mark.parametrize("url", ["redis://h", "postgresql://h/n"])
def test_sessions_with_state_that_replicas_share_are_refused(
    url: str, with_the_extras: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_SESSIONS", "true")
    assert StateManagementSettings().http_sessions
    monkeypatch.setenv("STATE_URL", url)
    with pytest.raises(InvalidSettings, match="HTTP_SESSIONS: sessions are"):
        check_settings()


@pytest.mark.parametrize(
    ("url", "extra"), [("valkey://h", "redis"), ("postgres://h/n", "postgres")]
)
def test_a_missing_package_of_the_state_is_a_settings_error(
    url: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setenv("STATE_URL", url)
    with pytest.raises(InvalidSettings, match=f"^STATE_URL: .* install the extra `{extra}`"):
        check_settings()


class Overlapping(MemoryBackend):
    """Counts how many updates of a key are between their read and their write."""

    def __init__(self) -> None:
        super().__init__(max_keys=10)
        self.reading = 0
        self.most = 0

    async def read(self, key: str) -> Versioned:
        self.reading += 1
        self.most = max(self.most, self.reading)
        return await super().read(key)

    async def write(self, key: str, new: Versioned) -> bool:
        await anyio.lowlevel.checkpoint()
        self.reading -= 1
        return await super().write(key, new)


async def test_updates_of_one_key_take_turns_and_of_other_keys_do_not() -> None:
    backend = Overlapping()
    state = StateStore(backend, turns=Turns())
    await asyncio.gather(*(state.update("n", increment) for _ in range(20)))
    assert backend.most == 1
    await asyncio.gather(*(state.update(str(number % 4), increment) for number in range(20)))
    assert backend.most == 4
    assert await state.get("n") == 20


async def test_an_update_does_not_wait_forever_for_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{Turns.__module__}.TURN_SECONDS", 0.01)
    state = StateStore(MemoryBackend(max_keys=1), turns=Turns())
    assert state._turns
    async with asyncio.timeout(5), state._turns.turn("n"):
        assert await asyncio.create_task(state.update("n", increment)) == 1


async def test_a_cancelled_update_passes_its_turn_on() -> None:
    state = StateStore(MemoryBackend(max_keys=1), turns=Turns())
    assert state._turns
    async with state._turns.turn("n"):
        updates = [asyncio.create_task(state.update("n", increment)) for _ in range(10)]
        await asyncio.sleep(0)
        for update in updates[::2]:
            update.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(*updates, return_exceptions=True)
    assert await state.get("n") == 5


async def test_a_store_in_a_file_reports_its_health_while_it_is_open(in_a_file: None) -> None:
    async with state_store():
        with readiness.serving():
            assert (await readiness.report()).checks["state"] == "ok"
    with readiness.serving():
        assert "state" not in (await readiness.report()).checks


def test_several_workers_with_state_in_a_file_are_accepted(
    in_a_file: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKERS", "2")
    assert StateManagementSettings().workers == 2


@pytest.mark.parametrize(
    "url",
    [
        *("http://localhost", "state.db", "memory://x", "sqlite://", "sqlite:///:memory:"),
    ],
)
def test_any_other_store_is_refused_by_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_URL", url)
    with pytest.raises(InvalidSettings, match="STATE_URL: must be memory://, sqlite:///file"):
        check_settings()


@pytest.mark.parametrize("url", ["Memory://", "SQLite:////home/Ada Lovelace/state.db"])
def test_the_case_of_a_scheme_does_not_matter(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_URL", url)
    scheme, _, rest = url.partition("://")
    kept = StateManagementSettings().state_url.get_secret_value()
    assert kept == f"{scheme.lower()}://{rest}"


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


async def test_production_with_state_in_a_file_logs_no_warning(
    in_a_file: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert await warnings_at_start("production", monkeypatch, caplog) == 0


async def warnings_at_start(
    environment: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> int:
    monkeypatch.setenv("ENVIRONMENT", environment)
    async with Client(FastMCP("test", lifespan=state_readiness)):
        return caplog.text.count("State is lost when this process ends")
