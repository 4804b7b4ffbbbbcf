"""A call that takes too long ends, and says so although details are masked."""

import asyncio
import time

import anyio
from fastmcp import Client, FastMCP
from fastmcp.tools import tool

from {{ cookiecutter.package_name }}.runtime.deadlines import (
    Deadlines,
)


@tool
async def hang() -> str:
    await anyio.sleep_forever()
    return "never"


@tool(timeout=0.01)
async def hang_with_its_own_limit() -> str:
    await anyio.sleep_forever()
    return "never"


@tool
def block() -> str:
    time.sleep(0.03)
    return "late"


async def failure(name: str, middleware: Deadlines) -> str:
    server = FastMCP(
        "test",
        tools=[hang, hang_with_its_own_limit, block],
        middleware=[middleware],
        mask_error_details=True,
    )
    async with Client(server) as client:
        result = await client.call_tool(name, raise_on_error=False)
    assert result.is_error
    return str(result.content[0].text)


async def test_a_tool_that_hangs_is_cancelled_at_its_deadline() -> None:
    text = await failure("hang", Deadlines(seconds=0.01))
    assert text == "hang did not finish within 0.01 seconds and was cancelled."


async def test_the_expiry_of_a_tools_own_timeout_stays_legible() -> None:
    text = await failure("hang_with_its_own_limit", Deadlines())
    assert text == "hang_with_its_own_limit did not finish in time and was cancelled."


async def test_the_answer_of_a_blocking_tool_is_refused_when_it_is_late() -> None:
    text = await failure("block", Deadlines(seconds=0.01))
    assert "did not finish" in text


async def test_a_caller_that_leaves_is_not_told_of_a_deadline() -> None:
    started = asyncio.Event()
    ended: list[str] = []

    @tool
    async def wait() -> str:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("cancelled")
        return "never"

    server = FastMCP("test", tools=[wait], middleware=[Deadlines()])
    async with Client(server) as client:
        call = asyncio.create_task(client.call_tool("wait"))
        await started.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert ended == ["cancelled"]
