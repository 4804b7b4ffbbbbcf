"""The log says why a call has failed, in one line."""

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
    """Return what a call of a tool leaves in the log, from INFO on."""
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


async def test_a_failed_call_is_one_line_that_says_why(caplog: pytest.LogCaptureFixture) -> None:
    assert await logged("refuse", caplog) == ["refuse failed: The kettle is empty."]


async def test_the_kind_of_the_cause_is_named_and_its_text_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = await logged("lose_connection", caplog)
    assert lines == ["lose_connection failed: The connection failed. (ConnectionResetError)"]


async def test_a_reason_is_short_and_forges_no_line(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = await logged("ramble", caplog)
    assert line.startswith("ramble failed: first line 2020-01-01 ERROR forged and more")
    assert len(line) == len("ramble failed: ") + MAX_REASON_LENGTH


async def test_a_call_that_is_answered_leaves_no_line(caplog: pytest.LogCaptureFixture) -> None:
    assert await logged("answer", caplog) == []
