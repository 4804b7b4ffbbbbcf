"""Requests of untrusted clients, proxies and browsers are limited, and attributed to the right caller."""

import asyncio
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .conftest import Projects
from .project import Project
from .running import (
    ERAS,
    HANDSHAKE,
    MIB,
    MODERN,
    PATIENCE_SECONDS,
    UNLIMITED,
    Reply,
    Running,
    headers_of,
    http_request,
    read_reply,
    running,
    tool_call,
)

pytestmark = [pytest.mark.sweep, pytest.mark.matrix]

READ_SECONDS = 1
HEAD = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
PROXY, OTHER_PROXY, STRANGER = "127.0.0.2", "127.0.0.3", "127.0.0.9"
BURST = 3


@pytest.fixture(scope="module")
def impatient(projects: Projects, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a server with a short read timeout for requests."""
    limits = {**UNLIMITED, "REQUEST_READ_TIMEOUT_SECONDS": str(READ_SECONDS)}
    with running(projects("none"), tmp_path_factory.mktemp("home"), **limits) as started:
        yield started


async def answer_to(server: Running, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send bytes in pieces, and read until the server closes the connection, which it must do in time."""
    reader, writer = await asyncio.open_connection(server.host, server.port)

    async def send() -> None:
        with suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)

    sending = asyncio.create_task(send())
    received = bytearray()
    try:
        async with asyncio.timeout(READ_SECONDS + 8):
            with suppress(ConnectionError):
                while chunk := await reader.read(65536):
                    received += chunk
    finally:
        sending.cancel()
        writer.transport.abort()
    return bytes(received)


def test_a_body_that_is_declared_too_large_is_refused_before_it_is_sent(impatient: Running) -> None:
    async def send() -> bytes:
        request = HEAD + b"Content-Length: 10737418240\r\nExpect: 100-continue\r\n\r\n"
        reader, writer = await asyncio.open_connection(impatient.host, impatient.port)
        writer.write(request)
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.read()  # to the end of the connection
        writer.transport.abort()
        return head

    head = asyncio.run(send())
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in head.lower()


def test_an_endless_body_is_refused_after_a_few_megabytes(impatient: Running) -> None:
    async def send() -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection(impatient.host, impatient.port)
        reading = asyncio.create_task(reader.read(65536))
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        sent = 0
        with suppress(ConnectionError):
            while sent < 200 * MIB:
                writer.write(chunk)
                await writer.drain()
                sent += len(chunk)
        writer.transport.abort()
        return sent, await reading

    before = impatient.memory
    sent, reply = asyncio.run(asyncio.wait_for(send(), PATIENCE_SECONDS))
    assert sent < 40 * MIB
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert impatient.memory - before < 24 * MIB


SLOW_REQUESTS: dict[str, tuple[tuple[bytes, ...], float, bytes]] = {
    "nothing": ((), 0, b""),
    "half a header": ((HEAD[:40],), 0, b"HTTP/1.1 408 "),
    "a header in drips": ((HEAD, *[b"X-A: b\r\n"] * 40), 0.1, b"HTTP/1.1 408 "),
    "no body": ((HEAD + b"Content-Length: 100\r\n\r\n",), 0, b"HTTP/1.1 408 "),
    "half a body": ((HEAD + b"Content-Length: 100\r\n\r\n{",), 0, b"HTTP/1.1 408 "),
    "a body in drips": ((HEAD + b"Content-Length: 100\r\n\r\n", *[b" "] * 40), 0.1, b"HTTP/1.1 408 "),
    "half a chunk": ((HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",), 0, b"HTTP/1.1 408 "),
    "a body that nobody reads": (
        (b"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n",),
        0,
        b"HTTP/1.1 404 ",
    ),
    "half of a second header": (
        (b"GET /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"GET /nowh"),
        0.2,
        b"HTTP/1.1 404 ",
    ),
}


@pytest.mark.parametrize("name", SLOW_REQUESTS)
def test_a_request_that_does_not_arrive_in_time_is_cut_off(impatient: Running, name: str) -> None:
    pieces, pause, expected = SLOW_REQUESTS[name]
    reply = asyncio.run(answer_to(impatient, *pieces, pause=pause))
    assert reply.startswith(expected)
    assert bool(reply) == bool(expected)


def test_a_hundred_incomplete_requests_are_cut_off_while_others_are_answered(impatient: Running) -> None:
    async def send() -> list[bytes]:
        half = [asyncio.create_task(answer_to(impatient, HEAD)) for _ in range(100)]
        for era in ERAS:
            await impatient.good_call(era)
        return await asyncio.gather(*half)

    assert {reply[:12] for reply in asyncio.run(send())} == {b"HTTP/1.1 408"}


SLOW = """
import asyncio, functools, importlib, sys

command = importlib.import_module(f"{sys.argv.pop(1)}.__main__")
load = command.load

@functools.cache
def load_slow_tool():
    mcp = load()
    mcp.tool(wait)
    return mcp

async def wait() -> str:
    await asyncio.sleep(1)
    return "done"

command.load = load_slow_tool
command.main()
"""


def test_a_call_may_take_longer_than_its_request_may_take_to_arrive(
    projects: Projects, tmp_path: Path
) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    limit = {"REQUEST_READ_TIMEOUT_SECONDS": "0.4"}
    with running(projects("none"), tmp_path, script=str(script), **limit) as server:

        async def send() -> Reply:
            message = tool_call(HANDSHAKE, "wait", {})
            body = json.dumps(message).encode()
            request = http_request(server.address, body, headers_of(HANDSHAKE, message))
            reader, writer = await asyncio.open_connection(server.host, server.port)
            for start in range(0, len(request), 100):  # slow, but within the limit
                writer.write(request[start : start + 100])
                await writer.drain()
                await asyncio.sleep(0.02)
            reply = await read_reply(reader)
            writer.transport.abort()
            return reply

        reply = asyncio.run(send())
    assert reply.status == 200
    assert b"done" in reply.body


# Proxies


@contextmanager
def limited(project: Project, home: Path, **variables: str) -> Iterator[Running]:
    with running(
        project, home, RATE_LIMIT_PER_MINUTE="1", RATE_LIMIT_BURST=str(BURST), **variables
    ) as server:
        yield server


@pytest.fixture(scope="module")
def behind_proxies(projects: Projects, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    with limited(projects("all"), home, TRUSTED_PROXIES=f"{PROXY}, {OTHER_PROXY}/32, 10.0.0.0/8") as server:
        yield server


def passed(server: Running, source: str, *headers: dict[str, str]) -> int:
    """Make one call for each set of headers, and return the number of calls that were not rejected."""

    async def call_each() -> list[Reply]:
        calls = [server.call(MODERN, "process_data", {"text": "a"}, each, source) for each in headers]
        return [await call for call in calls]

    return sum(not reply.result.get("isError") for reply in asyncio.run(call_each()))


def callers(server: Running) -> list[str]:
    return [json.loads(line)["caller"] for line in server.log if '"tool call"' in line]


def test_without_a_trusted_proxy_no_client_can_choose_its_address(projects: Projects, tmp_path: Path) -> None:
    forged = [
        {name: value.format(number)}
        for number in range(1, 6)
        for name, value in {"X-Forwarded-For": "198.51.100.{}", "Forwarded": "for=198.51.100.{}"}.items()
    ]
    # uvicorn reads this variable, and trusts 127.0.0.1 by default.
    with limited(projects("all"), tmp_path, FORWARDED_ALLOW_IPS="*") as server:
        assert passed(server, "127.0.0.1", *forged) == BURST
        assert set(callers(server)) == {"127.0.0.1"}


def test_an_untrusted_client_cannot_choose_its_address_despite_trusted_proxies(
    behind_proxies: Running,
) -> None:
    forged = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(10)]
    assert passed(behind_proxies, STRANGER, *forged) == BURST
    assert STRANGER in callers(behind_proxies)


ROUTES: dict[str, tuple[dict[str, str], str]] = {
    "one proxy": ({"X-Forwarded-For": "203.0.113.1"}, "203.0.113.1"),
    "a forged address before it": ({"X-Forwarded-For": "198.51.100.1, 203.0.113.2"}, "203.0.113.2"),
    "two proxies": ({"X-Forwarded-For": f"203.0.113.3, {OTHER_PROXY}"}, "203.0.113.3"),
    "a network of proxies": ({"X-Forwarded-For": "198.51.100.1, 203.0.113.4,10.1.2.3"}, "203.0.113.4"),
    "a port": ({"X-Forwarded-For": "203.0.113.5:4711"}, "203.0.113.5"),
    "IPv6": ({"X-Forwarded-For": "2001:DB8::6"}, "2001:db8::6"),
    "IPv6 with a port": ({"X-Forwarded-For": "[2001:db8::7]:4711"}, "2001:db8::7"),
    "IPv4 in IPv6": ({"X-Forwarded-For": "::ffff:203.0.113.8"}, "203.0.113.8"),
    "Forwarded": ({"Forwarded": "for=198.51.100.1, for=203.0.113.9;proto=https"}, "203.0.113.9"),
    "Forwarded with IPv6": ({"Forwarded": 'proto=http;For="[2001:db8::10]:4711"'}, "2001:db8::10"),
    "both alike": (
        {"Forwarded": "for=203.0.113.11", "X-Forwarded-For": "203.0.113.11"},
        "203.0.113.11",
    ),
    "only proxies": ({"X-Forwarded-For": "10.0.0.12, 10.0.0.13"}, "10.0.0.12"),
    # Without a trustworthy address, the proxy itself is the caller.
    "both, and one of them forged": (
        {"Forwarded": "for=198.51.100.1", "X-Forwarded-For": "203.0.113.14"},
        PROXY,
    ),
    "no address": ({"X-Forwarded-For": "unknown"}, PROXY),
    "a hidden address": ({"Forwarded": "for=_hidden"}, PROXY),
    "no address before a proxy": ({"X-Forwarded-For": f"<script>, {OTHER_PROXY}"}, OTHER_PROXY),
    "nothing": ({}, PROXY),
}


@pytest.mark.parametrize("name", ROUTES)
def test_the_first_untrusted_address_from_the_right_is_the_caller(behind_proxies: Running, name: str) -> None:
    headers, expected = ROUTES[name]
    before = len(callers(behind_proxies))
    passed(behind_proxies, PROXY, headers)
    behind_proxies.logged('"tool call"', times=before + 1)
    assert callers(behind_proxies)[-1] == expected


def test_each_caller_behind_one_proxy_has_its_own_rate_limit(behind_proxies: Running) -> None:
    addresses = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in (100, 101, 102)]
    assert passed(behind_proxies, PROXY, *addresses * (BURST + 2)) == BURST * len(addresses)


# Browsers

ALLOWED = "https://app.example.com"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,mcp-method,mcp-name,mcp-param-x,"
    "mcp-protocol-version,mcp-session-id,last-event-id",
}


@pytest.fixture(scope="module")
def for_browsers(projects: Projects, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    allowed = f"{ALLOWED}, https://*.example.org, http://localhost:*"
    home = tmp_path_factory.mktemp("home")
    with running(projects("all"), home, ALLOWED_ORIGINS=allowed, **UNLIMITED) as server:
        yield server


async def preflight(server: Running, origin: str) -> Reply:
    headers = {"Host": server.address, "Origin": origin, "Connection": "close", **PREFLIGHT}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return await server.send(f"OPTIONS /mcp HTTP/1.1\r\n{lines}\r\n".encode())


@pytest.mark.parametrize(
    "origin", [ALLOWED, "https://APP.example.com:443", "https://a.example.org", "http://localhost:5173"]
)
def test_a_browser_from_an_allowed_origin_may_send_and_read_everything(
    for_browsers: Running, origin: str
) -> None:
    asked = asyncio.run(preflight(for_browsers, origin))
    assert asked.status == 200
    assert asked.headers["access-control-allow-origin"] == origin
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert asked.headers["access-control-allow-headers"] == PREFLIGHT["Access-Control-Request-Headers"]
    answers = [
        asyncio.run(for_browsers.call(MODERN, "process_data", {"text": "a"}, {"Origin": origin})),
        asyncio.run(for_browsers.post(b"{", {"Origin": origin})),
    ]
    assert [answer.status for answer in answers] == [200, 400]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == origin
        assert "Mcp-Session-Id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://example.org",
        "null",
    ],
)
def test_a_browser_from_any_other_origin_may_not(for_browsers: Running, origin: str) -> None:
    call = for_browsers.call(MODERN, "process_data", {"text": "a"}, {"Origin": origin})
    for answer in (asyncio.run(preflight(for_browsers, origin)), asyncio.run(call)):
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers
        assert b"ALLOWED_ORIGINS" in answer.body


PAGE = """
<!doctype html><title>wait</title><script>
const headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
  "Authorization": "Bearer x", "MCP-Protocol-Version": "2025-11-25", "Mcp-Session-Id": "x"};
fetch("%s", {method: "POST", headers, body: %s})
  .then(async answer => { document.title = answer.status + " " + await answer.text(); })
  .catch(error => { document.title = "blocked"; });
</script>
"""


@contextmanager
def page(content: str) -> Iterator[int]:
    """Serve a page on its own port, so that it has its own origin."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.mark.parametrize("allowed", [True, False])
def test_a_page_in_a_real_browser_can_call_the_server_only_from_an_allowed_origin(
    projects: Projects, tmp_path: Path, allowed: bool
) -> None:
    browser = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    origin = "http://localhost:*" if allowed else "http://localhost:1"
    with running(projects("all"), tmp_path, ALLOWED_ORIGINS=origin, **UNLIMITED) as server:
        message = json.dumps(json.dumps(tool_call(HANDSHAKE, "process_data", {"text": "tea for two"})))
        with page(PAGE % (f"http://{server.address}/mcp", message)) as port:
            flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic")
            quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync")
            run = subprocess.run(
                [
                    *(browser, *flags, *quiet, f"--user-data-dir={tmp_path / 'browser'}"),
                    *("--virtual-time-budget=5000", "--dump-dom", f"http://localhost:{port}/"),
                ],
                capture_output=True,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
    assert ('"words":3' in run.stdout.replace(" ", "")) == allowed, run.stdout + run.stderr
    assert ("<title>blocked</title>" in run.stdout) != allowed
