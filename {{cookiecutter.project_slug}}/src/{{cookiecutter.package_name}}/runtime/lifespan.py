"""What every server does when it starts: become ready."""

from collections.abc import AsyncIterator
from typing import Any

from fastmcp import FastMCP
from fastmcp.server.lifespan import lifespan

from .readiness import readiness


@lifespan
async def runtime(_server: FastMCP[Any]) -> AsyncIterator[dict[str, Any]]:
    """Report ready while the server runs."""
    with readiness.serving():
        yield {}
