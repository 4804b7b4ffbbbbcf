"""The server, with additional tools for the tests.

Their names start with `probe_`. A tool that needs a pattern is in the pattern's module in
`probes/`, which only exists with the pattern. With `PROBES=no`, none is added.

A server that requires authentication only accepts the tests' token, `TEST_TOKEN`, because the
tests cannot get one from its identity provider.
"""

import importlib
import logging
import os
import pkgutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import anyio.lowlevel
from fastmcp.dependencies import Shared
from fastmcp.server.auth import StaticTokenVerifier
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import Tool, tool

from {{ cookiecutter.package_name }} import (
    __main__ as command,
)
from {{ cookiecutter.package_name }}.runtime.server import (
    Server,
)

PREFIX = "probe_"
# The tests run this file as a program, whose folder comes first in the import path.
PROBES = Path(__file__).with_name("probes")

logger = logging.getLogger(__name__)


@asynccontextmanager
async def resource() -> AsyncIterator[str]:
    """Log when it is closed."""
    try:
        yield "resource"
    finally:
        await anyio.lowlevel.checkpoint()  # an interrupted cleanup would end here
        logger.info("resource closed")


class Served(Middleware):
    """Log which process serves a call."""

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        logger.info("%s in process %d", context.message.name, os.getpid())
        return await call_next(context)


# No probe has a docstring: FastMCP would import a parser for it, 5% of the startup time.
@tool(annotations={"readOnlyHint": True})
async def probe_echo(text: str) -> str:
    return text


# Takes `seconds`, and logs `label` when that begins or is cut short.
@tool
async def probe_wait(
    seconds: float, label: str, _resource: Annotated[str, Shared(resource)]
) -> str:
    sys.stdout.write("stray output of a tool\n")
    os.write(1, b"stray output of a library\n")
    logger.info("waiting: %s", label)
    try:
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        logger.info("cancelled: %s", label)
        raise
    return "done"


@tool
async def probe_fail() -> str:
    raise RuntimeError("canary: postgres://admin:hunter2@10.0.0.1")


def probes() -> Iterator[Any]:
    yield from (probe_echo, probe_wait, probe_fail)
    for module in pkgutil.iter_modules([str(PROBES)]):
        found = vars(importlib.import_module(f"{PROBES.name}.{module.name}"))
        yield from (value for name, value in found.items() if name.startswith(PREFIX))


def accept_token(server: Server, token: str) -> None:
    """Accept this token instead of those that the server requires, if it requires any.

    Without one, nothing counts but the settings.
    """
    if not token:
        server.auth = None
    elif server.auth is not None:
        scopes = server.auth.scopes_supported
        server.auth = StaticTokenVerifier({token: {"client_id": "tests", "scopes": scopes}})


@cache
def load_with_probes() -> Server:
    """Add the probes to the server that the command line loads."""
    server = load()
    accept_token(server, os.environ["TEST_TOKEN"])
    if os.environ.get("PROBES") == "no":
        return server
    sys.stdout.write("stray output at import\n")
    for probe in probes():
        server.add_tool(Tool.from_function(probe))
    server.add_middleware(Served())
    return server


load = command.load
command.load = load_with_probes

if __name__ == "__main__":
    command.main()
