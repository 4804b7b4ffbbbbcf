"""Failures that a caller may read, and that the log explains.

With masking on, FastMCP hides the text of every exception except its own errors. So a tool,
resource or prompt raises a `ToolFailure` if a model can act on the failure: one sentence, and
whether a retry can help. For everything else, the client gets an id, and the log has the traceback
under that id.
"""

import logging
import uuid
from typing import Any

from fastmcp.exceptions import (
    DisabledError,
    FastMCPError,
    NotFoundError,
    ToolError,
    ValidationError,
)
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from mcp import MCPError
from pydantic import ValidationError as PydanticValidationError

from .requests import METHODS, name_of

failure_log = logging.getLogger(__name__)

MAX_REASON_LENGTH = 200
IN_DOUBT = "The work may have been done: check before you repeat it."
# How FastMCP's errors begin when they hide an exception that was not meant for the client.
MASKED = ("Error calling tool ", "Error reading resource ", "Error rendering prompt ")


class ToolFailure(ToolError):
    """A failure whose message reaches the client.

    `retryable` says whether the same call may succeed later. `details` are additional JSON values.
    `in_doubt` means that the call may have done its work anyway.
    """

    in_doubt = False
    engine_code = ""  # the error code of a database or another engine, for the log

    def __init__(self, message: str, *, retryable: bool = False, **details: Any) -> None:
        super().__init__(message, log_level=logging.DEBUG)  # `Failures` logs more
        self.retryable = retryable
        self.details = details

    def put_in_doubt(self) -> None:
        """Add to the message that the work may have been done; it is no longer retryable."""
        if not self.in_doubt:
            self.args = (f"{self} {IN_DOUBT}",)
        self.in_doubt = True
        self.retryable = False


class Unexpected(ToolFailure):
    """An exception that was not meant for the client; the log has it under `error_id`."""


def unexpected(error: BaseException) -> Unexpected:
    """Write an exception to the log under a new id, and return the failure that names the id."""
    error_id = uuid.uuid4().hex[:12]
    failure_log.error("Unexpected error %s", error_id, exc_info=error)
    return Unexpected(
        f"An unexpected error occurred; the server logged it as {error_id}.",
        error_id=error_id,
    )


class Failures(Middleware):
    """Log one line for each `ToolFailure`, and mask every other exception.

    The line has the failure's sentence and the type of error that caused it, but not the text of
    that error, which may contain data of a client or an API.
    """

    async def on_request(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        if context.method not in METHODS:
            return await call_next(context)
        try:
            return await call_next(context)
        except ToolFailure as failure:
            reason = " ".join(str(failure).split())[:MAX_REASON_LENGTH]
            causes = [type(failure.__cause__).__name__] if failure.__cause__ else []
            causes += [failure.engine_code] if failure.engine_code else []
            cause = f" ({', '.join(causes)})" if causes else ""
            failure_log.warning("%s failed: %s%s", await name_of(context), reason, cause)
            raise
        except (MCPError, PydanticValidationError, ValidationError, NotFoundError, DisabledError):
            raise  # protocol errors: bad parameters, unknown names
        except FastMCPError as error:
            if error.__cause__ is None or not str(error).startswith(MASKED):
                raise
            raise unexpected(error.__cause__) from error
        except Exception as error:
            raise unexpected(error) from error
