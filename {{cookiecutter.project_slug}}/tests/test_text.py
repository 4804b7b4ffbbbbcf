"""Half a surrogate pair reaches nobody: a client gets a clean text, or an error that it can read."""

from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.prompts import Prompt
from fastmcp.resources import Resource
from fastmcp.tools import ToolResult
from mcp import MCPError
from mcp_types import TextContent

from {{ cookiecutter.package_name }}.runtime.errors import (
    Failures,
    ToolFailure,
)
from {{ cookiecutter.package_name }}.runtime.lifespan import (
    runtime,
)
from {{ cookiecutter.package_name }}.runtime.text import (
    clean,
    clean_json,
)

HALF = "tea \ud83d"
CLEAN = "tea \N{REPLACEMENT CHARACTER}"
UNSENDABLE = "The result cannot be sent: it holds what is neither text nor JSON."


async def write() -> str:
    return HALF


async def write_by_hand() -> ToolResult:
    content = TextContent(type="text", text=HALF)
    return ToolResult(content=[content], meta={"note": HALF})


async def fail() -> str:
    raise ToolFailure(HALF, reason=HALF)


async def return_an_object() -> dict[str, Any]:
    return {"made": object()}


@pytest.fixture
def server() -> FastMCP[Any]:
    made = FastMCP(
        "test",
        tools=[write, write_by_hand, fail, return_an_object],
        middleware=[Failures()],
        lifespan=runtime,
        mask_error_details=True,
    )
    made.add_resource(Resource.from_function(write, uri="test://write"))
    made.add_prompt(Prompt.from_function(write))
    made.add_prompt(Prompt.from_function(fail))
    return made


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_what_a_tool_returns_or_raises_arrives_as_text(
    server: FastMCP[Any], mode: str
) -> None:
    async with Client(server, mode=mode) as client:
        results = [
            await client.call_tool_mcp(name, {})
            for name in ("write_by_hand", "fail", "write", "return_an_object")
        ]
    assert [result.content[0].text for result in results] == [CLEAN, CLEAN, UNSENDABLE, UNSENDABLE]
    assert results[0].meta["note"] == CLEAN


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_resource_and_a_prompt_arrive_as_text(server: FastMCP[Any], mode: str) -> None:
    async with Client(server, mode=mode) as client:
        assert (await client.read_resource("test://write"))[0].text == CLEAN
        assert (await client.get_prompt("write")).messages[0].content.text == CLEAN
        with pytest.raises(MCPError, match=CLEAN):
            await client.get_prompt("fail")


def test_only_what_cannot_be_sent_is_replaced() -> None:
    assert clean("\ud83d\ude80 is one character") == "\N{ROCKET} is one character"
    value = {"a": ["Gr\u00fc\u00dfe", 1.5, None]}
    assert clean_json(value) == value
