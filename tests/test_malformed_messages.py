"""Whatever is sent, the sender gets a short error, and the next good call its answer."""

import asyncio
import json
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .conftest import Projects
from .malformed import ARGUMENTS, malformed, wrong_bodies, wrong_messages
from .project import Project
from .running import (
    ERAS,
    HANDSHAKE,
    MIB,
    PATIENCE_SECONDS,
    UNLIMITED,
    Reply,
    Running,
    http_request,
    running,
    start,
    tool_call,
)

pytestmark = [pytest.mark.sweep, pytest.mark.matrix]

HANDSHAKES: list[dict[str, Any]] = [
    {
        "jsonrpc": "2.0",
        "id": "hello",
        "method": "initialize",
        "params": {
            "protocolVersion": HANDSHAKE,
            "capabilities": {},
            "clientInfo": {"name": "sweep", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
]
LARGEST_ANSWER = 2048
LARGEST_GROWTH = 64 * MIB
# What only this server's own code, or that of its libraries, could have written.
INTERNALS = (
    b"Traceback",
    b'File "',
    b"pydantic",
    b"alidation error",
    b"input_value",
    b"JSONRPC",
    b"site-packages",
)


@pytest.fixture(scope="module", params=["none", "all"])
def server(
    request: pytest.FixtureRequest, projects: Projects, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    with running(projects(request.param), tmp_path_factory.mktemp("home"), **UNLIMITED) as started:
        yield started


def objections(reply: Reply) -> list[str]:
    """Return what is wrong with the answer to a bad message."""
    found = [f"shows {word!r}" for word in INTERNALS if word in reply.body]
    if len(reply.body) >= LARGEST_ANSWER:
        found.append(f"{len(reply.body)} bytes")
    if reply.status == 200:
        answer = reply.message
        if "error" not in answer and not answer["result"].get("isError"):
            found.append("no error")
    elif not 400 <= reply.status < 500:
        found.append(f"status {reply.status}")
    return found


@pytest.mark.parametrize("era", ERAS)
def test_two_hundred_malformed_messages_are_answered_with_an_error_each(server: Running, era: str) -> None:
    requests = malformed(era, server.address)
    assert len(set(requests.values())) >= 200
    failures: dict[str, list[str]] = {}
    at_once = asyncio.Semaphore(8)

    async def send(name: str, request: bytes) -> None:
        async with at_once:
            reply = await server.send(request)
            if found := objections(reply):
                failures[name] = [*found, repr(reply)[:300]]
            await server.good_call(era)

    async def sweep() -> None:
        await server.good_call(era)
        before = server.memory
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(send(name, request) for name, request in requests.items()))
        assert server.memory - before < LARGEST_GROWTH

    asyncio.run(sweep())
    assert failures == {}
    assert [line for line in server.log if "Traceback" in line] == []


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_body_over_the_limit_is_answered_with_413(server: Running, era: str, chunked: bool) -> None:
    body = json.dumps(tool_call(era, "process_data", {"text": "x" * 5 * MIB})).encode()
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    request = http_request(server.address, body, {**headers, "MCP-Protocol-Version": era})
    if chunked:
        declared = f"Content-Length: {len(body)}".encode()
        sizes = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        request = request.replace(declared, b"Transfer-Encoding: chunked").replace(body, sizes)

    async def send() -> Reply:
        reply = await server.send(request)
        await server.good_call(era)
        return reply

    assert asyncio.run(send()).status == 413


@pytest.mark.parametrize("era", ERAS)
def test_128_kilobytes_of_unknown_keys_are_answered_in_under_two_kibibytes(server: Running, era: str) -> None:
    arguments = ARGUMENTS["ten thousand unknown keys"]
    assert len(json.dumps(arguments)) > 128_000
    reply = asyncio.run(server.call(era, "process_data", arguments))
    assert reply.result["isError"]
    assert len(reply.body) < LARGEST_ANSWER
    assert reply.result["content"][0]["text"].count("is not a parameter of this tool") <= 5


def lines(era: str) -> list[bytes]:
    """Return what is wrong as lines of stdin."""
    bodies = [body for _, body in wrong_bodies(era)]
    bodies += [json.dumps(message).encode() for _, message in wrong_messages(era)]
    return [body.replace(b"\n", b" ") for body in bodies]


@pytest.mark.parametrize("era", ERAS)
def test_bad_lines_end_no_process_on_stdio(projects: Projects, era: str, tmp_path: Path) -> None:
    answers, log = talk(projects("all"), tmp_path, era, lines(era))
    assert answers[-1]["id"] == "good"
    assert answers[-1]["result"]["structuredContent"]["words"] == 3
    assert all(answer["jsonrpc"] == "2.0" for answer in answers)
    shown = json.dumps(answers[:-1]).encode() + log.encode()
    assert [word for word in INTERNALS if word in shown] == []


def talk(project: Project, home: Path, era: str, bad: list[bytes]) -> tuple[list[dict[str, Any]], str]:
    """Send bad lines between two good calls; return the answers to all but the first, and the log."""
    good = tool_call(era, "process_data", {"text": "tea for two"})
    with (
        start(project, home, "--transport", "stdio", **UNLIMITED) as process,
        ThreadPoolExecutor(2) as threads,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        watchdog = threading.Timer(PATIENCE_SECONDS, process.kill)
        watchdog.start()
        log = threads.submit(process.stderr.read)
        answers = (json.loads(line) for line in process.stdout)
        if era == HANDSHAKE:
            write(process, *(json.dumps(message).encode() for message in HANDSHAKES))
            assert next(answers)["id"] == "hello"
        write(process, json.dumps({**good, "id": "first"}).encode())
        assert next(answers)["id"] == "first"
        threads.submit(write, process, *bad, json.dumps({**good, "id": "good"}).encode())
        given = []
        for answer in answers:
            given.append(answer)
            if answer["id"] == "good":
                break
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 0
        watchdog.cancel()
        return given, log.result().decode()


def write(process: "subprocess.Popen[bytes]", *messages: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(b"".join(message + b"\n" for message in messages))
    process.stdin.flush()
