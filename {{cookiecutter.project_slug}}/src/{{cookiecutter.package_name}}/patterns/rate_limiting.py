"""Limit each caller: one agent in a loop must not block the server for all others.

By default, FastMCP's own limiter has one bucket for everyone, and it counts requests that are not
calls. This one counts calls of tools, resources and prompts, and lists separately, by caller, in
bounded memory. A refused call says when to retry. With `RATE_LIMIT_URL`, replicas share one
limit.
"""

import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from functools import cached_property
from typing import Any, Literal, Self

from fastmcp import FastMCP
from fastmcp.server.dependencies import get_context
from fastmcp.server.lifespan import lifespan
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from pydantic import Field, SecretStr, model_validator

from ..redis_client import (
    MEMORY,
    NAMESPACE,
    MemoryOrRedis,
    RedisServer,
    RedisUnavailable,
    digest,
    open_redis,
    refuse_sessions,
)
from ..runtime.caller import caller_name
from ..runtime.errors import ToolFailure
from ..runtime.readiness import readiness
from ..runtime.requests import LISTS, METHODS
from ..settings import Settings

SHARED_LIMIT = "shared_rate_limit"
MICROSECONDS = 1_000_000


class RateLimitingSettings(Settings):
    rate_limit_url: MemoryOrRedis = SecretStr(MEMORY)
    rate_limit_per_minute: int = Field(600, ge=1)
    rate_limit_burst: int = Field(100, ge=1)
    # In memory. On Redis, every key expires.
    rate_limit_max_callers: int = Field(10_000, ge=1)
    # While Redis is down: each replica limits by itself, or refuses every call.
    rate_limit_fail: Literal["open", "closed"] = "open"
    # Of one command on Redis, and how long no call asks Redis after a failure.
    rate_limit_timeout_seconds: float = Field(0.5, gt=0, le=10)
    rate_limit_pause_seconds: float = Field(2, ge=0, le=60)
    workers: int = Field(1, ge=1, le=64)
    http_sessions: bool = False

    @model_validator(mode="after")
    def _has_no_sessions(self) -> Self:
        url = self.rate_limit_url.get_secret_value()
        refuse_sessions(url, http_sessions=self.http_sessions)
        return self


class RateLimitExceeded(ToolFailure):
    """This caller has made too many calls."""


def _microseconds_per_call(per_minute: int) -> int:
    return max(1, 60 * MICROSECONDS // per_minute)


class LocalLimit:
    """The limit of one process (GCRA), for the `max_callers` that were seen last.

    `clock` returns nanoseconds.
    """

    def __init__(
        self,
        per_minute: int,
        burst: int,
        max_callers: int,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._step = _microseconds_per_call(per_minute)
        self._room = self._step * burst
        self._max_callers = max_callers
        self._clock = clock
        # When all calls of a caller would have been due, at an even rate.
        self._due: OrderedDict[str, int] = OrderedDict()

    async def wait(self, caller: str) -> float:
        """Count a call; return 0, or the seconds to wait if it is not allowed."""
        now = self._clock() // 1000
        due = max(self._due.get(caller, now), now) + self._step
        if due - now > self._room:
            return (due - now - self._room) / MICROSECONDS
        self._due[caller] = due
        self._due.move_to_end(caller)
        if len(self._due) > self._max_callers:
            self._due.popitem(last=False)
        return 0


# The same with the clock of Redis, for the caller of KEYS[1]. A failover or an administrator may
# set this clock back. All keys are then in the future, and would block their callers until then.
GCRA = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local step, room = tonumber(ARGV[1]), tonumber(ARGV[2])
local due = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
local was_set_back = due > now + room
if was_set_back then due = now + room elseif not (due > now) then due = now end
local wait = due + step - now - room
if wait <= 0 then due = due + step end
if wait <= 0 or was_set_back then
  redis.call('SET', KEYS[1], string.format('%.0f', due), 'PX', math.ceil((due - now) / 1000))
end
return math.max(wait, 0)
"""


class SharedLimit:
    """The limit that all replicas share: one key on Redis per caller."""

    def __init__(self, server: RedisServer, per_minute: int, burst: int) -> None:
        self._server = server
        step = _microseconds_per_call(per_minute)
        self._arguments = [step, step * burst]
        self._script = server.client.register_script(GCRA)

    async def wait(self, caller: str) -> float:
        """Count a call; return 0, or the seconds to wait if it is not allowed.

        Raises:
            RedisUnavailable: Redis did not count the call.
        """
        keys = [f"{NAMESPACE}:limit:v1:{digest(caller)}"]
        microseconds = await self._server.run(lambda: self._script(keys, self._arguments))
        return int(microseconds) / MICROSECONDS


class RateLimiting(Middleware):
    """Refuse a call beyond the caller's limit.

    In memory, each of several workers grants its part of the limit. The lifespan
    `shared_rate_limit` belongs to it.
    """

    def __init__(
        self,
        settings: RateLimitingSettings | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._chosen = settings
        self._clock = clock

    @cached_property
    def _settings(self) -> RateLimitingSettings:
        return self._chosen or RateLimitingSettings()

    @cached_property
    def _local(self) -> LocalLimit:
        settings = self._settings
        return LocalLimit(
            math.ceil(settings.rate_limit_per_minute / settings.workers),
            math.ceil(settings.rate_limit_burst / settings.workers),
            settings.rate_limit_max_callers,
            self._clock,
        )

    @cached_property
    def _is_shared(self) -> bool:
        return self._settings.rate_limit_url.get_secret_value() != MEMORY

    async def on_request(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        if context.method not in METHODS:
            return await call_next(context)
        # Clients list tools on their own, after a first call: that must not cost a call.
        kind = "list" if context.method in LISTS else "call"
        seconds = await self._wait(f"{kind} {caller_name()}")
        if seconds:
            seconds = math.ceil(seconds * 10) / 10
            raise RateLimitExceeded(
                f"Too many calls: try again in {seconds:g} seconds.",
                retryable=True,
                retry_after_seconds=seconds,
            )
        return await call_next(context)

    async def _wait(self, caller: str) -> float:
        if not self._is_shared:
            return await self._local.wait(caller)
        shared: SharedLimit = get_context().lifespan_context[SHARED_LIMIT]
        try:
            return await shared.wait(caller)
        except RedisUnavailable:
            if self._settings.rate_limit_fail == "closed":
                raise
            return await self._local.wait(caller)


@lifespan
async def shared_rate_limit(_server: FastMCP[Any]) -> AsyncIterator[dict[str, Any]]:
    """Create a client for the limit that replicas share, if configured. It connects later."""
    settings = RateLimitingSettings()
    url = settings.rate_limit_url.get_secret_value()
    if url == MEMORY:
        yield {}
        return
    closed = settings.rate_limit_fail == "closed"
    async with open_redis(
        "RATE_LIMIT_URL",
        url,
        seconds=settings.rate_limit_timeout_seconds,
        pause_seconds=settings.rate_limit_pause_seconds,
        meanwhile="Every call is refused." if closed else "Each replica limits calls by itself.",
    ) as server:
        limit = SharedLimit(server, settings.rate_limit_per_minute, settings.rate_limit_burst)
        with readiness.reporting("rate limit", server.ping, optional=not closed):
            yield {SHARED_LIMIT: limit}
