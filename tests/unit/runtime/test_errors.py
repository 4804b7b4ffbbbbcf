"""The log has one line with the reason of each failed call."""

import logging

import pytest
from fastmcp import Client, FastMCP
from fastmcp.tools import tool

from my_mcp_server.runtime.errors import (
    MAX_REASON_LENGTH,
    Failures,
    ToolFailure,
)


@tool
async def answer() -> str:
    return "tea"


@tool
async def refuse() -> str:
    raise ToolFailure("The kettle is empty.")


@tool
async def lose_connection() -> str:
    raise ToolFailure("The connection failed.") from ConnectionResetError("canary")


@tool
async def ramble() -> str:
    raise ToolFailure("first line\n2020-01-01 ERROR forged\n" + "and more " * 100)


async def logged(name: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the log records of a tool call, at level INFO and above."""
    server = FastMCP(
        "test",
        tools=[answer, refuse, lose_connection, ramble],
        middleware=[Failures()],
        mask_error_details=True,
    )
    with caplog.at_level(logging.INFO):
        async with Client(server) as client:
            await client.call_tool(name, raise_on_error=False)
    return [record.getMessage() for record in caplog.records]


async def test_a_failed_call_logs_one_line_with_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await logged("refuse", caplog) == ["refuse failed: The kettle is empty."]


async def test_the_type_of_the_cause_is_logged_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = await logged("lose_connection", caplog)
    assert lines == ["lose_connection failed: The connection failed. (ConnectionResetError)"]


async def test_a_reason_is_shortened_and_cannot_forge_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (line,) = await logged("ramble", caplog)
    assert line.startswith("ramble failed: first line 2020-01-01 ERROR forged and more")
    assert len(line) == len("ramble failed: ") + MAX_REASON_LENGTH


async def test_a_successful_call_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert await logged("answer", caplog) == []
