"""A store that several processes share: no update is lost, and a kill leaves what was told."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from fastmcp import Client
from pydantic import JsonValue

from {{ cookiecutter.package_name }}.patterns.state_management import (
    StateStore,
    state_store,
)

from .process import ACCEPT, bare_environment, call, http_server

ENOUGH = 10
COUNT = call("increment_counter", name="cups")

# What another process does: say that it is ready, wait for a line, count, say that it is done.
OTHER_PROCESS = """
import asyncio, gc, importlib, sys

gc.disable()  # as the server does while it imports: a fifth faster
pattern = importlib.import_module(sys.argv[1])

async def count():
    async with pattern.state_store() as state:
        for _ in range(int(sys.argv[2])):
            await state.update("n", lambda value: (value or 0) + 1)

from sqlalchemy.ext.asyncio import create_async_engine
create_async_engine("sqlite+aiosqlite://")  # imports what the first opening would
print("ready", flush=True)
sys.stdin.readline()
asyncio.run(count())
print("done", flush=True)
"""


@pytest.mark.checklist("restart")
async def test_what_was_counted_survives_a_kill_between_two_calls_and_amid_others(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    store = tmp_path / "state.db"
    environment = bare_environment(tmp_path, STATE_URL=f"sqlite:///{store}")
    told = 0

    async def count(url: str) -> None:
        nonlocal told
        async with httpx2.AsyncClient(headers=ACCEPT) as client:
            while True:
                answer = await client.post(url, json=COUNT)
                told = max(told, answer.json()["result"]["structuredContent"]["value"])

    with http_server(environment) as killed:
        url = f"{killed.url}/mcp"
        async with Client(url, mode="legacy") as client:
            await client.call_tool("increment_counter", {"name": "cups"})
            counting = [asyncio.create_task(count(url)) for _ in range(2)]
            await killed.logged("increment_counter in process", times=ENOUGH)
            killed.process.kill()
            await killed.ended()
            ends = await asyncio.gather(*counting, return_exceptions=True)
            assert all(isinstance(end, httpx2.HTTPError) for end in ends)
            with closing(sqlite3.connect(store)) as file:
                assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            with http_server(environment, "--port", url.split(":")[2].partition("/")[0]):
                answer = await client.call_tool("increment_counter", {"name": "cups"})
    # What was in flight may have been counted and not told: one call of each.
    assert 0 < told < answer.data.value <= told + len(counting) + 1
    record_property("observed", f"{told} told, {answer.data.value} after the restart, file intact")


def increment(value: JsonValue) -> JsonValue:
    return (value if isinstance(value, int) else 0) + 1


async def test_increments_of_two_processes_are_all_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_URL", f"sqlite:///{tmp_path}/state.db")
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OTHER_PROCESS, StateStore.__module__, "10"),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert other.stdin is not None
    assert other.stdout is not None
    assert await other.stdout.readline() == b"ready\n"
    other.stdin.write(b"go\n")
    other_is_done = asyncio.create_task(other.stdout.readline())
    own = 0
    async with state_store() as state:  # the file is new for both
        while not other_is_done.done():
            await state.update("n", increment)
            own += 1
        assert other_is_done.result() == b"done\n"
        assert await state.get("n") == own + 10
    assert await other.wait() == 0
