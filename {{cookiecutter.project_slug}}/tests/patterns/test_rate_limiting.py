"""Every caller has a limit, and the error says when to retry."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.server.auth import AccessToken
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser

from {{ cookiecutter.package_name }}.patterns.rate_limiting import (
    RateLimiting,
    RateLimitingSettings,
)


class Clock:
    """The limiter's clock, which a test advances."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> int:
        return int(self.seconds * 1e9)


async def echo(text: str = "") -> str:
    return text


def server(*, burst: int, per_minute: int = 60, clock: Clock | None = None) -> FastMCP[Any]:
    limits = RateLimitingSettings(rate_limit_burst=burst, rate_limit_per_minute=per_minute)
    return FastMCP("test", tools=[echo], middleware=[RateLimiting(limits, clock or Clock())])


async def refused(client: Client[Any]) -> bool:
    result = await client.call_tool("echo", raise_on_error=False)
    return result.is_error


@contextmanager
def called_by(client_id: str, subject: str | None = None) -> Iterator[None]:
    token = AccessToken(token="secret", client_id=client_id, scopes=[], subject=subject)
    reset = auth_context_var.set(AuthenticatedUser(token))
    try:
        yield
    finally:
        auth_context_var.reset(reset)


async def test_calls_beyond_the_burst_are_refused() -> None:
    async with Client(server(burst=3)) as client:
        assert [await refused(client) for _ in range(5)] == [False] * 3 + [True] * 2


async def test_a_refused_caller_can_retry_after_the_stated_time() -> None:
    clock = Clock()
    async with Client(server(burst=1, per_minute=20, clock=clock)) as client:
        assert not await refused(client)
        clock.seconds += 0.5
        refusal = await client.call_tool("echo", raise_on_error=False)
        assert refusal.is_error
        (said,) = re.findall(r"try again in ([\d.]+) seconds", refusal.content[0].text)
        assert float(said) == pytest.approx(2.5, abs=0.1)

        clock.seconds += float(said) - 0.2
        assert await refused(client)
        clock.seconds += 0.2
        assert not await refused(client)


async def test_each_caller_has_its_own_limit() -> None:
    async with Client(server(burst=1)) as client:
        assert not await refused(client)
        for caller in (("one app",), ("other app",), ("one app", "ada"), ("one app", "grace")):
            with called_by(*caller):
                assert [await refused(client), await refused(client)] == [False, True]
        assert await refused(client)
