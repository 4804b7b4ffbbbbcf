"""One JSON object per line, one record per call, and no secrets."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.tools import ToolResult

from {{ cookiecutter.package_name }}.patterns.structured_logging import (
    CallLog,
    JsonLines,
)
from {{ cookiecutter.package_name }}.runtime.errors import (
    ToolFailure,
)

CANARY = "hunter2"


@dataclass
class Log:
    """What a handler with the formatter has written."""

    stream: io.StringIO = field(default_factory=io.StringIO)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line, parse_constant=_no_json) for line in self.text.splitlines()]

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [record for record in self.records if record["message"] == "tool call"]


def _no_json(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@contextmanager
def json_lines() -> Iterator[Log]:
    """Write everything that this process logs, as JSON lines."""
    log = Log()
    handler = logging.StreamHandler(log.stream)
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield log
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def log() -> Iterator[Log]:
    with json_lines() as log:
        yield log


class Refused(ToolFailure):
    """The tool's own failure."""


async def work(outcome: str = "", note: str = "") -> ToolResult:
    """End in one of the ways in which calls end."""
    match outcome:
        case "error":
            return ToolResult(content=note, is_error=True)
        case "refused":
            raise Refused(note)
        case "unexpected":
            raise ValueError(note)
    return ToolResult(content="done")


def server() -> FastMCP[Any]:
    return FastMCP("test", tools=[work], middleware=[CallLog()], mask_error_details=True)


async def test_a_call_is_one_record_with_names_and_no_values(log: Log) -> None:
    async with Client(server()) as client:
        await client.call_tool("work", {"note": CANARY})
    (record,) = log.calls
    assert record["level"] == "INFO"
    assert record["tool"] == "work"
    assert record["caller"] == "local"
    assert record["outcome"] == "ok"
    assert record["arguments"] == ["note"]
    assert 0 <= record["duration_ms"] < 10_000
    assert record["request_id"]
    assert datetime.fromisoformat(record["timestamp"]).tzinfo is not None
    assert set(record) == {
        "timestamp", "level", "logger", "message",
        "tool", "caller", "outcome", "duration_ms", "request_id", "arguments",
    }  # fmt: skip
    assert CANARY not in log.text


async def test_a_failed_call_is_recorded_with_its_outcome(log: Log) -> None:
    async with Client(server()) as client:
        for outcome in ("error", "refused"):
            await client.call_tool("work", {"outcome": outcome}, raise_on_error=False)
    assert [record["outcome"] for record in log.calls] == ["error", "Refused"]


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer hunter2",
        "GET /users?api_key=hunter2&page=1",
        '{"password": "correct horse hunter2"}',
        "postgresql://user:hunter2@localhost/users",
    ],
)
def test_anything_that_looks_like_a_secret_is_redacted(text: str, log: Log) -> None:
    logging.getLogger("test").warning("before %s after", text)
    logging.getLogger("test").error("Failed", exc_info=ValueError(text))
    assert len(log.records) == 2
    assert CANARY not in log.text
    assert "[redacted]" in log.text
