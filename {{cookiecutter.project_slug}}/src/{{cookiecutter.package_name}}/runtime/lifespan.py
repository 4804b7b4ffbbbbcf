"""What every server does at startup: contain exceptions of requests, and become ready."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastmcp import FastMCP
from fastmcp.server.lifespan import lifespan

from .containment import contained_task, guard
from .readiness import readiness


@lifespan
async def runtime(server: FastMCP[Any]) -> AsyncIterator[dict[str, Any]]:
    """Contain failures while the server runs, and report ready."""
    low_level = server._mcp_server  # noqa: SLF001 - FastMCP does not expose the SDK's middleware
    low_level.middleware.insert(0, guard)
    loop = asyncio.get_running_loop()
    if loop.get_task_factory() is None:
        loop.set_task_factory(contained_task)
    with readiness.serving():
        try:
            yield {}
        finally:
            low_level.middleware.remove(guard)
