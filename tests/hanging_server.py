"""A generated server with slow tools, some of which cannot be cancelled, and a tool that starts a child process.

Run as a program, it is the server's command. The environment variable `RUN` names the package.
"""

import importlib
import os
import subprocess
import sys
import time
from functools import cache
from typing import Any

import anyio
from fastmcp import FastMCP
from fastmcp.tools import Tool

command = importlib.import_module(f"{os.environ['RUN']}.__main__")


def tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


async def wait(seconds: float, label: str) -> str:
    """Log a message, and sleep."""
    tell(f"waiting: {label}")
    await anyio.sleep(seconds)
    return "done"


def sleep_in_thread(seconds: float) -> str:
    """Sleep in a thread, which cannot be cancelled."""
    tell("sleeping in a thread")
    time.sleep(seconds)
    return "awake"


async def block(seconds: float) -> str:
    """Sleep in the thread of the event loop."""
    return sleep_in_thread(seconds)


def run_child() -> str:
    """Return what a child process reads from stdin after writing to its stdout."""
    code = "print('a child', flush=True); import sys; sys.stderr.write(sys.stdin.read())"
    child = subprocess.run(
        [sys.executable, "-c", code], check=True, stderr=subprocess.PIPE, text=True, timeout=2
    )
    return child.stderr


@cache
def load() -> FastMCP[Any]:
    server: FastMCP[Any] = load_server()
    for function in (wait, sleep_in_thread, block, run_child):
        server.add_tool(Tool.from_function(function))
    return server


load_server = command.load
command.load = load  # type: ignore[attr-defined]

if __name__ == "__main__":
    command.main()
