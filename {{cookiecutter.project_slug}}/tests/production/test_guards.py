"""What strangers send: refused with a status, answered briefly, and never the end of the server."""

import json
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
from fastmcp import Client

from .process import (
    ACCEPT,
    ERAS,
    MODERN_VERSION,
    ServerProcess,
    message,
    shared_server,
)

MODERN = {"MCP-Protocol-Version": MODERN_VERSION, "Mcp-Method": "tools/call"}
LARGEST_BODY = 4 * 1024 * 1024
LARGEST_ANSWER = 2048
INTERNALS = ("Traceback", "pydantic", "input_value", ".py")


@pytest.fixture
def server(request: pytest.FixtureRequest) -> ServerProcess:
    return shared_server(request)


@pytest.mark.checklist("host-and-origin")
@pytest.mark.parametrize(
    ("header", "value", "status"),
    [("Host", "evil.example", 421), ("Origin", "https://evil.example", 403)],
)
async def test_a_web_page_of_another_site_is_refused(
    header: str, value: str, status: int, server: ServerProcess
) -> None:
    async with httpx2.AsyncClient(base_url=server.url, headers=ACCEPT) as client:
        ours = await client.post("/mcp", json=message("tools/list"))
        theirs = await client.post("/mcp", json=message("tools/list"), headers={header: value})
    assert (ours.status_code, theirs.status_code) == (200, status)
    # A line for each request would cost as much as a call.
    assert "POST /mcp" not in "".join(server.log)


@pytest.mark.checklist("body-limit")
async def test_a_body_over_the_limit_is_refused(server: ServerProcess) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        for _ in range(LARGEST_BODY // 65536 + 1):
            yield b" " * 65536

    async with httpx2.AsyncClient(base_url=server.url, headers=ACCEPT) as client:
        declared = await client.post("/mcp", content=b" " * (LARGEST_BODY + 1))
        undeclared = await client.post("/mcp", content=in_pieces())
    assert (declared.status_code, undeclared.status_code) == (413, 413)


MALFORMED = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"tools/list"',
    b"\xff\xfe",
    b"[" * 100_000,
    json.dumps([message("tools/list")] * 3).encode(),
    json.dumps({**message("tools/list"), "jsonrpc": "1.0"}).encode(),
    json.dumps({**message("tools/list"), "method": 7}).encode(),
    json.dumps({**message("tools/list"), "params": "all"}).encode(),
    json.dumps(message("no/such/method")).encode(),
    json.dumps(message("tools/call", name=["process_data"])).encode(),
    json.dumps(message("tools/call", name="process_data", arguments="tea")).encode(),
]


@pytest.mark.checklist("malformed-messages")
@pytest.mark.parametrize("headers", [{}, MODERN], ids=["legacy", "modern"])
async def test_a_malformed_message_is_an_error_and_the_next_good_one_is_answered(
    headers: dict[str, str],
    server: ServerProcess,
    record_property: Callable[[str, object], None],
) -> None:
    before = len(server.log)
    types = {"Content-Type": "application/json"}
    async with httpx2.AsyncClient(base_url=server.url, headers=ACCEPT) as client:
        for body in MALFORMED:
            answer = await client.post("/mcp", content=body, headers=headers | types)
            assert answer.status_code < 500, body[:100]
            assert '"error":{' in answer.text, body[:100]
            assert not [word for word in INTERNALS if word in answer.text], answer.text
            assert len(answer.content) < LARGEST_ANSWER
    async with Client(f"{server.url}/mcp") as good:
        assert (await good.call_tool("process_data", {"text": "tea"})).data.words == 1
    assert not [line for line in server.log[before:] if "Traceback" in line]
    record_property("observed", f"{len(MALFORMED)} of {len(MALFORMED)} answered with an error")


@pytest.mark.checklist("readable-arguments")
@pytest.mark.parametrize("era", ERAS)
async def test_bad_arguments_are_named_briefly_however_many_there_are(
    era: str, server: ServerProcess, record_property: Callable[[str, object], None]
) -> None:
    unknown = {f"unknown_{number}": "canary" for number in range(5_000)}
    async with Client(f"{server.url}/mcp", mode=era) as client:
        result = await client.call_tool_mcp("process_data", unknown)
    assert result.is_error
    whole = result.model_dump_json()
    text = result.content[0].text
    assert 0 < text.count("unknown_") <= 5
    assert "canary" not in whole
    assert len(whole.encode()) < LARGEST_ANSWER
    record_property("observed", f"{len(whole.encode())} bytes")


@pytest.mark.checklist("masked-errors")
@pytest.mark.parametrize("era", ERAS)
async def test_what_an_unknown_exception_says_is_for_the_log_alone(
    era: str, server: ServerProcess, record_property: Callable[[str, object], None]
) -> None:
    async with Client(f"{server.url}/mcp", mode=era) as client:
        result = await client.call_tool_mcp("fail", {})
    assert result.is_error
    assert "canary" not in result.model_dump_json()
    await server.logged("canary")
    record_property("observed", "its text is in the log alone")
