"""Nothing is opened before it is needed."""

import sys
from pathlib import Path

import pytest

from .engines import replicas
from .postgres_engine import postgres_engine
from .process import ServerProcess, call, message


def test_the_database_is_opened_by_the_first_call_that_needs_it(
    stdio_server: ServerProcess,
) -> None:
    def databases() -> list[Path]:
        return list(stdio_server.home.rglob("*.db"))

    stdio_server.greet()
    stdio_server.send(message("tools/list", 1))
    stdio_server.send(call("probe_echo", 2, text="tea"))
    assert sorted(stdio_server.receive()["id"] for _ in range(2)) == [1, 2]
    assert databases() == []
    stdio_server.send(call("probe_database", 3, name="rad"))
    assert stdio_server.receive()["result"]["structuredContent"] == {"result": ["Radia"]}
    assert len(databases()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="the engines do not run on Windows")
async def test_replicas_have_the_same_rows_on_postgresql(tmp_path: Path) -> None:
    with postgres_engine() as url, replicas(tmp_path, DATABASE_URL=url) as servers:
        for server in servers:
            async with server.client() as client:
                found = await client.call_tool("probe_database", {"name": "rad"})
            assert found.data == ["Radia"]
