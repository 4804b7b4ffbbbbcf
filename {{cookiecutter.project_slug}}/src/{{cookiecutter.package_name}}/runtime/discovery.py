"""Do not advertise logging to clients of the 2026-07-28 protocol, which has deprecated it.

FastMCP advertises it in every protocol. The handshake protocols still have it.
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
