"""The log, the disk, the state store or the database of a server fails and recovers."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from .conftest import Projects
from .running import (
    ERAS,
    MODERN,
    PATIENCE_SECONDS,
    UNLIMITED,
    Running,
    message,
    read_until_serving,
    running,
    start,
)

pytestmark = [pytest.mark.sweep, pytest.mark.matrix]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(projects: Projects, folder: Path) -> Iterator[Running]:
    """Run a server with a state store and a damaged database."""
    (folder / "users.db").write_text("This is not a database.\n" * 1000)
    stores = {
        "STATE_URL": f"sqlite:///{folder / 'state.db'}",
        "DATABASE_URL": f"sqlite:///{folder / 'users.db'}",
        "API_BASE_URL": "example",
    }
    with running(projects("all"), folder, **UNLIMITED, **stores) as started:
        yield started


async def structured(server: Running, tool: str, **arguments: Any) -> dict[str, Any]:
    reply = await server.call(MODERN, tool, arguments)
    content: dict[str, Any] = reply.result["structuredContent"]
    return content


async def count(server: Running, name: str) -> dict[str, Any]:
    return await structured(server, "increment_counter", name=name)


def test_only_the_database_tool_fails_while_the_database_cannot_be_opened(
    server: Running, folder: Path
) -> None:
    async def calls() -> None:
        for era in ERAS:
            await server.good_call(era)
        failure = await structured(server, "database_operation")
        assert failure["error"]["message"] == "The file is damaged, or is not an SQLite database."
        assert (failure["error"]["code"], failure["error"]["retryable"]) == ("API_ERROR", False)
        assert (await server.get("/readyz")).status == 200  # only open resources are checked
        (folder / "users.db").unlink()
        assert (await structured(server, "database_operation"))["users"]

    asyncio.run(calls())


def test_a_call_waits_for_a_locked_state_store_and_others_do_not(server: Running, folder: Path) -> None:
    async def calls() -> None:
        assert (await count(server, "locked"))["value"] == 1
        with closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            waiting = asyncio.create_task(count(server, "locked"))
            for era in ERAS:
                await server.good_call(era)
            assert (await server.get("/livez")).status == 200
            assert not waiting.done()
            other.execute("ROLLBACK")
            async with asyncio.timeout(PATIENCE_SECONDS):
                assert (await waiting)["value"] == 2

    asyncio.run(calls())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can limit another process")
def test_a_write_fails_on_a_full_disk_and_succeeds_when_there_is_room(server: Running) -> None:
    import resource  # noqa: PLC0415 - not available on Windows

    async def calls() -> None:
        before = (await count(server, "kept"))["value"]
        pid = server.process.pid
        limit, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        failure = await count(server, "kept")
        assert failure["error"]["message"] == "The database does not answer."
        assert (failure["error"]["code"], failure["error"]["retryable"]) == ("API_ERROR", True)
        for era in ERAS:
            await server.good_call(era)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, hard))
        assert (await count(server, "kept"))["value"] == before + 1

    asyncio.run(calls())


def test_a_closed_log_pipe_does_not_affect_answers(projects: Projects, tmp_path: Path) -> None:
    async def calls(server: Running) -> None:
        for era in ERAS:
            await server.good_call(era)
            reply = await server.call(era, "process_data", {"unknown": "argument"})
            assert reply.result["isError"]

    with start(projects("all"), tmp_path, "--transport", "http", "--port", "0") as process:
        assert process.stderr is not None
        server = read_until_serving(process)
        process.stderr.close()
        try:
            asyncio.run(calls(server))
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) in {0, 1, 120, -15, 143}  # 1 on Windows
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot tell whether a pipe is full")
def test_a_full_log_pipe_does_not_block_calls_and_lost_lines_are_reported(
    projects: Projects, tmp_path: Path
) -> None:
    names = {f"unknown_{number:050}": "" for number in range(20)}  # logged with each call

    async def calls(server: Running) -> None:
        for _ in range(50):
            for era in ERAS:
                assert (await server.call(era, "process_data", names)).result["isError"]
                await server.good_call(era)

    async def one_call(server: Running) -> None:
        await server.good_call(MODERN)

    flags = ("--transport", "http", "--port", "0")
    with start(projects("all"), tmp_path, *flags, **UNLIMITED) as process:
        try:
            server = read_until_serving(process)
            asyncio.run(asyncio.wait_for(calls(server), PATIENCE_SECONDS))
            reading = threading.Thread(target=server.follow)
            reading.start()
            # The first lines are lost too if the pipe has not been read yet.
            end = time.monotonic() + PATIENCE_SECONDS
            while time.monotonic() < end and not any("dropped" in line for line in server.log):
                asyncio.run(one_call(server))
            lost = json.loads(server.logged("dropped"))
            assert int(lost["message"].split()[0]) > 0
            assert all(isinstance(json.loads(line), dict) for line in server.log)
        finally:
            process.kill()
        reading.join()


def test_a_server_on_stdio_answers_without_a_reader_of_its_log(projects: Projects, tmp_path: Path) -> None:
    listing = json.dumps({**message(MODERN, "tools/list"), "id": "list"}).encode() + b"\n"
    with start(projects("all"), tmp_path, "--transport", "stdio") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stderr.close()
        process.stdin.write(listing)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["id"] == "list"
        process.stdin.close()
        # 120 is Python's exit code if it cannot flush its output.
        assert process.wait(PATIENCE_SECONDS) in {0, 120}


INTERRUPTED_WHILE_IDLE = """
import signal, threading
from fastmcp import FastMCP
from {package}.runtime.stdio import reserve_stdio, serve_stdio

def interrupt():
    # Sent to this thread, so that only the signal handling wakes the serving thread.
    signal.pthread_kill(threading.get_ident(), signal.{name})

wire = reserve_stdio()
threading.Timer(0.5, interrupt).start()
serve_stdio(FastMCP("idle"), wire)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals cannot be sent to a thread")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_an_idle_server_on_stdio_handles_a_signal(name: str, projects: Projects, tmp_path: Path) -> None:
    project = projects("all")
    script = tmp_path / "idle.py"
    script.write_text(INTERRUPTED_WHILE_IDLE.format(package=project.package_name, name=name))
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, env=project.environment(), stdin=subprocess.PIPE) as process:
        try:
            assert process.wait(PATIENCE_SECONDS) == 0
        finally:
            process.kill()
