"""A resource is opened by the first call, once, without holding up calls that do not need it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import pytest
from fastmcp import Client, FastMCP
from fastmcp.dependencies import Depends, Shared

from my_mcp_server.runtime.errors import ToolFailure
from my_mcp_server.runtime.first_use import on_first_use

pytestmark = pytest.mark.anyio

CALLS = 20


class Engine:
    """An engine whose answer tests can hold back. It counts what it is asked for."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.asked = asyncio.Event()
        self.all_arrived = asyncio.Event()
        self.arrived = 0
        self.attempts = 0
        self.closed = 0
        self.is_down = False

    async def arrive(self) -> int:
        self.arrived += 1
        if self.arrived == CALLS:
            self.all_arrived.set()
        return self.arrived

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        self.attempts += 1
        self.asked.set()
        try:
            await self.answers.wait()
            if self.is_down:
                raise ToolFailure("The engine does not answer.", retryable=True)
            yield self.attempts
        finally:
            self.closed += 1


def other() -> str:
    return "other"


def server(engine: Engine) -> FastMCP:
    mcp: FastMCP = FastMCP("test")

    @mcp.tool
    async def use(
        number: Annotated[int, Depends(engine.arrive)],
        attempt: Annotated[int, on_first_use(engine.open)],
    ) -> int:
        return attempt

    @mcp.tool
    async def use_other(value: Annotated[str, Shared(other)]) -> str:
        return value

    return mcp


async def test_concurrent_first_calls_share_one_attempt() -> None:
    engine = Engine()
    async with Client(server(engine)) as client:
        calls = [asyncio.create_task(client.call_tool("use")) for _ in range(CALLS)]
        await engine.asked.wait()
        engine.answers.set()
        assert [(await call).data for call in calls] == [1] * CALLS
        assert (await client.call_tool("use")).data == 1
        assert engine.closed == 0
    assert (engine.attempts, engine.closed) == (1, 1)


async def test_concurrent_first_calls_share_a_failure_and_the_next_call_tries_again() -> None:
    engine = Engine()
    engine.is_down = True
    async with Client(server(engine)) as client:
        calls = [
            asyncio.create_task(client.call_tool("use", raise_on_error=False)) for _ in range(CALLS)
        ]
        # Every call waits for the attempt before it fails.
        await engine.all_arrived.wait()
        await asyncio.sleep(0.2)
        engine.answers.set()
        assert [(await call).is_error for call in calls] == [True] * CALLS
        assert engine.attempts == 1
        engine.is_down = False
        assert (await client.call_tool("use")).data == 2


async def test_an_engine_that_does_not_answer_does_not_hold_up_other_tools() -> None:
    engine = Engine()
    async with asyncio.timeout(30), Client(server(engine)) as client:
        call = asyncio.create_task(client.call_tool("use"))
        await engine.asked.wait()
        assert (await client.call_tool("use_other")).data == "other"
        engine.answers.set()
        await call


async def test_a_cancelled_call_leaves_the_attempt_to_the_others() -> None:
    engine = Engine()
    async with Client(server(engine)) as client:
        first = asyncio.create_task(client.call_tool("use"))
        await engine.asked.wait()
        second = asyncio.create_task(client.call_tool("use"))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        engine.answers.set()
        assert (await second).data == 1
    assert engine.attempts == 1


async def test_shutdown_stops_an_attempt_that_nobody_waits_for() -> None:
    engine = Engine()
    async with asyncio.timeout(30), Client(server(engine)) as client:
        call = asyncio.create_task(client.call_tool("use"))
        await engine.asked.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    assert engine.closed == 1
