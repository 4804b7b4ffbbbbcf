"""A process that is killed while it writes leaves a store that is whole and has what was told."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from fastmcp import Client

from .process import ACCEPT, bare_environment, call, http_server

ENOUGH = 10
COUNT = call("increment_counter", name="cups")


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
                (event,) = answer.text.split("data: ")[1:]
                told = max(told, json.loads(event)["result"]["structuredContent"]["value"])

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
