"""What every server does when it starts: become ready, contain failures, index tool schemas.

For each HTTP call of the 2026-07-28 protocol the SDK wants the called tool's schema, to check
`Mcp-Param-*` headers. Left alone it lists every tool through the whole middleware chain, for
every call. The index answers instead. Tools added later are not in it; their headers are not
checked.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from fastmcp import FastMCP
from fastmcp.server.lifespan import lifespan
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from mcp_types import DiscoverResult

from .containment import contained_task, guard
from .readiness import readiness


class Capabilities(Middleware):
    """Offer no logging to clients of the 2026-07-28 era, which has deprecated it (SEP-2577)."""

    async def on_discover(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        result = await call_next(context)
        if isinstance(result, DiscoverResult):
            result.capabilities.logging = None
        return result


@lifespan
async def runtime(server: FastMCP[Any]) -> AsyncIterator[dict[str, Any]]:
    """Serve with an index of tool schemas, and report ready meanwhile."""
    tools = await server.list_tools(run_middleware=False)
    schemas = {tool.name: tool.parameters for tool in tools}
    low_level = server._mcp_server  # noqa: SLF001 - FastMCP has no public way to the SDK's hook
    if hasattr(low_level, "get_tool_input_schema"):
        low_level.get_tool_input_schema = schemas.get
    low_level.middleware.insert(0, guard)
    loop = asyncio.get_running_loop()
    if loop.get_task_factory() is None:
        loop.set_task_factory(contained_task)
    with readiness.serving():
        try:
            yield {}
        finally:
            low_level.middleware.remove(guard)
