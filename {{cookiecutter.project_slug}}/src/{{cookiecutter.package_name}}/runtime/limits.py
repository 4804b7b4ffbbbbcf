"""No resource or prompt fills a client's context: one that is too long is refused.

Tools shorten their own results. A resource's text may be JSON or code, which nobody can use when it
is cut somewhere, so its reader is told the size and the limit instead.
"""

from typing import Any

from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from pydantic import BaseModel, Field, JsonValue
from pydantic_core import to_json

from ..settings import Settings
from .errors import ToolFailure


class ResultSettings(Settings):
    # Some 17,000 tokens of records. Bare numbers and ids have up to three times as many: set less.
    result_max_bytes: int = Field(50_000, ge=2_000)


def json_size(value: BaseModel | JsonValue) -> int:
    """Return the bytes of a value's JSON, as it stands in a result."""
    return len(to_json(value))


class ResultTooLong(ToolFailure):
    """The text of a resource or a prompt is longer than `RESULT_MAX_BYTES`."""


class ResultLimit(Middleware):
    """Refuse a resource or a prompt whose text has more than `RESULT_MAX_BYTES` bytes."""

    async def on_read_resource(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        result = await call_next(context)
        texts = [part.content for part in result.contents if isinstance(part.content, str)]
        self._check("resource", sum(map(json_size, texts)))
        return result

    async def on_get_prompt(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        result = await call_next(context)
        self._check("prompt", sum(json_size(message.content) for message in result.messages))
        return result

    def _check(self, kind: str, size: int) -> None:
        limit = ResultSettings().result_max_bytes
        if size > limit:
            raise ResultTooLong(
                f"The {kind} has {size} bytes, and at most {limit} are returned: ask for a part of it.",
                size=size,
                limit=limit,
            )
