"""The server becomes ready, and calls do not list tools implicitly."""

from typing import Any

import pytest
from fastmcp import FastMCP
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import tool
from fastmcp.utilities.tests import asgi_server
from pydantic import BaseModel

from my_mcp_server.runtime.lifespan import (
    runtime,
)
from my_mcp_server.runtime.readiness import (
    readiness,
)


class Answer(BaseModel):
    text: str


@tool
async def echo(text: str) -> Answer:
    return Answer(text=text)


class Listings(Middleware):
    """Counts the requests that list tools."""

    def __init__(self) -> None:
        self.count = 0

    async def on_list_tools(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        self.count += 1
        return await call_next(context)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_tools_are_listed_only_when_the_client_asks(mode: str) -> None:
    listings = Listings()
    server = FastMCP("test", tools=[echo], lifespan=runtime, middleware=[listings])
    async with (
        asgi_server(server, stateless_http=True) as http,
        http.client(mode=mode) as client,
    ):
        await client.list_tools()
        asked = listings.count
        for _ in range(5):
            await client.call_tool("echo", {"text": "tea for two"})
    assert listings.count == asked


async def test_the_process_is_ready_while_the_server_runs() -> None:
    server = FastMCP("test", tools=[echo], lifespan=runtime)
    before = (await readiness.report()).status
    async with asgi_server(server):
        during = (await readiness.report()).status
    after = (await readiness.report()).status
    assert (before, during, after) == ("starting", "ready", "starting")
