"""A resource or prompt that is too long for a client is refused with its size."""

from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.prompts import Prompt
from fastmcp.resources import Resource, ResourceTemplate
from mcp import MCPError

from my_mcp_server.runtime.limits import (
    ResultLimit,
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> FastMCP[Any]:
    monkeypatch.setenv("RESULT_MAX_BYTES", "2000")

    async def write(size: int) -> str:
        return "x" * size

    async def picture() -> bytes:
        return b"x" * 4000

    made = FastMCP("test", middleware=[ResultLimit()])
    made.add_template(ResourceTemplate.from_function(write, uri_template="test://text/{size}"))
    made.add_resource(Resource.from_function(picture, uri="test://picture"))
    made.add_prompt(Prompt.from_function(write))
    return made


async def test_a_long_text_is_refused_with_its_size_and_the_limit(server: FastMCP[Any]) -> None:
    async with Client(server) as client:
        with pytest.raises(MCPError, match="resource has 4000 bytes, more than the limit of 2000"):
            await client.read_resource("test://text/4000")
        with pytest.raises(MCPError, match="prompt has 4000 bytes, more than the limit of 2000"):
            await client.get_prompt("write", {"size": 4000})


async def test_short_text_and_binary_data_are_returned_unchanged(server: FastMCP[Any]) -> None:
    async with Client(server) as client:
        assert len((await client.read_resource("test://text/1000"))[0].text) == 1000
        assert len((await client.read_resource("test://picture"))[0].blob) > 4000
        assert await client.get_prompt("write", {"size": 1000})
