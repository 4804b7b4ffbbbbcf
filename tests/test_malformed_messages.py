"""Every malformed message gets a short error, and the next valid call still works."""

import asyncio
import itertools
import json
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from .conftest import Projects
from .malformed import ARGUMENTS, ORDERS, malformed, wrong_bodies, wrong_messages
from .project import Project
from .running import (
    ERAS,
    HANDSHAKE,
    MIB,
    PATIENCE_SECONDS,
    UNLIMITED,
    Reply,
    Running,
    behind_nginx,
    http_request,
    mounted,
    running,
    start,
    tool_call,
    with_root_path,
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
# Text that would reveal code of this server or its libraries.
INTERNALS = (
    b"Traceback",
    b'File "',
    b"pydantic",
    b"alidation error",
    b"input_value",
    b"JSONRPC",
    b"site-packages",
)


PLACES = {
    "none": ("none", running),
    "all": ("all", running),
    "root path": ("all", with_root_path),
    "mounted": ("all", mounted),
    "nginx": ("all", behind_nginx),
}


@pytest.fixture(scope="module", params=PLACES)
def server(
    request: pytest.FixtureRequest, projects: Projects, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    name, place = PLACES[request.param]
    with place(projects(name), tmp_path_factory.mktemp("home"), **UNLIMITED) as started:
        yield started


def objections(reply: Reply) -> list[str]:
    """Return the problems with the response to a malformed message."""
    found = [f"shows {word!r}" for word in INTERNALS if word in reply.body]
    if len(reply.body) >= LARGEST_ANSWER:
        found.append(f"{len(reply.body)} bytes")
    if reply.status == 200:
        answer = reply.message
        if "error" not in answer and not answer["result"].get("isError"):
            found.append("no error")
    elif not 400 <= reply.status < 500 and not (reply.status in {501, 505} and b"nginx" in reply.body):
        found.append(f"status {reply.status}")
    return found


@pytest.mark.parametrize("era", ERAS)
def test_each_of_two_hundred_malformed_messages_gets_an_error(server: Running, era: str) -> None:
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


# Bodies without an id, with several ids, or with an id that cannot be read reliably.
WITHOUT_ID = {
    *("nothing", "spaces", "NUL", "a word", "a form", "XML", "null", "a number", "NaN", "a text", "gzip"),
    *("an empty batch", "a batch of one", "a batch of two", "a batch of numbers", "the id twice, badly"),
    *("UTF-16", "UTF-32", "single quotes", "deep lists", "deep objects"),
}
WITHOUT_FIRST_ID = {*WITHOUT_ID, "a comment"}
WITHOUT_LAST_ID = {
    *WITHOUT_ID,
    *("half a message", "all but the last brace", "trailing garbage", "trailing NUL", "a trailing comma"),
}


def lines(era: str) -> Iterator[tuple[bytes, int | None]]:
    """Yield malformed lines for stdin, each with a unique id if it can be read."""
    numbers = itertools.count(100)
    for _, message in wrong_messages(era):
        number = next(numbers) if type(message.get("id")) is int and message["id"] == 1 else None
        yield json.dumps(message if number is None else {**message, "id": number}).encode(), number
    for order in ORDERS:
        for name, body in wrong_bodies(era, order):
            if name == "a raw newline in a text":
                continue  # these are two lines
            unreadable = WITHOUT_FIRST_ID if order[1] == "id" else WITHOUT_LAST_ID
            number = None if name in unreadable else next(numbers)
            yield body.replace(b"\n", b" ").replace(b'"id": 1', b'"id": %d' % (number or 1)), number


@pytest.mark.parametrize("era", ERAS)
def test_every_bad_line_on_stdio_is_answered_with_an_error(
    projects: Projects, era: str, tmp_path: Path
) -> None:
    bad = [(line, number) for line, number in lines(era) if line.strip()]
    answers, log = talk(projects("all"), tmp_path, era, [b"", b"  ", b"\r", *(line for line, _ in bad)])
    by_id = {answer["id"]: answer for answer in answers}
    assert by_id.pop("good")["result"]["structuredContent"]["words"] == 3
    assert Counter(answer["id"] for answer in answers) == Counter(["good", *(number for _, number in bad)])
    for answer in answers:
        if answer["id"] != "good":
            assert objections(Reply(200, {}, json.dumps(answer).encode())) == []
    assert [word for word in INTERNALS if word in log.encode()] == []
    assert log.count("Refused a line of stdin") >= sum(number is None for _, number in bad)


def test_a_script_that_writes_everything_before_it_reads_is_answered(
    projects: Projects, tmp_path: Path
) -> None:
    count = 20_000
    with (
        start(projects("none"), tmp_path, LOG_LEVEL="ERROR", **UNLIMITED) as process,
        ThreadPoolExecutor(1) as threads,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        watchdog = threading.Timer(PATIENCE_SECONDS, process.kill)
        watchdog.start()
        threads.submit(process.stderr.read)
        write(process, *[b"not a message"] * count)
        process.stdin.close()
        assert len(process.stdout.read().splitlines()) == count
        assert process.wait(PATIENCE_SECONDS) == 0
        watchdog.cancel()


def talk(project: Project, home: Path, era: str, bad: list[bytes]) -> tuple[list[dict[str, Any]], str]:
    """Send bad lines between two good calls. Return all responses except the first, and the log."""
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
        threads.submit(write_all, process, *bad, json.dumps({**good, "id": "good"}).encode())
        given = list(answers)
        assert process.wait(PATIENCE_SECONDS) == 0
        watchdog.cancel()
        return given, log.result().decode()


def write(process: "subprocess.Popen[bytes]", *messages: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(b"".join(message + b"\n" for message in messages))
    process.stdin.flush()


def write_all(process: "subprocess.Popen[bytes]", *messages: bytes) -> None:
    """Write lines, and close stdin."""
    assert process.stdin is not None
    write(process, *messages)
    process.stdin.close()
