"""The server, with a tool that takes its time, one that fails, and output where none should be."""

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Annotated, Any

import anyio.lowlevel
from fastmcp.dependencies import Shared
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import tool

from {{ cookiecutter.package_name }} import (
    __main__ as command,
)
from {{ cookiecutter.package_name }}.runtime.server import (
    Server,
)


@asynccontextmanager
async def resource() -> AsyncIterator[str]:
    """Say when it is closed."""
    try:
        yield "resource"
    finally:
        await anyio.lowlevel.checkpoint()  # where a closing that is cut short would end
        sys.stderr.write("resource closed\n")


class Served(Middleware):
    """Tell the log which process serves a call."""

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        sys.stderr.write(f"{context.message.name} in process {os.getpid()}\n")
        return await call_next(context)


@tool
async def wait(seconds: float, label: str, _resource: Annotated[str, Shared(resource)]) -> str:
    """Take `seconds`, and tell the log under `label` when that begins or is cut short."""
    sys.stdout.write("stray output of a tool\n")
    os.write(1, b"stray output of a library\n")
    sys.stderr.write(f"waiting: {label}\n")
    try:
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        sys.stderr.write(f"cancelled: {label}\n")
        raise
    return "done"


@tool
async def fail() -> str:
    """Raise what nobody has foreseen."""
    raise RuntimeError("canary: postgres://admin:hunter2@10.0.0.1")


@tool
def run_child() -> str:
    """Return what a child process reads from stdin, after it has written to its stdout."""
    code = "print('a child', flush=True); import sys; sys.stderr.write(sys.stdin.read())"
    command = [sys.executable, "-c", code]
    child = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True, timeout=2)
    return child.stderr


@tool
def sleep_in_thread(seconds: float) -> str:
    """Sleep where nothing can be cancelled."""
    sys.stderr.write("sleeping in a thread\n")
    time.sleep(seconds)
    return "awake"


@tool
async def block(seconds: float) -> str:
    """Do the same in the thread of the event loop."""
    return sleep_in_thread(seconds)


@cache
def load_with_slow_tool() -> Server:
    """Add the tools to the server that the command line loads."""
    sys.stdout.write("stray output at import\n")
    server = load()
    for added in (wait, fail, run_child, sleep_in_thread, block):
        server.add_tool(added)
    server.add_middleware(Served())
    return server


load = command.load
command.load = load_with_slow_tool

if __name__ == "__main__":
    command.main()
