"""Retries: only for transient faults, after a random pause, and within limits."""

import asyncio
from collections.abc import Iterator
from typing import Any

import anyio
import httpx2 as httpx
import pytest

from {{ cookiecutter.package_name }}.patterns.retry import (
    Retrier,
    RetryBudget,
    RetryDeadlineExceeded,
    RetrySettings,
)


class EndlessBudget:
    async def take(self) -> bool:
        return True


class Sleep:
    """Returns immediately, and records the requested time."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


class Flaky:
    """A call that fails with each of `failures`, then answers."""

    def __init__(self, *failures: Exception) -> None:
        self._failures: Iterator[Exception] = iter(failures)
        self.attempts = 0

    async def __call__(self) -> str:
        self.attempts += 1
        for failure in self._failures:
            raise failure
        return "answer"


def make_retrier(sleep: Sleep | None = None, **settings: Any) -> Retrier:
    return Retrier(RetrySettings(**settings), EndlessBudget(), sleep or Sleep())


def status_error(
    status: int, method: str = "GET", retry_after: str | None = None
) -> httpx.HTTPStatusError:
    request = httpx.Request(method, "http://api.example.com")
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    response = httpx.Response(status, headers=headers, request=request)
    return httpx.HTTPStatusError(str(status), request=request, response=response)


async def test_a_transient_fault_is_retried_and_a_permanent_one_is_not() -> None:
    call = Flaky(status_error(503), status_error(404))
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        await make_retrier().run(call)
    assert call.attempts == 2


async def test_a_write_that_may_have_arrived_is_not_repeated() -> None:
    call = Flaky(status_error(503, "POST"))
    with pytest.raises(httpx.HTTPStatusError, match="503"):
        await make_retrier().run(call)
    assert call.attempts == 1


async def test_retry_after_in_seconds_is_respected() -> None:
    sleep = Sleep()
    await make_retrier(sleep).run(
        Flaky(status_error(429, retry_after="7"), status_error(503, retry_after="3"))
    )
    assert sleep.pauses == [7, 3]


async def test_the_deadline_cuts_an_attempt_that_hangs() -> None:
    ended = asyncio.Event()

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with (
        anyio.fail_after(5),
        pytest.raises(RetryDeadlineExceeded, match=r"within 0\.02 seconds") as raised,
    ):
        await make_retrier(retry_deadline_seconds=0.02).run(hang)
    assert ended.is_set()
    assert not raised.value.retryable
    assert str(raised.value).endswith("The work may have been done: check before you repeat it.")


async def test_retries_are_limited_during_an_outage() -> None:
    retrier = Retrier(RetrySettings(retry_attempts=4), RetryBudget(per_minute=30), Sleep())
    calls = [Flaky(*[status_error(503)] * 4) for _ in range(100)]
    results = await asyncio.gather(*map(retrier.run, calls), return_exceptions=True)
    assert all(isinstance(result, httpx.HTTPStatusError) for result in results)
    assert 105 <= sum(call.attempts for call in calls) <= 115  # a burst of 10, not 300
