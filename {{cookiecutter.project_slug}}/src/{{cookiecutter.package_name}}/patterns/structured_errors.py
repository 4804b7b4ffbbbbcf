"""Failures that a program can act on: a code, a sentence, and whether to try again.

An error returned as an ordinary result looks like success to the client, to caches and to traces,
and the text of an unknown exception tells strangers about hosts, paths and secrets. Here tools
raise, and one middleware answers: `isError` with a body of one form, unknown exceptions masked
under an id that the log repeats. The output schemas name that body beside the answer: widely used
clients hold failed calls against them too, and drop what does not fit.
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from fastmcp.exceptions import FastMCPError, NotFoundError, ToolError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import Tool, ToolResult
from pydantic import BaseModel, JsonValue
from pydantic_core import to_jsonable_python

from ..runtime.errors import ToolFailure

error_log = logging.getLogger(__name__)


class ErrorCode(StrEnum):
    VALIDATION_ERROR = "VALIDATION_ERROR"
    NOT_FOUND = "NOT_FOUND"
    API_ERROR = "API_ERROR"
    TIMEOUT = "TIMEOUT"
    RATE_LIMITED = "RATE_LIMITED"
    UNKNOWN = "UNKNOWN"


class ErrorInfo(BaseModel):
    """The `error` member of every failed call's structured content."""

    code: ErrorCode
    message: str
    retryable: bool = False
    details: dict[str, JsonValue] = {}


ERROR_SCHEMA = {
    "type": "object",
    "properties": {
        "code": {"type": "string", "enum": [*ErrorCode]},
        "message": {"type": "string"},
        "retryable": {"type": "boolean"},
        "details": {"type": "object"},
    },
    "required": ["code", "message", "retryable", "details"],
}


class CodedError(ToolFailure):
    """Raise in a tool to choose the code yourself."""

    def __init__(
        self, code: ErrorCode, message: str, *, retryable: bool = False, **details: Any
    ) -> None:
        super().__init__(message, retryable=retryable, **details)
        self.code = code


class StructuredErrors(Middleware):
    """Turn every failed call into an `isError` result; `codes` maps failures to codes."""

    def __init__(self, codes: Mapping[type[Exception], ErrorCode] | None = None) -> None:
        self._codes = dict(codes or {})

    async def on_list_tools(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Sequence[Tool]]
    ) -> Sequence[Tool]:
        return [_may_fail(tool) for tool in await call_next(context)]

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        try:
            return await call_next(context)
        except (FastMCPError, NotFoundError) as error:
            info = self.describe(error)
        return ToolResult(
            content=f"{info.code}: {info.message}",
            structured_content={"error": info.model_dump(mode="json")},
            is_error=True,
        )

    def describe(self, error: Exception) -> ErrorInfo:
        """Return what a client may know of `error`."""
        if isinstance(error, NotFoundError):
            return ErrorInfo(code=ErrorCode.NOT_FOUND, message=str(error))
        if isinstance(error, ToolFailure):
            return ErrorInfo(
                code=self._code(error),
                message=str(error),
                retryable=error.retryable,
                details=to_jsonable_python(error.details, fallback=str),
            )
        if isinstance(error, ToolError) and not _wraps_unknown(error):
            return ErrorInfo(code=ErrorCode.UNKNOWN, message=str(error))
        return self._masked(error)

    def _code(self, error: ToolFailure) -> ErrorCode:
        if isinstance(error, CodedError):
            return error.code
        # The nearest ancestor wins, so a subclass may have a code of its own.
        known = (self._codes[kind] for kind in type(error).__mro__ if kind in self._codes)
        return next(known, ErrorCode.UNKNOWN)

    def _masked(self, error: Exception) -> ErrorInfo:
        error_id = uuid.uuid4().hex[:12]
        cause = error.__cause__ or error
        error_log.error("Unexpected error %s", error_id, exc_info=cause)
        return ErrorInfo(
            code=ErrorCode.UNKNOWN,
            message=f"An unexpected error occurred; the server's log knows it as {error_id}.",
            details={"error_id": error_id},
        )


def _may_fail(tool: Tool) -> Tool:
    """Let the output schema allow an error where it required an answer."""
    schema = tool.output_schema
    if not schema or "anyOf" in schema:
        return tool
    answer = {"required": schema.get("required", [])}
    either = {
        **{name: value for name, value in schema.items() if name != "required"},
        "properties": {"error": ERROR_SCHEMA, **schema.get("properties", {})},
        "anyOf": [answer, {"required": ["error"]}],
    }
    return tool.model_copy(update={"output_schema": either})


def _wraps_unknown(error: ToolError) -> bool:
    """Recognise what FastMCP makes of an exception that no tool meant for the client."""
    return error.__cause__ is not None and str(error).startswith("Error calling tool ")
