"""However a server is stopped, it is gone soon after its grace period, although something in it hangs."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from .conftest import Projects
from .project import Project
from .running import (
    HANDSHAKE,
    MODERN,
    PATIENCE_SECONDS,
    Running,
    environment,
    following,
    headers_of,
    http_request,
    message,
    serving,
    tool_call,
)

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.sweep,
    pytest.mark.skipif(sys.platform == "win32", reason="no process can be sent SIGTERM there"),
]

GRACE_SECONDS = 1
HANGS_SECONDS = 300


@contextmanager
def slow_server(project: Project, home: Path, *flags: str, **variables: str) -> Iterator[Running]:
    """Serve the project with tools that hang, those of its own tests."""
    process = start_slow_server(project, home, "--transport", "http", "--port", "0", *flags, **variables)
    with serving(process) as server:
        server.logged("Application startup complete")
        yield server


def start_slow_server(
    project: Project, home: Path, *flags: str, **variables: str
) -> "subprocess.Popen[bytes]":
    program = project.path / "tests" / "production" / "slow_server.py"
    grace = {"SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS)}
    return subprocess.Popen(
        [sys.executable, str(program), *flags],
        env=environment(project, home, **grace, **variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def family(server: Running) -> list[psutil.Process]:
    process = psutil.Process(server.process.pid)
    return [process, *process.children(recursive=True)]


def gone_after(processes: list[psutil.Process]) -> float:
    """Return how many seconds it takes until all of them have ended."""
    begin = time.monotonic()
    _, alive = psutil.wait_procs(processes, PATIENCE_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert not alive
    return time.monotonic() - begin


@pytest.mark.parametrize(
    ("workers", "tool", "name"),
    [
        (1, "sleep_in_thread", "SIGTERM"),
        (1, "block", "SIGINT"),
        (2, "block", "SIGTERM"),
        (2, "sleep_in_thread", "SIGINT"),
        (2, "block", "SIGKILL"),
    ],
)
def test_a_call_that_hangs_holds_up_no_end(
    workers: int, tool: str, name: str, projects: Projects, tmp_path: Path
) -> None:
    with slow_server(projects("none"), tmp_path, "--workers", str(workers)) as server:
        server.logged("Application startup complete", times=workers)

        async def call() -> None:
            with suppress(AssertionError, OSError):  # it is cut
                await server.call(HANDSHAKE, tool, {"seconds": HANGS_SECONDS})

        caller = threading.Thread(target=asyncio.run, args=[call()])
        caller.start()
        server.logged("sleeping in a thread")
        processes = family(server)
        server.process.send_signal(getattr(signal, name))
        assert gone_after(processes) < PATIENCE_SECONDS / 2
        caller.join()


@pytest.mark.parametrize("name", ["none", "all"])
@pytest.mark.parametrize(
    ("tool", "end"), [("sleep_in_thread", "SIGTERM"), ("block", "SIGINT"), ("block", "EOF")]
)
def test_a_call_that_hangs_holds_up_no_end_of_stdio(
    name: str, tool: str, end: str, projects: Projects, tmp_path: Path
) -> None:
    with start_slow_server(projects(name), tmp_path) as process, following(process) as server:
        assert process.stdin is not None
        hanging = json.dumps(tool_call(MODERN, tool, {"seconds": HANGS_SECONDS}))
        process.stdin.write(hanging.encode() + b"\n")
        process.stdin.flush()
        server.logged("sleeping in a thread")
        if end == "EOF":
            process.stdin.close()
        else:
            process.send_signal(getattr(signal, end))
        assert process.wait(PATIENCE_SECONDS / 2) == 0
        server.logged("Exiting before the shutdown is complete")


def test_a_worker_that_no_signal_reaches_holds_up_no_end(projects: Projects, tmp_path: Path) -> None:
    with slow_server(projects("none"), tmp_path, "--workers", "2") as server:
        server.logged("Application startup complete", times=2)
        processes = family(server)
        workers = [process for process in processes if "spawn_main" in " ".join(process.cmdline())]
        workers[0].suspend()
        time.sleep(1)  # the supervisor asks it whether it lives, and waits
        server.process.terminate()
        assert gone_after(processes) < PATIENCE_SECONDS / 2
        server.logged("Draining")  # the other one


def test_a_stream_of_a_session_holds_up_no_end(projects: Projects, tmp_path: Path) -> None:
    with slow_server(projects("none"), tmp_path, HTTP_SESSIONS="true") as server:

        async def stream_until_the_end() -> bytes:
            begin = message(HANDSHAKE, "initialize")
            reply = await server.post(json.dumps(begin).encode(), headers_of(HANDSHAKE, begin))
            session = reply.headers["mcp-session-id"]
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(
                f"GET /mcp HTTP/1.1\r\nHost: {server.address}\r\nAccept: text/event-stream\r\n"
                f"MCP-Protocol-Version: {HANDSHAKE}\r\nMcp-Session-Id: {session}\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            server.process.terminate()
            async with asyncio.timeout(PATIENCE_SECONDS):
                await reader.read()
            writer.close()
            return head

        assert b" 200 " in asyncio.run(stream_until_the_end())
        assert gone_after(family(server)) < PATIENCE_SECONDS / 2
        assert not any("The grace period is over" in line for line in server.log)


def test_calls_that_are_cut_get_the_end_of_an_answer(projects: Projects, tmp_path: Path) -> None:
    with slow_server(projects("none"), tmp_path) as server:

        async def answers() -> tuple[bytes, bytes]:
            slow = tool_call(HANDSHAKE, "wait", {"seconds": HANGS_SECONDS, "label": "cut"})
            body = json.dumps(slow).encode()
            request = http_request(server.address, body, headers_of(HANDSHAKE, slow))
            reader, writer = await asyncio.open_connection(server.host, server.port)
            late_reader, late_writer = await asyncio.open_connection(server.host, server.port)
            writer.write(request.replace(b"Connection: close\r\n", b""))
            await asyncio.to_thread(server.logged, "waiting: cut")
            server.process.terminate()
            await asyncio.to_thread(server.logged, "The port is closed")
            late_writer.write(request.replace(b"cut", b"too"))
            async with asyncio.timeout(PATIENCE_SECONDS):
                answers = await reader.read(), await late_reader.read()
            for opened in (writer, late_writer):
                opened.close()
            return answers

        for answer in asyncio.run(answers()):
            # An event stream has begun, and is ended as such; or nothing has, and it is a 503.
            assert answer.endswith(b"0\r\n\r\n") or b" 503 " in answer
            assert b"connection: close" in answer.lower() or b"text/event-stream" in answer
        assert gone_after(family(server)) < PATIENCE_SECONDS / 2
