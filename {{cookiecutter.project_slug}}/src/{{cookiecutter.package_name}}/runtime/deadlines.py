"""Every call ends: a tool that hangs holds its client, its memory and a shutdown.

Clients give up after about 60 seconds and then cannot tell why, so the server answers before
that.
"""

from functools import cached_property
from typing import Any

import anyio
from fastmcp.exceptions import ToolError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from mcp import MCPError
from pydantic import Field

from ..settings import Settings
from .errors import ToolFailure


class DeadlineSettings(Settings):
    tool_deadline_seconds: float = Field(50, gt=0, lt=60)


class DeadlineExceeded(ToolFailure):
    """The tool did not finish in time; it has been cancelled."""


class Deadlines(Middleware):
    """Cancel a call that runs longer than `seconds` (default: `TOOL_DEADLINE_SECONDS`).

    A plain `def` tool runs in a thread, which cannot be stopped: its answer is late, then refused.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self._chosen = seconds

    @cached_property
    def _seconds(self) -> float:
        return self._chosen or DeadlineSettings().tool_deadline_seconds

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        try:
            with anyio.move_on_after(self._seconds) as scope:
                result = await call_next(context)
        except ToolError as error:
            if _is_tool_timeout(error):
                raise _exceeded(context.message.name) from error
            raise
        if scope.cancelled_caught or anyio.current_time() >= scope.deadline:
            raise _exceeded(context.message.name, f" within {self._seconds:g} seconds")
        return result


def _is_tool_timeout(error: ToolError) -> bool:
    """Recognise the expiry of FastMCP's own `@tool(timeout=...)`, whose text masking hides."""
    cause = error.__cause__
    return isinstance(cause, MCPError) and "timed out" in str(cause)


def _exceeded(tool: str, limit: str = " in time") -> DeadlineExceeded:
    return DeadlineExceeded(f"{tool} did not finish{limit} and was cancelled.", retryable=True)
