"""Retry transient faults: a restarting upstream, a dropped connection, a full queue.

Retries can repeat work and make an outage worse. So only transient faults are retried, and only
for requests that are idempotent or have an idempotency key. Pauses grow exponentially with jitter
and respect `Retry-After`. A deadline limits each call, and a budget limits the whole process.
"""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Protocol, TypeVar

import anyio
import httpx2 as httpx
from fastmcp.dependencies import Shared
from pydantic import Field
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)
from tenacity.asyncio import retry_if_exception

from ..runtime.errors import ToolFailure
from ..runtime.requests import current_may_run_twice
from ..settings import Settings

# RFC 9110, section 9.2.2.
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
TRANSIENT_STATUSES = frozenset({429, 502, 503, 504})

Answer = TypeVar("Answer")


class RetrySettings(Settings):
    retry_attempts: int = Field(4, ge=1, le=10)
    retry_first_pause_seconds: float = Field(0.2, gt=0)
    retry_longest_pause_seconds: float = Field(10, gt=0)
    retry_deadline_seconds: float = Field(30, gt=0, lt=60)
    retry_budget_per_minute: int = Field(60, ge=1)


class RetryDeadlineExceeded(ToolFailure):
    """No attempt succeeded within the total time."""


class Budget(Protocol):
    async def take(self) -> bool:
        """Take one retry; return whether there was one left."""


class RetryBudget:
    """A token bucket of retries: `per_minute`, with a burst of a third of it."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_minute / 60
        self._most = max(1, per_minute // 3)
        self._left = float(self._most)
        self._clock = clock
        self._counted = clock()

    async def take(self) -> bool:
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._counted) * self._per_second)
        self._counted = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Retrier:
    """Retries a call while its failure is transient."""

    def __init__(
        self,
        settings: RetrySettings,
        budget: Budget,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._settings = settings
        self._budget = budget
        self._sleep = sleep
        # Full jitter: a random pause from 0 to the current maximum, so clients spread out.
        self._jitter = wait_random_exponential(
            multiplier=settings.retry_first_pause_seconds, max=settings.retry_longest_pause_seconds
        )

    async def run(self, call: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return what `call` returns.

        If `call` writes, create its idempotency key outside, so that all attempts send the same
        key: `run(partial(api.post, "issues", json=issue, idempotency_key=key))`.

        Raises:
            RetryDeadlineExceeded: the deadline passed during an attempt. Retryable only in a
                resource, a prompt, or a tool that is annotated as read-only or idempotent.
            Exception: the last failure, if it is not transient, or attempts or budget are used up.
        """
        deadline = self._settings.retry_deadline_seconds
        attempts = AsyncRetrying(  # one per call: a shared one mixes up concurrent calls
            retry=retry_if_exception(self._should_retry),
            wait=self._pause,
            stop=stop_after_attempt(self._settings.retry_attempts) | stop_before_delay(deadline),
            sleep=self._sleep,
            reraise=True,
        )
        in_doubt = False

        async def attempt() -> Answer:
            nonlocal in_doubt
            try:
                return await call()
            except ToolFailure as failure:
                if in_doubt:  # since an earlier attempt, which this failure does not reflect
                    failure.put_in_doubt()
                in_doubt = failure.in_doubt
                raise

        with anyio.move_on_after(deadline):
            return await attempts(attempt)
        exceeded = RetryDeadlineExceeded(f"No answer within {deadline:g} seconds.", retryable=True)
        if in_doubt or not await current_may_run_twice():
            exceeded.put_in_doubt()
        raise exceeded

    async def _should_retry(self, error: BaseException) -> bool:
        return is_transient(error) and await self._budget.take()

    def _pause(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return max(self._jitter(state), retry_after_seconds(error))


def is_transient(error: BaseException) -> bool:
    """Return whether the same request may succeed soon and is safe to send twice.

    Checks the HTTP error itself, or the one that `error` was raised from. The `extensions` of a
    request contain its idempotency key.
    """
    match _http_error(error):
        case httpx.PoolTimeout():
            return False  # our own pool is full: another request would wait in the same queue
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return True  # nothing was sent
        case httpx.HTTPStatusError(request=request, response=response):
            passing = response.status_code in TRANSIENT_STATUSES
        case (
            httpx.TimeoutException(request=request)
            | httpx.NetworkError(request=request)
            | httpx.RemoteProtocolError(request=request)
        ):
            passing = True
        case _:
            return False
    repeatable = request.method in IDEMPOTENT_METHODS or "idempotency_key" in request.extensions
    return passing and repeatable


def retry_after_seconds(error: BaseException | None) -> float:
    """Return the delay in `Retry-After` in seconds (RFC 9110, section 10.2.3), else 0."""
    error = _http_error(error)
    if not isinstance(error, httpx.HTTPStatusError):
        return 0
    value = error.response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    with suppress(TypeError, ValueError, OverflowError):
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    return 0


def _http_error(error: BaseException | None) -> BaseException | None:
    wrapped = error.__cause__ if error else None
    return wrapped if isinstance(wrapped, httpx.HTTPError) else error


def retrier() -> Retrier:
    settings = RetrySettings()
    return Retrier(settings, RetryBudget(settings.retry_budget_per_minute))


Retries = Annotated[Retrier, Shared(retrier)]
