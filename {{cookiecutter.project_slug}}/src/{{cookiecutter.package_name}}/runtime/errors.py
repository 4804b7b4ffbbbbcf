"""The failures that a caller may read, and that the log explains.

With masking on, FastMCP hides the text of every exception but its own `ToolError`. What a tool
wants a model to know, and to act on, is therefore a `ToolFailure`: one sentence, and whether
trying again can help. FastMCP's log line for one names the tool alone; the line here says why.
"""

import logging
from typing import Any

from fastmcp.exceptions import ToolError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext

failure_log = logging.getLogger(__name__)

MAX_REASON_LENGTH = 200


class ToolFailure(ToolError):
    """A failure whose message reaches the client.

    `retryable` says whether the same call may succeed later. `details` are further facts, as JSON
    values.
    """

    def __init__(self, message: str, *, retryable: bool = False, **details: Any) -> None:
        super().__init__(message, log_level=logging.DEBUG)  # `FailureLog` says more
        self.retryable = retryable
        self.details = details


class FailureLog(Middleware):
    """Write one line for each `ToolFailure`: its sentence, and the kind of error that caused it.

    Not the text of that error, which may hold what a client or an API has sent.
    """

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        try:
            return await call_next(context)
        except ToolFailure as failure:
            reason = " ".join(str(failure).split())[:MAX_REASON_LENGTH]
            cause = f" ({type(failure.__cause__).__name__})" if failure.__cause__ else ""
            failure_log.warning("%s failed: %s%s", context.message.name, reason, cause)
            raise
