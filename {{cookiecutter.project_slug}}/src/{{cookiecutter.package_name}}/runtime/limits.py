"""Keep resources and prompts from filling a client's context: refuse one that is too long.

Tools shorten their own results. The text of a resource may be JSON or code, which is useless when
it is cut, so the error states the size and the limit instead.
"""

from typing import Any

from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from pydantic import Field

from ..settings import Settings
from .errors import ToolFailure


class ResultSettings(Settings):
    # About 17,000 tokens of records. Numbers and ids have up to three times as many.
    result_max_bytes: int = Field(50_000, ge=2_000)


class ResultTooLong(ToolFailure):
    """The text of a resource or a prompt is longer than `RESULT_MAX_BYTES`."""


class ResultLimit(Middleware):
    """Refuse a resource or a prompt whose text has more than `RESULT_MAX_BYTES` bytes."""

    async def on_read_resource(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        result = await call_next(context)
        self._check("resource", [part.content for part in result.contents])
        return result

    async def on_get_prompt(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        result = await call_next(context)
        self._check("prompt", [getattr(part.content, "text", None) for part in result.messages])
        return result

    def _check(self, kind: str, contents: list[str | bytes | None]) -> None:
        texts = [content for content in contents if isinstance(content, str)]
        size = sum(len(text.encode(errors="replace")) for text in texts)
        limit = ResultSettings().result_max_bytes
        if size > limit:
            raise ResultTooLong(
                f"The {kind} has {size} bytes, more than the limit of {limit}:"
                " request a part of it.",
                size=size,
                limit=limit,
            )
