"""The server, with a tool that takes its time, and with output where none should be."""

import os
import sys
from functools import cache
from typing import Any

import anyio
from fastmcp import FastMCP
from fastmcp.tools import tool

from {{ cookiecutter.package_name }} import (
    __main__ as command,
)


@tool
async def wait(seconds: float) -> str:
    """Take `seconds`."""
    sys.stdout.write("stray output of a tool\n")
    os.write(1, b"stray output of a library\n")
    sys.stderr.write("waiting\n")
    await anyio.sleep(seconds)
    return "done"


@cache
def load_with_slow_tool() -> FastMCP[Any]:
    """Add the tool to the server that the command line loads."""
    sys.stdout.write("stray output at import\n")
    server = load()
    server.add_tool(wait)
    return server


load = command.load
command.load = load_with_slow_tool

if __name__ == "__main__":
    command.main()
