"""Advertise what the 2026-07-28 protocol still has.

FastMCP also names its logging capability there, which that protocol has deprecated. The handshake
protocols have it, and keep it.
"""

from typing import Any

from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from mcp_types import DiscoverResult


class CurrentCapabilities(Middleware):
    """Leave the logging capability out of `server/discover`."""

    async def on_discover(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        result = await call_next(context)
        if isinstance(result, DiscoverResult):
            result.capabilities.logging = None
        return result
