"""Give every caller a share: one agent in a loop must not take the server from all others.

FastMCP's own limiter knows one bucket for everybody, counts requests that are no calls, and never
forgets a client. This one counts calls of tools, resources and prompts, and lists apart from
them, by caller, in bounded memory, and its refusal says when to come back.
"""

import math
from functools import cached_property
from typing import Any

import throttled.asyncio as throttled
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from pydantic import Field

from ..runtime.caller import caller_name
from ..runtime.errors import ToolFailure
from ..runtime.requests import LISTS, METHODS
from ..settings import Settings


class RateLimitingSettings(Settings):
    rate_limit_per_minute: int = Field(600, ge=1)
    rate_limit_burst: int = Field(100, ge=1)
    rate_limit_max_callers: int = Field(10_000, ge=1)
    workers: int = Field(1, ge=1, le=64)


class RateLimitExceeded(ToolFailure):
    """This caller has used up its share."""


class RateLimiting(Middleware):
    """Refuse a call beyond the caller's quota (GCRA). Each of several workers grants its part."""

    def __init__(self, settings: RateLimitingSettings | None = None) -> None:
        self._chosen = settings

    @cached_property
    def _limiter(self) -> throttled.Throttled:
        settings = self._chosen or RateLimitingSettings()
        quota = throttled.rate_limiter.per_min(
            math.ceil(settings.rate_limit_per_minute / settings.workers),
            burst=math.ceil(settings.rate_limit_burst / settings.workers),
        )
        store = throttled.MemoryStore(options={"MAX_SIZE": settings.rate_limit_max_callers})
        return throttled.Throttled(using="gcra", quota=quota, store=store)

    async def on_request(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        if context.method not in METHODS:
            return await call_next(context)
        # Clients list what there is by themselves, after a first call: that must not cost a call.
        kind = "list" if context.method in LISTS else "call"
        verdict = await self._limiter.limit(f"{kind} {caller_name()}")
        if verdict.limited:
            seconds = math.ceil(verdict.state.retry_after * 10) / 10
            raise RateLimitExceeded(
                f"Too many calls: try again in {seconds:g} seconds.",
                retryable=True,
                retry_after_seconds=seconds,
            )
        return await call_next(context)
