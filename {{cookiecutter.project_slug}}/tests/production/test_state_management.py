"""The state survives a kill, and is shared by workers and by replicas."""

import asyncio
import sqlite3
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from itertools import chain
from pathlib import Path

import pytest
from pydantic import ValidationError

from {{ cookiecutter.package_name }}.patterns.state_management import (
    StateManagementSettings,
    state_store,
)

from .engines import REPLICAS, replicas
from .postgres_engine import postgres_engine
from .process import ServerProcess
from .redis_engine import redis_engine
from .report import Observe
from .wire import MODES

ENOUGH = 10
CALLS = 10


@pytest.mark.serving(STATE_URL="sqlite:///{home}/state.db", TOOL_DEADLINE_SECONDS="30")
@pytest.mark.checklist("restart")
async def test_acknowledged_counts_survive_a_kill_during_calls(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch, observe: Observe
) -> None:
    told = 0

    async def count(mode: str) -> None:
        nonlocal told
        async with server.client(mode) as client:
            while True:
                told = max(told, (await client.call_tool("probe_count", {"name": "cups"})).data)

    counting = [asyncio.create_task(count(mode)) for mode in MODES]
    await server.logged("probe_count in process", times=ENOUGH)
    server.process.kill()
    await server.ended()
    ends = await asyncio.gather(*counting, return_exceptions=True)
    assert all(isinstance(end, Exception) for end in ends)

    store = server.home / "state.db"
    with closing(sqlite3.connect(store)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    monkeypatch.setenv("STATE_URL", f"sqlite:///{store}")
    async with state_store() as state:
        kept = await state.get("cups")
    # An in-flight call may have been counted without an answer: one per client.
    assert isinstance(kept, int)
    assert 0 < told <= kept <= told + len(counting)
    observe(f"{told} told, {kept} after the kill, file intact")


@pytest.mark.checklist("shared-state")
def test_several_workers_in_production_cannot_keep_state_in_memory(
    monkeypatch: pytest.MonkeyPatch, observe: Observe
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    profile = StateManagementSettings()  # is refused if the profile asks for what is refused below
    monkeypatch.setenv("WORKERS", str(profile.workers + 1))
    monkeypatch.setenv("STATE_URL", "memory://")
    with pytest.raises(ValidationError, match="STATE_URL"):
        StateManagementSettings()
    observe(f"{profile.workers + 1} workers with memory:// are refused")


@pytest.mark.skipif(sys.platform == "win32", reason="the engines do not run on Windows")
@pytest.mark.parametrize("engine", [redis_engine, postgres_engine])
async def test_replicas_on_one_engine_count_together(
    tmp_path: Path, engine: Callable[[], AbstractContextManager[str]]
) -> None:
    async def count(server: ServerProcess, mode: str) -> list[int]:
        async with server.client(mode) as client:
            calls = [await client.call_tool("probe_count", {"name": "cups"}) for _ in range(CALLS)]
        return [call.data for call in calls]

    with engine() as url, replicas(tmp_path, STATE_URL=url) as servers:
        counted = await asyncio.gather(
            *(count(server, mode) for server in servers for mode in MODES)
        )
    assert sorted(chain(*counted)) == list(range(1, CALLS * REPLICAS * len(MODES) + 1))
