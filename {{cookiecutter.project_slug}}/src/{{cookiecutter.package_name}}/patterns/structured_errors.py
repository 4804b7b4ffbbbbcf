"""Errors that a program can act on: a code, a sentence, and whether to retry.

An error that is returned as an ordinary result looks like success to clients, caches and traces.
The text of an unknown exception can reveal hosts, paths and secrets. Here tools raise exceptions,
and one middleware turns them into `isError` results of one form. Unknown exceptions are masked
under an id that is also in the log. The output schemas allow an error, because widely used
clients validate failed results too, and drop those that do not match.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

import fastmcp.exceptions
import pydantic
from fastmcp.exceptions import DisabledError, FastMCPError, NotFoundError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import Tool, ToolResult
from mcp import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS
from pydantic import BaseModel, JsonValue
from pydantic_core import to_jsonable_python

from ..runtime.errors import ToolFailure, unexpected


class ErrorCode(StrEnum):
    VALIDATION_ERROR = "VALIDATION_ERROR"
    NOT_FOUND = "NOT_FOUND"
    API_ERROR = "API_ERROR"
    TIMEOUT = "TIMEOUT"
    RATE_LIMITED = "RATE_LIMITED"
    UNKNOWN = "UNKNOWN"


CALLERS_FAULT = frozenset({ErrorCode.VALIDATION_ERROR, ErrorCode.NOT_FOUND})


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
    """A failure with an explicit code, to raise in a tool."""

    def __init__(
        self, code: ErrorCode, message: str, *, retryable: bool = False, **details: Any
    ) -> None:
        super().__init__(message, retryable=retryable, **details)
        self.code = code


class StructuredErrors(Middleware):
    """Answer every failed request with a code. `codes` maps classes of failures to codes.

    A failed tool call is an `isError` result. Resources, prompts and lists have no such result, so
    the code is in the `data` of a JSON-RPC error.
    """

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
        except MCPError:
            raise
        except Exception as error:  # noqa: BLE001 - masked, and logged
            info = self.describe(error)
        return ToolResult(
            content=f"{info.code}: {info.message}",
            structured_content={"error": info.model_dump(mode="json")},
            is_error=True,
        )

    async def on_request(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        try:
            return await call_next(context)
        except (MCPError, pydantic.ValidationError):
            raise  # protocol errors: bad parameters
        except Exception as error:
            info = self.describe(error)
            rpc_code = INVALID_PARAMS if info.code in CALLERS_FAULT else INTERNAL_ERROR
            data = info.model_dump(mode="json")
            uri = getattr(context.message, "uri", None)
            if uri and info.code is ErrorCode.NOT_FOUND:
                data["uri"] = str(uri)  # which of several reads it was (SEP-2164)
            raise MCPError(rpc_code, info.message, data) from error

    def describe(self, error: Exception) -> ErrorInfo:
        """Return the part of `error` that a client may see."""
        if isinstance(error, NotFoundError | DisabledError):
            return ErrorInfo(code=ErrorCode.NOT_FOUND, message=str(error))
        if isinstance(error, ToolFailure):
            return ErrorInfo(
                code=self._code(error),
                message=str(error),
                retryable=error.retryable,
                details=to_jsonable_python(error.details, fallback=str),
            )
        if isinstance(error, FastMCPError) and not isinstance(
            error, fastmcp.exceptions.ValidationError
        ):
            return ErrorInfo(code=ErrorCode.UNKNOWN, message=str(error))
        return self.describe(unexpected(error))

    def _code(self, error: ToolFailure) -> ErrorCode:
        if isinstance(error, CodedError):
            return error.code
        # The nearest ancestor wins, so a subclass may have a code of its own.
        known = (self._codes[kind] for kind in type(error).__mro__ if kind in self._codes)
        return next(known, ErrorCode.UNKNOWN)


def _may_fail(tool: Tool) -> Tool:
    """Allow an error in the output schema as an alternative to the result."""
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
