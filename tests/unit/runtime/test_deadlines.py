"""A request that takes too long is answered in time, and the answer says whether it completed."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from fastmcp import Client, FastMCP
from fastmcp.prompts import Prompt
from fastmcp.resources import Resource
from fastmcp.server.middleware import Middleware
from fastmcp.tools import tool
from mcp import MCPError

from my_mcp_server.runtime.deadlines import (
    DeadlineExceeded,
    Deadlines,
)
from my_mcp_server.runtime.lifespan import (
    runtime,
)

PROMPT_SECONDS = 5
# Long enough for a thread to start on a busy machine: a thread that has not started is cancelled.
STARTED_SECONDS = 0.5


class Raised(Middleware):
    """Stores the failure that the deadline raises."""

    failure: DeadlineExceeded

    async def on_call_tool(self, context: Any, call_next: Any) -> Any:
        try:
            return await call_next(context)
        except DeadlineExceeded as failure:
            self.failure = failure
            raise


async def hang() -> str:
    await anyio.sleep_forever()
    return "never"


@pytest.fixture
def stuck() -> Any:
    """Return a function that blocks its thread until the test ends."""
    released = threading.Event()

    def block() -> str:
        released.wait(PROMPT_SECONDS * 2)
        return "late"

    yield block
    released.set()


async def failure(
    function: Callable[..., Any], *, seconds: float = 0.01, calls: int = 1, **hints: bool
) -> DeadlineExceeded:
    """Call a tool that takes too long, and return the failure of its last call."""
    raised = Raised()
    server = FastMCP(
        "test",
        middleware=[raised, Deadlines(seconds, max_abandoned=2)],
        mask_error_details=True,
    )
    name = server.add_tool(tool(annotations=hints)(function) if hints else function).name
    async with Client(server) as client:
        for _ in range(calls):
            with anyio.fail_after(PROMPT_SECONDS):
                result = await client.call_tool(name, raise_on_error=False)
            assert result.is_error
    assert str(result.content[0].text) == str(raised.failure)
    return raised.failure


async def test_a_tool_that_hangs_is_cancelled_at_its_deadline() -> None:
    error = await failure(hang, readOnlyHint=True)
    assert str(error) == "hang did not finish within 0.01 seconds."


async def test_a_call_that_may_have_done_its_work_reports_it() -> None:
    in_doubt = "The work may have been done: check before you repeat it."
    for hints in ({}, {"readOnlyHint": False}, {"idempotentHint": False, "readOnlyHint": False}):

        async def work() -> None:  # defined in the loop: `tool` adds annotations to the function
            await anyio.sleep_forever()

        error = await failure(work, **hints)
        assert str(error) == f"work did not finish within 0.01 seconds. {in_doubt}"
        assert not error.retryable


async def test_only_a_read_only_or_idempotent_call_is_retryable_after_a_timeout() -> None:
    assert (await failure(hang, readOnlyHint=True)).retryable
    assert (await failure(hang, idempotentHint=True, readOnlyHint=False)).retryable
    assert not (await failure(hang, idempotentHint=False, readOnlyHint=False)).retryable


async def test_a_tools_own_timeout_has_a_readable_message() -> None:
    @tool(timeout=0.01)
    async def hang() -> str:
        await anyio.sleep_forever()
        return "never"

    error = await failure(hang, seconds=PROMPT_SECONDS)
    assert str(error).startswith("hang did not finish in time. The work may have been done")


async def test_a_hanging_thread_does_not_delay_answers_and_is_not_reported_as_cancelled(
    stuck: Callable[[], str],
) -> None:
    error = await failure(stuck, seconds=STARTED_SECONDS, readOnlyHint=True)
    assert str(error).endswith("seconds. It is still running and may complete.")
    assert not error.retryable


async def test_a_tool_with_too_many_hanging_threads_is_not_started_again(
    stuck: Callable[[], str],
) -> None:
    error = await failure(stuck, seconds=STARTED_SECONDS, calls=3)
    assert str(error).startswith("block was not started: 2 earlier calls of it are still running")


async def test_a_thread_that_ends_late_frees_its_slot() -> None:
    released = threading.Event()

    def block() -> str:
        released.wait(PROMPT_SECONDS)
        return "done"

    deadlines = Deadlines(seconds=STARTED_SECONDS, max_abandoned=1)
    server = FastMCP("test", tools=[block], middleware=[deadlines])
    async with Client(server) as client:
        assert (await client.call_tool("block", raise_on_error=False)).is_error
        released.set()
        for _ in range(500):
            if not deadlines._abandoned:
                break
            await anyio.sleep(0.01)
        assert (await client.call_tool("block")).data == "done"


async def test_a_resource_a_prompt_and_a_list_have_the_same_deadline() -> None:
    class SlowLists(Middleware):
        async def on_list_tools(self, context: Any, call_next: Any) -> Any:
            await anyio.sleep_forever()

    server = FastMCP("test", middleware=[Deadlines(seconds=0.01), SlowLists()], lifespan=runtime)
    server.add_resource(Resource.from_function(hang, uri="test://hang"))
    server.add_prompt(Prompt.from_function(hang))
    async with Client(server) as client:
        for request, name in (
            (client.read_resource("test://hang"), "test://hang"),
            (client.get_prompt("hang"), "hang"),
            (client.list_tools(), "tools/list"),
        ):
            with pytest.raises(MCPError, match=f"{name} did not finish within 0.01 seconds"):
                async with asyncio.timeout(PROMPT_SECONDS):
                    await request


async def test_a_cancelled_call_is_not_reported_as_a_timeout() -> None:
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
