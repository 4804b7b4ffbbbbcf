"""For every API failure, the call ends within the deadline with the reason, and uses few resources of the server."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from . import fault_server as api
from .conftest import Projects
from .fault_server import FaultServer, Play, always, failing, fault_server, raw, redirecting
from .running import ERAS, MIB, UNLIMITED, Reply, Running, observed, running

pytestmark = [pytest.mark.sweep, pytest.mark.matrix]

# Patterns with a tool: the tool, its argument and the folder.
TOOLS = {
    "connection_pooling": ("api_request", "endpoint", "faults/"),
    "caching": ("cached_fetch", "resource_id", ""),
    "retry": ("resilient_api_call", "endpoint", "faults/"),
}
ATTEMPTS = 3
DEADLINE_SECONDS = 10
LARGEST_GROWTH = 64 * MIB
# A longer wait would make a liveness probe fail.
LONGEST_WAIT_SECONDS = 1
QUICK_AT_ONCE = 8
SETTINGS = {
    **UNLIMITED,
    "API_KEY": "canary-of-the-server",
    "API_TIMEOUT_SECONDS": "1.5",
    "TOOL_DEADLINE_SECONDS": str(DEADLINE_SECONDS),
    "POOL_MAX_CONNECTIONS": "200",
    "RETRY_ATTEMPTS": str(ATTEMPTS),
    "RETRY_FIRST_PAUSE_SECONDS": "0.05",
    "RETRY_BUDGET_PER_MINUTE": "100000",
}
FROM_CLIENT = {
    "Authorization": "Bearer canary-of-the-client",
    "Cookie": "session=canary-of-the-client",
    "X-Api-Key": "canary-of-the-client",
}


@dataclass(frozen=True)
class Outcome:
    """The result of a call: success, or an error that contains `text` and a code, and the number of API requests."""

    text: str = ""
    code: str = ""
    requests: int = 1


@dataclass(frozen=True)
class Fault:
    play: Play
    once: Outcome
    retried: Outcome
    slow: bool = False


SUCCESS = Outcome()
TIMED_OUT = Outcome("The API did not respond within 1.5 seconds.", "TIMEOUT")
DISCONNECTED = Outcome("The connection to the API failed.", "API_ERROR")
NO_JSON = Outcome("The API did not return JSON.", "API_ERROR")
TOO_LARGE = Outcome("The API's response is larger than 1048576 bytes.", "API_ERROR")
ELSEWHERE = Outcome(
    "The API redirected outside API_BASE_URL; the redirect was not followed.", "VALIDATION_ERROR"
)
IN_CIRCLES = Outcome("The API redirects in a loop.", "API_ERROR", 6)
STRANGELY_PACKED = Outcome(
    "The API compressed its response with an encoding that was not requested.", "API_ERROR"
)


REFUSALS = {
    400: ("The API rejects the request (400).", "VALIDATION_ERROR"),
    401: ("The API refused this server's credential (401)", "API_ERROR"),
    403: ("The API refused this server's credential (403)", "API_ERROR"),
    404: ("The API has nothing at this path (404).", "NOT_FOUND"),
    405: ("The API does not allow this method here (405).", "API_ERROR"),
    409: ("The request conflicts with the current state of the API's data (409).", "API_ERROR"),
    410: ("The resource at this path is gone (410).", "NOT_FOUND"),
    422: ("The API rejects the request (422).", "VALIDATION_ERROR"),
}


def answered(status: int) -> Outcome:
    return Outcome(*REFUSALS.get(status, (f"The API answered {status}.", "API_ERROR")))


def refused(hint: str = "") -> Outcome:
    return Outcome(f"The API's rate limit is reached (429).{hint}", "RATE_LIMITED")


def after(outcome: Outcome, requests: int) -> Outcome:
    return Outcome(outcome.text, outcome.code, requests)


def final(play: Play, outcome: Outcome, *, slow: bool = False) -> Fault:
    """A fault that is not retried."""
    return Fault(play, outcome, outcome, slow)


def transient(play: Play, outcome: Outcome, requests: int = 2, *, slow: bool = False) -> Fault:
    """A fault that ends: with retries, the call succeeds after `requests` requests."""
    return Fault(play, outcome, after(SUCCESS, requests), slow)


def persistent(play: Play, outcome: Outcome, *, slow: bool = False) -> Fault:
    """A fault that persists after all retries."""
    return Fault(play, outcome, after(outcome, ATTEMPTS), slow)


FAULTS = {
    "fine": final(always(), SUCCESS),
    "slow": final(api.slow, SUCCESS, slow=True),
    "no content": final(always(204, body=b""), SUCCESS),
    "a redirect within the API": final(redirecting("{base}faults/fine~{case}"), after(SUCCESS, 2)),
    "hanging": persistent(api.hang, TIMED_OUT, slow=True),
    "hanging in the body": persistent(api.hang_in_the_body, TIMED_OUT, slow=True),
    "dripping": persistent(api.drip, TIMED_OUT, slow=True),
    "dripping its head": persistent(api.drip_the_head, TIMED_OUT, slow=True),
    **{f"{status} once": transient(failing(1, status), answered(status)) for status in (502, 503, 504)},
    **{f"{status} twice": transient(failing(2, status), answered(status), 3) for status in (502, 503)},
    **{f"{status} always": persistent(always(status), answered(status)) for status in (502, 503, 504)},
    **{
        f"{status} always": final(always(status), answered(status))
        for status in (*REFUSALS, 418, 451, 500, 501, 507)
    },
    "a reason": final(
        always(422, body=b'{"error": "title is required"}'),
        Outcome("The API rejects the request (422): title is required.", "VALIDATION_ERROR"),
    ),
    "a reason with the key": final(
        always(400, body=b'{"error": "canary-of-the-server is not known"}'),
        Outcome("The API rejects the request (400): [redacted] is not known.", "VALIDATION_ERROR"),
    ),
    "a reason that never ends": final(
        raw(b"HTTP/1.1 422 No\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{"), answered(422)
    ),
    "304": final(always(304, body=b""), answered(304)),
    "429 once": transient(failing(1, 429), refused()),
    "429 always": persistent(always(429), refused()),
    "429, wait a second": transient(failing(1, 429, Retry_After="1"), refused(" Retry-After: 1."), slow=True),
    "429, wait until a date": transient(api.in_two_seconds, refused(" Retry-After: "), slow=True),
    "429, wait an hour": final(always(429, Retry_After="3600"), refused(" Retry-After: 3600.")),
    "429, wait for nonsense": persistent(always(429, Retry_After="soon"), refused(" Retry-After: soon.")),
    "503, wait a second": transient(failing(1, 503, Retry_After="1"), answered(503), slow=True),
    "503, wait an hour": final(always(503, Retry_After="3600"), answered(503)),
    "garbage": persistent(raw(b"\x00\xff garbage \x01\r\n\r\n"), DISCONNECTED),
    "another protocol": persistent(raw(b"SSH-2.0-OpenSSH_9.6\r\n"), DISCONNECTED),
    "half a head": persistent(raw(b"HTTP/1.1 200 OK\r\nContent-Le"), DISCONNECTED),
    "an invalid status": persistent(raw(b"HTTP/1.1 abc OK\r\n\r\n"), DISCONNECTED),
    "a header of a megabyte": persistent(raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * MIB), DISCONNECTED),
    "truncated": persistent(raw(api.head(length=100) + b'{"a": '), DISCONNECTED),
    "truncated chunks": persistent(
        raw(api.head(Transfer_Encoding="chunked") + b'10\r\n{"a": '), DISCONNECTED
    ),
    "a chunk without a size": persistent(
        raw(api.head(Transfer_Encoding="chunked") + b"zz\r\n"), DISCONNECTED
    ),
    "closed once": transient(api.close_once, DISCONNECTED),
    "closed always": persistent(raw(b""), DISCONNECTED),
    "reset once": transient(api.reset_once, DISCONNECTED),
    "reset always": persistent(api.reset_always, DISCONNECTED),
    "reset in the body": persistent(api.reset_in_the_body, DISCONNECTED),
    "HTML": final(always(body=b"<html>Bad gateway</html>", Content_Type="text/html"), NO_JSON),
    "half a JSON text": final(always(body=b'{"a": '), NO_JSON),
    "two JSON texts": final(always(body=b"{} {}"), NO_JSON),
    "invalid UTF-8": final(always(body=b'"\xff\xfe"'), NO_JSON),
    "a lone surrogate": final(always(body=b'"\\ud800"'), NO_JSON),
    "deep JSON": final(always(body=b"[" * 100_000), NO_JSON),
    "a number of 10,000 digits": final(always(body=b"1" * 10_000), NO_JSON),
    "not a number": final(always(body=b"NaN"), NO_JSON),
    "an infinite number": final(always(body=b'{"a": 1e400}'), NO_JSON),
    "100 MB": final(api.huge, TOO_LARGE),
    "an endless body": final(api.endless, TOO_LARGE),
    "a gzip bomb": final(api.bomb("gzip"), TOO_LARGE),
    "a deflate bomb": final(api.bomb("deflate"), TOO_LARGE),
    "broken gzip": final(always(body=b"not gzip at all", Content_Encoding="gzip"), DISCONNECTED),
    "gzip in gzip": final(always(Content_Encoding="gzip, gzip"), STRANGELY_PACKED),
    "an encoding not asked for": final(always(Content_Encoding="br"), STRANGELY_PACKED),
    "a redirect loop": final(redirecting("{base}faults/loop~{case}"), IN_CIRCLES),
    "a redirect to another port": final(redirecting("{other}faults/fine~{case}"), ELSEWHERE),
    "a redirect to another host": final(redirecting("http://example.com/"), ELSEWHERE),
    "a redirect to the cloud's metadata": final(
        redirecting("http://169.254.169.254/latest/meta-data/"), ELSEWHERE
    ),
    "a redirect to a file": final(redirecting("file:///etc/passwd"), ELSEWHERE),
    "a redirect out of the base": final(redirecting("/admin"), ELSEWHERE),
    "a redirect to a parent": final(redirecting("{base}../../admin"), ELSEWHERE),
    "a redirect to nowhere": final(always(302), answered(302)),
}
NAMES = {name: f"fault-{number}" for number, name in enumerate(FAULTS)}
PLAYS = {NAMES[name]: fault.play for name, fault in FAULTS.items()}
PLAYS |= {"fine": always(), "loop": redirecting("{base}faults/loop~{case}")}


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultServer]:
    with fault_server(PLAYS) as server:
        yield server


@dataclass(frozen=True)
class Server:
    running: Running
    patterns: list[str]
    coded: bool


@pytest.fixture(scope="module", params=["all", *(f"only-{pattern}" for pattern in TOOLS)])
def server(
    request: pytest.FixtureRequest,
    projects: Projects,
    upstream: FaultServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    name: str = request.param
    patterns = list(TOOLS) if name == "all" else [name.removeprefix("only-")]
    settings = {**SETTINGS, "API_BASE_URL": upstream.url}
    with running(projects(name), tmp_path_factory.mktemp("home"), **settings) as started:
        yield Server(started, patterns, coded=name == "all")


async def call(server: Server, era: str, pattern: str, fault: str, case: str) -> Reply:
    tool, argument, folder = TOOLS[pattern]
    return await server.running.call(era, tool, {argument: f"{folder}{fault}~{case}"}, FROM_CLIENT)


def objections(server: Server, reply: Reply, expected: Outcome) -> list[str]:
    """Return the differences between a response and the expected outcome."""
    if reply.status != 200:
        return [f"status {reply.status}"]
    result = reply.result
    text = result["content"][0]["text"]
    if bool(expected.text) != bool(result.get("isError")) or expected.text not in text:
        return [f"answered {text[:200]!r}"]
    if not expected.text or not server.coded:
        return []
    error = result["structuredContent"]["error"]
    return [] if (error["code"], type(error["retryable"])) == (expected.code, bool) else [f"answered {error}"]


async def storm(server: Server, upstream: FaultServer, faults: dict[str, Fault]) -> dict[str, Any]:
    """Call every tool with every fault in both eras, and return the differences by case."""
    few = asyncio.Semaphore(QUICK_AT_ONCE)
    clock = asyncio.get_running_loop().time
    wrong: dict[str, Any] = {}
    cases: dict[str, Outcome] = {}

    async def one(era: str, pattern: str, name: str, fault: Fault) -> None:
        case = f"{pattern}-{era}-{NAMES[name]}-{server.running.port}"
        cases[case] = fault.retried if pattern == "retry" else fault.once
        async with asyncio.Semaphore() if fault.slow else few:
            start = clock()
            reply = await call(server, era, pattern, NAMES[name], case)
            seconds = clock() - start
        found = objections(server, reply, cases[case])
        if seconds > DEADLINE_SECONDS:
            found.append(f"took {seconds:.1f} seconds")
        requests = upstream.attempts()[case]
        if requests != cases[case].requests:
            found.append(f"{requests} requests instead of {cases[case].requests}")
        if found:
            wrong[f"{name}, {pattern}, {era}"] = found

    await asyncio.gather(
        *(one(era, pattern, *item) for era in ERAS for pattern in server.patterns for item in faults.items())
    )
    return wrong


async def assert_well(server: Server, case: str) -> None:
    for era in ERAS:
        for pattern in server.patterns:
            reply = await call(server, era, pattern, "fine", f"{case}-{era}-{pattern}-{server.running.port}")
            assert objections(server, reply, SUCCESS) == [], reply


def test_every_fault_ends_in_time_with_a_readable_error_and_the_server_stays_healthy(
    server: Server, upstream: FaultServer
) -> None:
    async def sweep() -> None:
        await assert_well(server, "before")
        before = server.running.memory
        async with observed(server.running) as seen:
            wrong = await storm(server, upstream, FAULTS)
        assert wrong == {}
        assert seen.memory - before < LARGEST_GROWTH
        assert max(seen.waits) < LONGEST_WAIT_SECONDS
        await assert_well(server, "after")

    asyncio.run(sweep())
    assert [line for line in server.running.log if "Traceback" in line or "canary" in line] == []


def test_calls_succeed_again_after_the_api_was_down_or_reset_every_connection(
    server: Server, upstream: FaultServer
) -> None:
    async def while_away(case: str) -> None:
        for era in ERAS:
            for pattern in server.patterns:
                reply = await call(server, era, pattern, "fine", f"{case}-{server.running.port}")
                assert objections(server, reply, DISCONNECTED) == [], reply

    async def sweep() -> None:
        await assert_well(server, "up")
        async with observed(server.running) as seen:
            upstream.run(upstream.close)
            try:
                await while_away("down")
            finally:
                upstream.resets_connections = True
                upstream.run(upstream.open)
            try:
                await while_away("reset")
            finally:
                upstream.resets_connections = False
            await assert_well(server, "up again")
        assert max(seen.waits) < LONGEST_WAIT_SECONDS

    asyncio.run(sweep())


def test_client_headers_do_not_reach_the_api_and_the_api_key_reaches_no_other_origin(
    server: Server, upstream: FaultServer
) -> None:
    asyncio.run(assert_well(server, "headers"))
    heads = [head.lower() for _, head in upstream.requests]
    assert heads
    assert [head for head in heads if "canary-of-the-client" in head] == []
    assert [head for head in heads if "authorization: bearer canary-of-the-server" not in head] == []
    assert upstream.others == 0
