"""A generated server with tools, resource templates and prompts that fail on request, both `async def` and `def`.

Run as a program, it is the server's command. The environment variable `RUN` names the package.
"""

import asyncio
import importlib
import os
import sys
import time
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from fastmcp import FastMCP
from fastmcp.prompts import Prompt
from fastmcp.resources import ResourceTemplate
from fastmcp.server.middleware import Middleware
from fastmcp.tools import Tool

PACKAGE = os.environ["RUN"]
SECRET = "canary-hunter2"
FAILURE = "The kettle is empty."

command = importlib.import_module(f"{PACKAGE}.__main__")
errors = importlib.import_module(f"{PACKAGE}.runtime.errors")


class Own(BaseException):
    """An error that `except Exception` does not catch."""


async def exit_in_a_task() -> None:
    async def leave() -> None:
        sys.exit(SECRET)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(leave())


async def await_a_cancelled_task() -> None:
    other = asyncio.create_task(asyncio.sleep(60))
    asyncio.get_running_loop().call_soon(other.cancel)
    await other


async def cancel_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


ASYNC: dict[str, Callable[[], Awaitable[Any]]] = {
    "hang": lambda: asyncio.sleep(60),
    "cancelled": await_a_cancelled_task,
    "cancels-itself": cancel_itself,
    "exit-in-a-task": exit_in_a_task,
}
RAISED: dict[str, Callable[[], BaseException]] = {
    "cancelled": lambda: asyncio.CancelledError(SECRET),
    "exit": lambda: SystemExit(SECRET),
    "interrupt": lambda: KeyboardInterrupt(SECRET),
    "own": lambda: Own(SECRET),
    "group": lambda: BaseExceptionGroup(SECRET, [SystemExit(SECRET)]),
    "unknown": lambda: RuntimeError(SECRET),
    "failure": lambda: errors.ToolFailure(FAILURE, retryable=True, kettle=1),
}


async def act(how: str, number: int = 1) -> str:
    """Return a text, or fail as requested."""
    if how in ASYNC:
        await ASYNC[how]()
    if how in RAISED:
        raise RAISED[how]()
    return "x" * (500_000 if how == "long" else number)


def act_in_a_thread(how: str, number: int = 1) -> str:
    """Do the same as `act`, in a thread, which cannot be cancelled."""
    if how == "hang":
        time.sleep(25)
    if how in RAISED:
        raise RAISED[how]()
    return "x" * (500_000 if how == "long" else number)


class Outermost(Middleware):
    """The outermost user middleware, which fails on request."""

    async def on_message(self, context: Any, call_next: Any) -> Any:
        arguments = getattr(context.message, "arguments", None) or {}
        how = str(arguments.get("outside", ""))
        if how:
            raise RAISED[how]()
        return await call_next(context)


@cache
def load() -> FastMCP[Any]:
    server: FastMCP[Any] = load_server()
    server.add_tool(Tool.from_function(act))
    server.add_tool(Tool.from_function(act_in_a_thread))
    for function in (act, act_in_a_thread):
        uri = f"unlucky://{function.__name__}/{{how}}/{{number}}"
        server.add_template(ResourceTemplate.from_function(function, uri_template=uri))
        server.add_prompt(Prompt.from_function(function))
    server.middleware.insert(0, Outermost())
    return server


load_server = command.load
command.load = load  # type: ignore[attr-defined]

if __name__ == "__main__":
    command.main()
