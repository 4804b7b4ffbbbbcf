"""Contain what a request raises, so that only this request fails.

A tool that calls `sys.exit`, or awaits a task that was cancelled elsewhere, would end the server
and every in-flight call. An exception in a middleware outside of this server's own would reach the
client with its text.
"""

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from fastmcp.exceptions import FastMCPError, to_mcp_error
from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from pydantic import ValidationError

from .errors import unexpected


class ExitRefused(Exception):
    """A request has raised `SystemExit` or another exception that is meant to end the process."""


class StrayCancellation(Exception):
    """A request has raised `CancelledError` although it was not cancelled."""


def is_cancelled() -> bool:
    """Return whether the running task is being cancelled, not only something that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Contained(Coroutine[Any, Any, Any]):
    """A coroutine that raises `ExitRefused` for exceptions that would stop the event loop."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any]) -> None:
        self._coroutine = coroutine

    def send(self, value: Any, /) -> Any:
        try:
            return self._coroutine.send(value)
        except (SystemExit, KeyboardInterrupt) as error:
            raise ExitRefused from error

    def throw(self, *error: Any) -> Any:
        try:
            return self._coroutine.throw(*error)
        except (SystemExit, KeyboardInterrupt) as raised:
            raise ExitRefused from raised

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise TypeError("a contained coroutine can only run as a task")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)  # anyio and debuggers inspect `cr_frame` and others


def contained_task(
    loop: asyncio.AbstractEventLoop,
    coroutine: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
    /,
    **options: Any,
) -> "asyncio.Task[Any]":
    """Create a contained task. This is the loop's task factory, for tasks that tools start."""
    return asyncio.Task(Contained(coroutine), loop=loop, **options)


async def guard(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Turn an exception of a request into a protocol error, outside of every middleware."""
    try:
        return await call_next(ctx)
    except (MCPError, ValidationError):
        raise
    except FastMCPError as error:
        raise to_mcp_error(error) from error
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise to_mcp_error(unexpected(error)) from error
    except GeneratorExit:
        raise
    except BaseException as error:
        raise to_mcp_error(unexpected(error)) from error
