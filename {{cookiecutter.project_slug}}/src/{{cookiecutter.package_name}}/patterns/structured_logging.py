"""Structured logs: JSON lines, one record per call, without secrets.

Plain text is hard to query, logged arguments contain personal data, and a token in a URL ends up
in log searches. A record here has the tool, the caller, the outcome, the duration and the names
of the arguments, but never their values. Anything that looks like a secret is redacted before a
line is written.
"""

import json
import logging
import re
import time
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any

from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from mcp import MCPError
from pydantic_core import PydanticSerializationError, to_json

from ..runtime.caller import caller_name
from ..runtime.requests import METHODS, name_of

call_log = logging.getLogger(__name__)

# Every expression takes time proportional to the text: a log line may contain anyone's input.
SECRET_NAME = r"(?:authorization|api[-_]?key|token|password|passwd|secret)"  # noqa: S105
SECRET_KEY = re.compile(SECRET_NAME, re.IGNORECASE)
# name=value, name: value, "name": "value", \"name\": \"value\"; a quoted value ends with its quote
SECRET_PAIR = re.compile(
    rf"({SECRET_NAME}"
    r"[\w.-]{0,40}\\*['\"]?\s*[:=]\s*)"
    r"(?:b?(\\*['\"]).*?(?:(?<!\\)\2|\Z)|(?:(?:bearer|basic|token)\s+)?[^\s'\",;&]+)",
    re.IGNORECASE | re.DOTALL,
)
# scheme://user:password@host
URL_PASSWORD = re.compile(r"(://[^\s/:@]*:)[^\s/]+(@)")
BEARER = re.compile(r"(\bbearer\s+)[\w.~+/=-]+", re.IGNORECASE)
REDACTED = "[redacted]"
KINDS = {"tools/call": "tool", "resources/read": "resource", "prompts/get": "prompt"}
# The attributes of Python's records besides `extra`, and uvicorn's copy for terminals.
OMITTED = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}
# Deeper values are written as text, which also handles a structure that contains itself.
MAX_LOGGED_DEPTH = 8


@lru_cache(maxsize=1024)
def names_a_secret(name: str) -> bool:
    return SECRET_KEY.search(name) is not None


def redact(value: Any, name: str = "", depth: int = MAX_LOGGED_DEPTH) -> Any:
    """Return `value` as JSON types, without anything that looks like a secret by name or format."""
    if name and names_a_secret(name):
        return REDACTED
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict) and depth:
        return {str(key): redact(item, str(key), depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth:
        return [redact(item, depth=depth - 1) for item in value]
    finite = isinstance(value, float) and isfinite(value)
    if finite or value is None or isinstance(value, int | datetime):
        return value
    return redact_text(_text_of(value))


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a log must not fail a call
        return f"<{type(value).__name__}>"


def redact_text(text: str) -> str:
    """Return `text` without anything that looks like a secret by its format."""
    # A fast path: every pattern needs one of these, and most log texts have none.
    if ":" not in text and "=" not in text and "bearer" not in text.lower():
        return text
    text = SECRET_PAIR.sub(rf"\1\2{REDACTED}\2", text)
    text = URL_PASSWORD.sub(rf"\1{REDACTED}\2", text)
    return BEARER.sub(rf"\1{REDACTED}", text)


class JsonLines(logging.Formatter):
    """One JSON object per line: the message of a record, and its `extra` fields.

    Redacts before serializing, because redacting the finished line would break the JSON.
    """

    def format(self, record: logging.LogRecord) -> str:
        told = {"message": record.getMessage()}
        told |= {name: value for name, value in vars(record).items() if name not in OMITTED}
        if record.exc_info:
            told["exc_info"] = self.formatException(record.exc_info)
        if record.stack_info:
            told["stack_info"] = self.formatStack(record.stack_info)
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            **redact(told),
        }
        try:
            return to_json(line, ensure_ascii=True).decode()
        except PydanticSerializationError:  # half of a surrogate pair
            return json.dumps(line, default=str)


class CallLog(Middleware):
    """Write one record per call of a tool, resource or prompt, and per list."""

    async def on_request(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        if context.method not in METHODS:
            return await call_next(context)
        start = time.perf_counter()
        kind = KINDS.get(str(context.method), "list")
        name = await name_of(context)
        outcome = "cancelled"
        try:
            result = await call_next(context)
            outcome = "error" if getattr(result, "is_error", False) else "ok"
        except MCPError:  # a resource or a prompt that has failed
            outcome = "error"
            raise
        except Exception as error:
            outcome = type(error).__name__
            raise
        finally:
            if call_log.isEnabledFor(logging.INFO):
                told = {kind: name, "outcome": outcome, **_circumstances(context)}
                told["duration_ms"] = round((time.perf_counter() - start) * 1000, 1)
                # Not `info`, which would search the frames for its caller.
                record = call_log.makeRecord(
                    call_log.name, logging.INFO, __file__, 0, "%s call", (kind,), None, extra=told
                )
                call_log.handle(record)
        return result


def _circumstances(context: MiddlewareContext[Any]) -> dict[str, Any]:
    request = context.fastmcp_context
    on_the_wire = request and request.request_context  # not for a call inside the process
    arguments = getattr(context.message, "arguments", None) or {}
    return {
        "caller": caller_name(),
        "request_id": request.request_id if request and on_the_wire else None,
        "arguments": [argument[:60] for argument in list(arguments)[:20]],
    }
