"""What every server does at startup: contain exceptions of requests, and become ready."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from fastmcp import FastMCP
from fastmcp.server.lifespan import lifespan

from .containment import contained_task, guard
from .readiness import readiness
from .server import Server


@lifespan
async def runtime(server: FastMCP[Any]) -> AsyncIterator[dict[str, Any]]:
    """Open the server's extensions, contain failures while it runs, and report ready."""
    loop = asyncio.get_running_loop()
    if loop.get_task_factory() is None:
        loop.set_task_factory(contained_task)
    async with AsyncExitStack() as stack:
        extensions = server.extensions if isinstance(server, Server) else ()
        opened = [await stack.enter_async_context(extension(server)) for extension in extensions]
        around = [*(middleware for middleware in opened if middleware is not None), guard]
        low_level = server._mcp_server  # noqa: SLF001 - FastMCP has no public way to the SDK's middleware
        low_level.middleware[:0] = around
        with readiness.serving():
            try:
                yield {}
            finally:
                for middleware in around:
                    low_level.middleware.remove(middleware)
