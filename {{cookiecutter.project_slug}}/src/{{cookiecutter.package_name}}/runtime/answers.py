"""Make sure that every answer of a tool, resource or prompt can be sent.

A Python string may contain half of a surrogate pair, from a truncated emoji or a file name that is
not UTF-8. A result may contain a value that JSON cannot represent. The first would break the
response when it is written. For the second, FastMCP advises the model how to declare its schemas.
Here such text is repaired, and such a value is a failure that names the reason.
"""

import math
from collections.abc import Mapping
from typing import Any

from fastmcp.exceptions import FastMCPError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from mcp import MCPError
from mcp.shared.exceptions import NoBackChannelError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

from .errors import ToolFailure

NON_FINITE = "Tool result contains a non-finite float"
# What the serialiser reports, and what the caller reads.
REASONS = {
    "depth": "it is nested too deeply",  # first: older versions call that a circular reference
    "Circular reference": "it contains itself",
    "utf-8": "it contains text or bytes that are not valid Unicode",
    NON_FINITE: "it contains NaN or an infinite number, which JSON cannot represent",
}
MAX_INTEGER_BITS = 14_000  # about 4,200 digits: Python converts up to 4,300
NO_FORM = "it contains a value that JSON cannot represent"


class UnsendableResult(ToolFailure):
    """JSON cannot represent the result."""


class ClientUnreachable(ToolFailure):
    """A request to the client cannot reach it."""


class SendableAnswers(Middleware):
    """Repair text that cannot be encoded, and refuse results that cannot be sent."""

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        try:
            return sendable(await call_next(context))
        except (FastMCPError, MCPError) as error:
            raise readable(error, context) from error.__cause__

    on_get_prompt = on_call_tool

    async def on_read_resource(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        try:
            # Bytes are sent as base64, so they need not be text.
            return clean(await call_next(context))
        except (FastMCPError, MCPError) as error:
            raise readable(error, context) from error.__cause__


def clean(value: Any) -> Any:
    """Return `value` with U+FFFD for each lone surrogate, and null for each NaN and infinity."""
    repaired = value
    match value:
        case str():
            repaired = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        case float() if not math.isfinite(value):
            repaired = None
        case int() if value.bit_length() > MAX_INTEGER_BITS:
            repaired = None
        case Mapping():
            repaired = {clean(key): clean(part) for key, part in value.items()}
        case list() | tuple():
            repaired = [clean(part) for part in value]
        case BaseModel():
            repaired = value.model_copy(update={name: clean(part) for name, part in value})
    return repaired


def sendable(result: Any) -> Any:
    """Return a result whose text can be encoded, nearly always `result` itself.

    Raises:
        UnsendableResult: JSON cannot represent it.
    """
    try:
        if meta := getattr(result, "meta", None):  # FastMCP has not checked it
            from_json(to_json(meta))
        sent = to_json(result, bytes_mode="base64")
        if b"NaN" not in sent and b"Infinity" not in sent:
            return result
    except ValueError:
        pass
    try:
        result = clean(result)
        to_json(result, bytes_mode="base64")
    except (ValueError, RecursionError) as error:
        raise UnsendableResult(_unsendable(str(error))) from error
    return result


def readable(error: Exception, context: MiddlewareContext[Any]) -> Exception:
    """Return the error that the client sees: often `error` itself, repaired."""
    cause = error.__cause__
    for unreachable in (error, cause):
        if isinstance(unreachable, NoBackChannelError):
            return ClientUnreachable(_unreachable(unreachable.method, context))
    if isinstance(cause, PydanticSerializationError):
        return UnsendableResult(_unsendable(str(cause)))
    if str(error).startswith(NON_FINITE):
        return UnsendableResult(_unsendable(NON_FINITE))
    if isinstance(error, MCPError):
        error.error = clean(error.error)
    elif (text := clean(str(error))) != str(error):
        error.args = (text,)
    if isinstance(error, ToolFailure) and error.details:
        error.details = _details(error.details)
    return error


def _details(details: Any) -> dict[str, Any]:
    try:
        values = to_jsonable_python(details, bytes_mode="base64", fallback=str)
        repaired: dict[str, Any] = from_json(to_json(clean(values)))
    except (ValueError, RecursionError):
        return {}  # the message still says what has happened
    return repaired


def _unsendable(text: str) -> str:
    reason = next((REASONS[sign] for sign in REASONS if sign in text), NO_FORM)
    return f"The result cannot be sent: {reason}."


def _unreachable(method: str, context: MiddlewareContext[Any]) -> str:
    request = context.fastmcp_context and context.fastmcp_context.request_context
    cannot = f"The server cannot send {method} to the client"
    if request and request.protocol_version in MODERN_PROTOCOL_VERSIONS:
        return f"{cannot}: this protocol does not support it; return InputRequiredResult."
    return (
        f"{cannot} over stateless HTTP: serve with HTTP_SESSIONS=true and one worker, or over"
        " stdio."
    )
