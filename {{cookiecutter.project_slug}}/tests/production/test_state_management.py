"""A kill leaves what was told: the file is whole, and holds every number that a client has seen."""

import asyncio
import sqlite3
from contextlib import closing

import pytest

from {{ cookiecutter.package_name }}.patterns.state_management import (
    state_store,
)

from .process import ServerProcess
from .report import Observe
from .wire import MODES

ENOUGH = 10


@pytest.mark.serving(STATE_URL="sqlite:///{home}/state.db", TOOL_DEADLINE_SECONDS="30")
@pytest.mark.checklist("restart")
async def test_what_was_counted_survives_a_kill_amid_calls(
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
    # What was in flight may have been counted and not told: one call of each client.
    assert isinstance(kept, int)
    assert 0 < told <= kept <= told + len(counting)
    observe(f"{told} told, {kept} after the kill, file intact")
