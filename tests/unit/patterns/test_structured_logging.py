"""Details of the log: outcomes, callers, hostile names, secrets in every form, odd values."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import fastmcp
import pytest
from fastmcp import Client, FastMCP
from fastmcp.prompts import Prompt
from fastmcp.resources import ResourceTemplate
from fastmcp.server.auth import AccessToken
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser

from my_mcp_server.patterns.structured_logging import (
    CallLog,
    JsonLines,
    redact,
)
from my_mcp_server.runtime.logs import (
    CHATTY,
    LIBRARIES,
    configure_logging,
)

from ...patterns.test_structured_logging import CANARY, Log, json_lines, server


@pytest.fixture
def log() -> Iterator[Log]:
    with json_lines() as log:
        yield log


@pytest.fixture
def _logging_as_it_was() -> Iterator[None]:
    """Undo `configure_logging`, which changes loggers for the whole process."""
    enabled = fastmcp.settings.log_enabled
    loggers = [logging.getLogger(name) for name in ("", *LIBRARIES, *CHATTY)]
    before = [(logger, logger.handlers, logger.propagate, logger.level) for logger in loggers]
    yield
    fastmcp.settings.log_enabled = enabled
    for logger, handlers, propagate, level in before:
        logger.handlers = handlers
        logger.propagate = propagate
        logger.setLevel(level)


async def test_each_call_has_its_own_record_and_request_id(log: Log) -> None:
    async with Client(server()) as client:
        await asyncio.gather(*(client.call_tool("work") for _ in range(5)))
    assert len(log.calls) == 5
    assert len({record["request_id"] for record in log.calls}) == 5


@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [
        ({}, "ok"),
        ({"outcome": "error"}, "error"),
        ({"outcome": "refused"}, "Refused"),
        ({"outcome": "unexpected"}, "ToolError"),
        ({"unknown": 1}, "ValidationError"),
    ],
)
async def test_the_record_contains_the_outcome(
    arguments: dict[str, Any], outcome: str, log: Log
) -> None:
    async with Client(server()) as client:
        await client.call_tool("work", arguments, raise_on_error=False)
    assert [record["outcome"] for record in log.calls] == [outcome]


async def test_resources_prompts_and_lists_are_recorded_without_the_values_of_a_uri(
    log: Log,
) -> None:
    async def about(name: str) -> str:
        return name

    recorded = FastMCP("test", middleware=[CallLog()])
    recorded.add_template(ResourceTemplate.from_function(about, uri_template="test://about/{name}"))
    recorded.add_prompt(Prompt.from_function(about))
    async with Client(recorded) as client:
        await client.read_resource(f"test://about/{CANARY}")
        await client.get_prompt("about", {"name": CANARY})
        await client.list_prompts()
    calls = [record for record in log.records if record["message"].endswith(" call")]
    named = [{key: call.get(key) for key in ("resource", "prompt", "list")} for call in calls]
    assert named == [
        {"resource": "test://about/{name}", "prompt": None, "list": None},
        {"resource": None, "prompt": "about", "list": None},
        {"resource": None, "prompt": None, "list": "prompts/list"},
    ]
    assert calls[1]["arguments"] == ["name"]
    assert CANARY not in log.text


async def test_a_cancelled_call_is_recorded(log: Log) -> None:
    waiting = asyncio.Event()
    logged = asyncio.Event()

    async def wait() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            asyncio.get_running_loop().call_soon(logged.set)

    async with Client(FastMCP("test", tools=[wait], middleware=[CallLog()])) as client:
        call = asyncio.create_task(client.call_tool("wait"))
        await waiting.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await logged.wait()
    assert [record["outcome"] for record in log.calls] == ["cancelled"]


async def test_the_record_names_the_caller_without_the_token(log: Log) -> None:
    claims = {"iss": "https://login.example"}
    token = AccessToken(token=CANARY, client_id="app", subject="ada", scopes=[], claims=claims)
    reset = auth_context_var.set(AuthenticatedUser(token))
    async with Client(server()) as client:
        await client.call_tool("work")
    auth_context_var.reset(reset)
    assert log.calls[0]["caller"] == "https://login.example app ada"
    assert CANARY not in log.text


async def test_hostile_names_cannot_fill_or_forge_the_log(log: Log) -> None:
    arguments = {f"{number}\n{'x' * 5000}": 1 for number in range(500)}
    async with Client(server()) as client:
        await client.call_tool("nobody\n" + "x" * 5000, arguments, raise_on_error=False)
    (line,) = [line for line in log.text.splitlines() if '"tool call"' in line]
    assert len(line) < 3000
    assert log.calls[0]["tool"].startswith("nobody\nx")


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hunter2",
        "authorization=Basic hunter2",
        "{'Authorization': 'Bearer hunter2'}",
        "the header was bearer hunter2",
        "X-Api-Key: hunter2",
        "GET /users?api_key=hunter2&page=1",
        "apikey=hunter2",
        "AWS_SECRET_ACCESS_KEY=hunter2",
        '{"password": "hunter2"}',
        '{"password": "correct horse hunter2"}',
        '{"password": "correct horse hunter2',
        json.dumps(json.dumps({"client_secret": "hunter2"})),
        json.dumps({"password": 'quoted" hunter2'}),
        json.dumps(json.dumps({"password": 'quoted" hunter2'})),
        "PASSWORD = 'hunter2'",
        "access_token:hunter2;",
        "{'token': b'hunter2'}",
        "postgresql://user:hunter2@localhost/users",
        "redis://:hunter2@localhost",
        "https://user:a@hunter2@localhost",
    ],
)
def test_a_secret_is_redacted_in_any_position(text: str, log: Log) -> None:
    logger = logging.getLogger("test")
    logger.warning("before %s after", text)
    logger.warning("extra", extra={"answer": {"lines": [text], "other": (text,)}})
    error = ValueError(text)
    logger.error("Failed", exc_info=error, extra={"reason": error})
    assert len(log.records) == 3
    assert CANARY not in log.text
    assert "[redacted]" in log.text


@pytest.mark.parametrize("name", ["password", "api_key", "X-API-Key", "clientSecret", "AUTH_TOKEN"])
def test_any_value_with_a_secret_name_is_redacted(name: str, log: Log) -> None:
    for value in (CANARY, 7, [CANARY], {"a": CANARY}):
        logging.getLogger("test").info("extra", extra={"settings": {name: value}, name: value})
    assert [record[name] for record in log.records] == ["[redacted]"] * 4
    assert [record["settings"] for record in log.records] == [{name: "[redacted]"}] * 4


@pytest.mark.parametrize(
    "text",
    ["tea for two", "http://localhost:8000/users?email=ada@example.com", "12:30 a@b", "key: value"],
)
def test_other_text_is_unchanged(text: str) -> None:
    assert redact({"text": text, "number": 1.5, "nothing": None, "yes": True}) == {
        "text": text, "number": 1.5, "nothing": None, "yes": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "part", ["a", "a.b-", "token", "token ", 'token="', "bearer ", "a://", "://a:", " ", "\\"]
)
def test_redacting_a_long_text_is_fast(part: str) -> None:
    text = "= token" + part * 20_000
    start = time.process_time()
    redact(text)
    assert time.process_time() - start < 1  # a backtracking regular expression takes minutes


def test_a_record_with_an_unserializable_value_is_still_logged(log: Log) -> None:
    circle: dict[str, Any] = {}
    circle["circle"] = circle
    odd = [object(), Unprintable(), {1, 2}, {(1, 2): 3}, circle, float("nan"), b"\xff", "\ud800"]
    for value in odd:
        logging.getLogger("test").info("odd", extra={"value": value})
    assert [record["message"] for record in log.records] == ["odd"] * len(odd)


def test_a_record_is_one_line(log: Log) -> None:
    logging.getLogger("test").info("one\ntwo\r\n%s", "three\u2028four")
    assert [record["message"] for record in log.records] == ["one\ntwo\r\nthree\u2028four"]


@pytest.mark.usefixtures("_logging_as_it_was")
def test_libraries_log_in_the_same_format(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(JsonLines())
    logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\033[36mStarted"})
    logging.getLogger("fastmcp.server").warning("api_key=%s", CANARY)
    logging.getLogger("mcp.server").error("Failed", exc_info=ValueError("no"))
    captured = capsys.readouterr()
    assert captured.out == ""
    records = [json.loads(line) for line in captured.err.splitlines()]
    assert [(record["logger"], record["level"], record["message"]) for record in records] == [
        ("uvicorn.error", "INFO", "Started"),
        ("fastmcp.server", "WARNING", "api_key=[redacted]"),
        ("mcp.server", "ERROR", "Failed"),
    ]
    assert "ValueError: no" in records[2]["exc_info"]
    assert "color_message" not in records[0]


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError
