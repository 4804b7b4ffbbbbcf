"""Checks for any MCP server by its URL, without a call that could change anything.

`pytest tests/production --checklist-url URL` runs them against a deployed server. They only
call a tool that is marked as read-only, without the arguments that its schema requires.
"""

import re
from typing import Any

import httpx2
import pytest

from .checklist import counted
from .process import ServerProcess
from .report import Observe, Report
from .wire import ERAS, HANDSHAKE, STATELESS, Answer, Server, request

UNKNOWN_TOOL = "checklist_unknown_tool"
LARGE_BYTES = 8 * 2**20
MOST_BYTES_OF_AN_ERROR = 2048
PROBES = ("/livez", "/readyz", "/healthz", "/health")
HINTS = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
# Only developers of the server should read these: tracebacks, pydantic's reports.
INTERNALS = re.compile(
    r"Traceback \(most recent|File \\?\".+\", line \d|\bat .+\.[jt]s:\d+:\d+"
    r"|pydantic|validation errors? for|input_value="
)
MALFORMED = {
    "nothing": b"",
    "plain text": b"tea for two",
    "half a message": b'{"jsonrpc": "2.0", "id": 1, "method"',
    "bytes that are not UTF-8": b'{"jsonrpc": "2.0", "id": 1, "method": "\xff\xfe"}',
    "a number": b"1",
    "an empty batch": b"[]",
    "no version": b'{"id": 1, "method": "tools/list"}',
    "no method": b'{"jsonrpc": "2.0", "id": 1}',
    "a method that is a number": b'{"jsonrpc": "2.0", "id": 1, "method": 7}',
    "parameters that are text": b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": "x"}',
    "an unknown method": b'{"jsonrpc": "2.0", "id": 1, "method": "checklist/unknown"}',
    "a hundred thousand brackets": b"[" * 100_000,
}


def error_text(answer: Answer) -> str | None:
    """Return the message of a failed call, None if it has not failed."""
    error = answer.message.get("error")
    if isinstance(error, dict):
        return str(error.get("message", ""))
    result = answer.result or {}
    if not result.get("isError"):
        return None
    return " ".join(str(block.get("text", "")) for block in result.get("content", []))


def what_a_tool_lacks(tool: dict[str, Any]) -> list[str]:
    hints = tool.get("annotations") or {}
    lacking = [hint for hint in HINTS if hint not in hints]
    if not (tool.get("title") or hints.get("title")):
        lacking.append("title")
    if not tool.get("description"):
        lacking.append("description")
    parameters = tool.get("inputSchema", {}).get("properties", {})
    unexplained = [name for name, schema in parameters.items() if "description" not in schema]
    return lacking + [f"a description of {name}" for name in unexplained]


def not_applicable(reason: str, report: Report, observe: Observe) -> None:
    """Skip the test of a server at a URL; of this project it is known that nothing is missing."""
    if report.url:
        pytest.skip(reason)
    observe(reason)


@pytest.mark.checklist("logging")
def test_the_log_has_a_level_on_every_line(plain_server: ServerProcess, observe: Observe) -> None:
    told = [line for line in plain_server.log if "uvicorn.error" in line]
    assert told, "the server logs nothing on stderr"
    assert all("INFO" in line for line in told), told[0]
    observe(f"{counted(len(told), 'line')} on stderr, each with its level")


@pytest.mark.checklist("both-protocol-eras")
async def test_both_protocol_eras_are_answered(deployed: Server, observe: Observe) -> None:
    greetings = await deployed.greetings()
    refused = [f"{era}: {answer}" for era, answer in greetings.items() if not answer.served]
    assert not refused, "; ".join(refused)
    modern, handshake = [await deployed.tools(era) for era in ERAS]
    assert {tool["name"] for tool in modern} == {tool["name"] for tool in handshake}
    observe(f"{counted(len(modern), 'tool')} in each of {STATELESS} and {HANDSHAKE}")


@pytest.mark.checklist("several-workers")
async def test_no_request_needs_a_session(deployed: Server, observe: Observe) -> None:
    if HANDSHAKE not in await deployed.eras():
        observe(f"it speaks {STATELESS} alone, which knows no sessions")
        return
    async with deployed.session() as headers:
        assert "Mcp-Session-Id" not in headers, "it gives a session, which only one process knows"
    for _ in range(2):
        answer = await deployed.post(request("ping"), {"MCP-Protocol-Version": HANDSHAKE})
        assert answer.served, f"a request without a session: {answer}"
    observe("no request needs a session")


@pytest.mark.checklist("described-tools")
async def test_every_tool_is_described(deployed: Server, report: Report, observe: Observe) -> None:
    tools = await deployed.tools(await deployed.era())
    if not tools:
        not_applicable("it has no tools", report, observe)
        return
    lacking = {tool["name"]: lacks for tool in tools if (lacks := what_a_tool_lacks(tool))}
    assert not lacking, "; ".join(f"{name} lacks {', '.join(lacking[name])}" for name in lacking)
    observe(f"{counted(len(tools), 'tool')}, with all hints and explanations")


@pytest.mark.checklist("host-and-origin")
@pytest.mark.parametrize(
    ("header", "value"), [("Host", "evil.example"), ("Origin", "https://evil.example")]
)
async def test_a_foreign_host_or_origin_is_refused(
    header: str, value: str, deployed: Server, observe: Observe
) -> None:
    answer = await deployed.greet(await deployed.era(), {header: value})
    assert 300 <= answer.status < 500, f"{header}: {value} is answered HTTP {answer.status}"
    observe(f"a foreign {header}: HTTP {answer.status}")


@pytest.mark.checklist("body-limit")
async def test_a_body_over_the_limit_is_refused(deployed: Server, observe: Observe) -> None:
    era = await deployed.era()
    try:
        answer = str((await deployed.greet(era, padding="x" * LARGE_BYTES)).status)
    except (httpx2.NetworkError, httpx2.RemoteProtocolError):
        answer = "the end of the connection"
    assert answer in {"413", "the end of the connection"}, f"8 MiB are answered with {answer}"
    assert (await deployed.greet(era)).served
    observe(f"8 MiB are answered with {answer}")


@pytest.mark.checklist("malformed-messages")
async def test_a_malformed_message_is_an_error_that_reveals_no_internals(
    deployed: Server, observe: Observe
) -> None:
    for era in await deployed.eras():
        for name, body in MALFORMED.items():
            answer = await deployed.post(body, {"MCP-Protocol-Version": era})
            assert answer.status < 500, f"{name}, {era}: {answer}"
            assert not answer.served, f"{name}, {era}: a result"
            assert not INTERNALS.search(answer.text), f"{name}, {era}: {answer}"
        assert (await deployed.greet(era)).served
    observe(f"{len(MALFORMED)} kinds are answered below 500, the next call too")


@pytest.mark.checklist("structured-errors")
async def test_a_failed_call_is_marked_and_readable(deployed: Server, observe: Observe) -> None:
    for era in await deployed.eras():
        answer = await deployed.ask(era, "tools/call", name=UNKNOWN_TOOL, arguments={})
        text = error_text(answer)
        assert text is not None, f"a call of an unknown tool is not an error: {answer}"
        assert text, "a call of an unknown tool fails without a message"
        assert not INTERNALS.search(answer.text), text
        observe(text)


@pytest.mark.checklist("readable-arguments")
async def test_invalid_arguments_get_a_short_readable_error(
    deployed: Server, report: Report, observe: Observe
) -> None:
    for era in await deployed.eras():
        readers = [
            tool
            for tool in await deployed.tools(era)
            if (tool.get("annotations") or {}).get("readOnlyHint")
            and tool.get("inputSchema", {}).get("required")
        ]
        if not readers:
            reason = "no tool with required parameters says that it only reads"
            not_applicable(reason, report, observe)
            return
        name = readers[0]["name"]
        unknown = {f"unknown_{number}": "canary" * 200 for number in range(20)}
        answer = await deployed.ask(era, "tools/call", name=name, arguments=unknown)
        text = error_text(answer)
        assert text is not None, f"{name} takes arguments that its schema does not know"
        assert not INTERNALS.search(answer.text), f"{name}: {text[:100]}"
        assert "canary" not in text, f"{name} repeats its arguments"
        assert any(field in text for field in (*readers[0]["inputSchema"]["required"], "unknown_"))
        size = len(text.encode())
        assert size < MOST_BYTES_OF_AN_ERROR, f"{name} answers with {size} bytes"
        observe(f"{name}: {size} bytes")


@pytest.mark.checklist("health-check")
async def test_probes_report_whether_the_process_is_alive_and_ready(
    deployed: Server, report: Report, observe: Observe
) -> None:
    answers = {path: await deployed.get(path) for path in PROBES}
    found = {path: one.status for path, one in answers.items() if one.is_probe}
    if not found and report.url:
        pytest.skip(f"none of {', '.join(PROBES)}")
    assert found, f"none of {', '.join(PROBES)}"
    assert found.get("/livez", 200) == 200
    observe(", ".join(f"{path} {status}" for path, status in found.items()))
