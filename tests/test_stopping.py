"""A stopping server completes the calls that it can, and exits soon after the grace period, even if calls hang."""

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
from typing import Any

import httpx2
import psutil
import pytest

from .conftest import Projects
from .project import Project
from .running import (
    HANDSHAKE,
    MODERN,
    PATIENCE_SECONDS,
    Running,
    following,
    headers_of,
    http_request,
    message,
    serving,
    start_python,
    tool_call,
)

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.sweep,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM"),
]

PROGRAM = Path(__file__).with_name("hanging_server.py")
GRACE_SECONDS = 1
HANGS_SECONDS = 300


@contextmanager
def hanging_server(project: Project, home: Path, *flags: str, **variables: str) -> Iterator[Running]:
    process = start_hanging_server(project, home, "--transport", "http", "--port", "0", *flags, **variables)
    with serving(process) as server:
        server.logged("Application startup complete")
        yield server


def start_hanging_server(
    project: Project, home: Path, *flags: str, **variables: str
) -> "subprocess.Popen[bytes]":
    """Start the project's server with tools that hang."""
    settings = {"RUN": project.package_name, "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS), **variables}
    return start_python(project, home, str(PROGRAM), *flags, **settings)


def family(server: Running) -> list[psutil.Process]:
    process = psutil.Process(server.process.pid)
    return [process, *process.children(recursive=True)]


def gone_after(processes: list[psutil.Process]) -> float:
    """Wait until the processes exit, and return the seconds that this takes."""
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
def test_a_hanging_call_does_not_delay_shutdown(
    workers: int, tool: str, name: str, projects: Projects, tmp_path: Path
) -> None:
    with hanging_server(projects("none"), tmp_path, "--workers", str(workers)) as server:
        server.logged("Application startup complete", times=workers)

        async def call() -> None:
            with suppress(AssertionError, OSError):  # the call is cut off
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
def test_a_hanging_call_does_not_delay_shutdown_on_stdio(
    name: str, tool: str, end: str, projects: Projects, tmp_path: Path
) -> None:
    with start_hanging_server(projects(name), tmp_path) as process, following(process) as server:
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


def test_a_worker_that_ignores_signals_does_not_delay_shutdown(projects: Projects, tmp_path: Path) -> None:
    with hanging_server(projects("none"), tmp_path, "--workers", "2") as server:
        server.logged("Application startup complete", times=2)
        processes = family(server)
        server.workers[0].suspend()
        time.sleep(1)  # the supervisor is now waiting for its health check
        server.process.terminate()
        assert gone_after(processes) < PATIENCE_SECONDS / 2
        server.logged("Draining")  # by the other worker


def test_an_open_session_stream_does_not_delay_shutdown(projects: Projects, tmp_path: Path) -> None:
    with hanging_server(projects("none"), tmp_path, HTTP_SESSIONS="true") as server:

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


def test_calls_that_are_cut_off_get_a_complete_http_response(projects: Projects, tmp_path: Path) -> None:
    with hanging_server(projects("none"), tmp_path) as server:

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
            # A started event stream is terminated properly. Other requests get a 503.
            assert answer.endswith(b"0\r\n\r\n") or b" 503 " in answer
            assert b"connection: close" in answer.lower() or b"text/event-stream" in answer
        assert gone_after(family(server)) < PATIENCE_SECONDS / 2


def test_one_interrupt_stops_the_server_after_the_in_flight_call_is_answered(
    projects: Projects, tmp_path: Path
) -> None:
    with hanging_server(projects("none"), tmp_path) as server:

        async def call() -> object:
            calling = asyncio.create_task(
                server.call(HANDSHAKE, "wait", {"seconds": 0.5, "label": "in flight"})
            )
            await asyncio.to_thread(server.logged, "waiting: in flight")
            server.process.send_signal(signal.SIGINT)
            return (await calling).result["structuredContent"]

        assert asyncio.run(call()) == {"result": "done"}
        assert server.process.wait(PATIENCE_SECONDS) in {0, 130, -signal.SIGINT}
        server.logged("Application shutdown complete")
        assert "Traceback" not in "".join(server.log)


def test_a_second_signal_ends_the_process_at_once(projects: Projects, tmp_path: Path) -> None:
    with hanging_server(projects("none"), tmp_path, SHUTDOWN_GRACE_SECONDS="60") as server:

        async def call() -> None:
            stuck = {"seconds": HANGS_SECONDS, "label": "in the way"}
            calling = asyncio.create_task(server.call(HANDSHAKE, "wait", stuck))
            await asyncio.to_thread(server.logged, "waiting: in the way")
            server.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(server.logged, "Draining")
            server.process.send_signal(signal.SIGTERM)
            with pytest.raises(AssertionError, match="the connection has ended without an answer"):
                await calling

        asyncio.run(call())
        assert server.process.wait(PATIENCE_SECONDS / 2) == -signal.SIGTERM


def test_a_client_that_keeps_sending_is_answered_until_the_server_closes_its_connection(
    projects: Projects, tmp_path: Path
) -> None:
    with hanging_server(projects("none"), tmp_path, SHUTDOWN_DELAY_SECONDS="0.5") as server:
        tea = tool_call(HANDSHAKE, "process_data", {"text": "tea"})

        async def post(client: httpx2.AsyncClient) -> httpx2.Response:
            url = f"http://{server.address}/mcp"
            return await client.post(url, json=tea, headers=headers_of(HANDSHAKE, tea))

        async def keep_sending() -> list[httpx2.Response]:
            async with httpx2.AsyncClient() as client, httpx2.AsyncClient() as newcomer:
                answers = [await post(client)]
                server.process.terminate()
                await asyncio.to_thread(server.logged, "Draining")
                answers.append(await post(newcomer))  # new connections are accepted during the delay
                while "close" not in answers[-1].headers.get("connection", ""):
                    answers.append(await post(client))
                with pytest.raises(httpx2.ConnectError):
                    await post(client)
            return answers

        answers = asyncio.run(keep_sending())
        assert len(answers) > 3
        assert all('"words":1' in answer.text for answer in answers)
        assert answers[-1].headers["connection"] == "close"  # and not `keep-alive` as well
        assert server.process.wait(PATIENCE_SECONDS) in {0, 143, -signal.SIGTERM}


def talk(process: "subprocess.Popen[bytes]", *others: object) -> dict[object, dict[str, Any]]:
    """Send messages to a server on stdio, close stdin, and return the responses by id."""
    lines = [message(HANDSHAKE, "initialize") | {"id": "begin"}, *others]
    out, _ = process.communicate(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    return {answer["id"]: answer for answer in map(json.loads, out.splitlines())}


def test_a_child_process_neither_reads_nor_writes_protocol_messages(
    projects: Projects, tmp_path: Path
) -> None:
    with start_hanging_server(projects("none"), tmp_path, SHUTDOWN_GRACE_SECONDS="20") as process:
        call = tool_call(HANDSHAKE, "run_child", {}) | {"id": 0}
        pings = [message(HANDSHAKE, "ping") | {"id": number} for number in range(1, 10)]
        answers = talk(process, call, *pings)
    assert answers.keys() == {"begin", *range(10)}
    assert answers[0]["result"]["structuredContent"] == {"result": ""}


def test_a_child_process_reads_nothing_from_the_servers_stdin(projects: Projects, tmp_path: Path) -> None:
    with hanging_server(projects("none"), tmp_path) as server:
        reply = asyncio.run(server.call(HANDSHAKE, "run_child", {}))
    assert reply.result["structuredContent"] == {"result": ""}


def test_a_piped_script_gets_an_answer_to_every_line(projects: Projects, tmp_path: Path) -> None:
    with start_hanging_server(projects("none"), tmp_path, SHUTDOWN_GRACE_SECONDS="20") as process:
        tea = tool_call(HANDSHAKE, "process_data", {"text": "tea"})
        half_a_character = tool_call(HANDSHAKE, "process_data", {"text": "\ud83d"})
        answers = talk(
            process,
            tea | {"id": 1, "params": []},
            half_a_character | {"id": 2},
            {"jsonrpc": "2.0", "id": 3},
            [message(HANDSHAKE, "ping")],
            tool_call(HANDSHAKE, "wait", {"seconds": 0.5, "label": "the last"}) | {"id": 4},
        )
    assert {number for number in answers if "error" in answers[number]} == {1, 2, 3, None}
    assert {number for number in answers if "result" in answers[number]} == {"begin", 4}
    assert process.returncode == 0


HANGING = """
import threading, time
from {package}.runtime.ending import leave, leave_within
threading.Thread(target=time.sleep, args=(300,)).start()
{end}
"""
TIDY = """
import atexit
from {package}.runtime.ending import leave
atexit.register(print, "closed")
leave(3)
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("leave(3)", 3),
        ("leave_within(0.1, 4)\nleave_within(90, 5)", 4),
        ("leave_within(90, 5)\nleave_within(0.1, 4)", 4),
    ],
)
def test_a_process_with_a_hanging_thread_exits_and_logs_it(end: str, code: int, projects: Projects) -> None:
    project = projects("none")
    ended = project.run("-c", HANGING.format(package=project.package_name, end=end))
    assert ended.returncode == code
    assert "Exiting before the shutdown is complete: 1 threads still running" in ended.stderr


def test_a_process_without_hanging_threads_exits_normally(projects: Projects) -> None:
    project = projects("none")
    ended = project.run("-c", TIDY.format(package=project.package_name))
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "closed\n", "")
