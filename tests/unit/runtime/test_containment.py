"""An exception in one request affects neither the process nor other requests."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.dependencies import Depends
from fastmcp.prompts import Prompt
from fastmcp.resources import Resource
from fastmcp.server.middleware import Middleware
from mcp import MCPError

from my_mcp_server.runtime.deadlines import (
    Deadlines,
)
from my_mcp_server.runtime.errors import (
    Failures,
)
from my_mcp_server.runtime.lifespan import (
    runtime,
)

UNEXPECTED = "An unexpected error occurred; the server logged it as"


async def leave() -> str:
    sys.exit(3)


def leave_from_a_thread() -> str:
    sys.exit(3)


async def leave_from_a_task() -> str:
    async with asyncio.TaskGroup() as tasks:
        await tasks.create_task(leave())
    return "never"


async def interrupt() -> str:
    raise KeyboardInterrupt


async def with_a_dependency(_: str = Depends(leave)) -> str:
    return "never"


async def await_a_cancelled_task() -> str:
    task = asyncio.create_task(asyncio.sleep(10))
    task.cancel()
    await task
    return "never"


async def fail() -> str:
    raise RuntimeError("canary")


RAISING = [
    leave,
    leave_from_a_thread,
    leave_from_a_task,
    interrupt,
    with_a_dependency,
    await_a_cancelled_task,
    fail,
]


def server(function: Callable[..., Any]) -> FastMCP[Any]:
    """Return a server with `function` as its tool, resource and prompt."""

    async def answer() -> str:
        await asyncio.sleep(0.01)
        return "answered"

    made = FastMCP(
        "test",
        tools=[function, answer],
        middleware=[Failures(), Deadlines()],
        lifespan=runtime,
        mask_error_details=True,
    )
    made.add_resource(Resource.from_function(function, uri="test://raising"))
    made.add_prompt(Prompt.from_function(function, name="raising"))
    return made


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("function", RAISING)
async def test_only_the_request_that_raises_fails(function: Callable[..., Any], mode: str) -> None:
    async with Client(server(function), mode=mode) as client:
        result, other = await asyncio.gather(
            client.call_tool(function.__name__, raise_on_error=False), client.call_tool("answer")
        )
        assert result.is_error
        assert UNEXPECTED in result.content[0].text
        assert other.data == "answered"
        with pytest.raises(MCPError, match=UNEXPECTED):
            await client.read_resource("test://raising")
        with pytest.raises(MCPError, match=UNEXPECTED):
            await client.get_prompt("raising")
        assert (await client.call_tool("answer")).data == "answered"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_exception_outside_all_own_middleware_is_masked(
    mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Outermost(Middleware):
        async def on_message(self, context: Any, call_next: Any) -> Any:
            if context.method == "tools/call":
                raise RuntimeError("canary")
            return await call_next(context)

    unlucky = server(fail)
    unlucky.middleware.insert(0, Outermost())
    async with Client(unlucky, mode=mode) as client:
        with pytest.raises(MCPError, match=UNEXPECTED) as raised:
            await client.call_tool("answer")
    error_id = str(raised.value).rstrip(".").rpartition(" ")[2]
    (record,) = [record for record in caplog.records if error_id in record.getMessage()]
    assert "canary" in caplog.handler.format(record)
