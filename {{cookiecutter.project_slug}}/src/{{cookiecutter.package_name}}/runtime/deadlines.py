"""Answer every request within a deadline.

Clients give up after about 60 seconds without knowing why, so the server answers earlier. A plain
`def` tool runs in a thread, which cannot be stopped: the server answers anyway and leaves the
thread running. If too many such threads are running, it refuses to start another.
"""

import asyncio
import logging
from collections import Counter
from functools import cached_property
from typing import Any

import anyio
from anyio.to_thread import current_default_thread_limiter
from fastmcp.exceptions import ToolError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from mcp import MCPError
from pydantic import Field

from ..settings import Settings
from .containment import Contained, ExitRefused, StrayCancellation
from .errors import ToolFailure
from .requests import METHODS, current_request, may_run_twice, name_of

deadline_log = logging.getLogger(__name__)

# How long a cancelled call may clean up before it counts as abandoned.
CLEAN_UP_SECONDS = 0.5


class DeadlineSettings(Settings):
    # Also applies to resources, prompts and lists.
    tool_deadline_seconds: float = Field(50, gt=0, lt=60)
    max_abandoned_calls: int = Field(20, ge=1, le=1000)


class DeadlineExceeded(ToolFailure):
    """The call did not finish in time.

    Retryable only if the call can be repeated without doing its work twice.
    """


class TooManyAbandoned(DeadlineExceeded):
    """The call was not started: earlier calls of the same kind are still running."""


class Deadlines(Middleware):
    """Answer a request within `seconds` (default: `TOOL_DEADLINE_SECONDS`).

    A call that does not end when it is cancelled is abandoned. At most `max_abandoned` of them
    run at a time (default: `MAX_ABANDONED_CALLS`).
    """

    def __init__(self, seconds: float | None = None, max_abandoned: int | None = None) -> None:
        self._chosen = seconds
        self._chosen_abandoned = max_abandoned
        self._abandoned: Counter[str] = Counter()

    @cached_property
    def _seconds(self) -> float:
        return self._chosen or DeadlineSettings().tool_deadline_seconds

    @cached_property
    def _max_abandoned(self) -> int:
        return self._chosen_abandoned or DeadlineSettings().max_abandoned_calls

    async def on_request(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        if context.method not in METHODS:
            return await call_next(context)
        if self._abandoned:
            await self._refuse_what_hangs(context)
        scope = anyio.CancelScope()
        loop = asyncio.get_running_loop()
        ended = loop.create_future()

        def end(_call: object = None) -> None:
            if not ended.done():
                ended.set_result(None)

        async def run() -> Any:
            current_request.set(context)  # in this task only, so there is nothing to reset
            try:
                with scope:
                    return await call_next(context)
            finally:
                end()  # the task's last step: a callback would run one iteration of the loop later

        # A separate task, so that the answer does not wait for a thread that hangs. Created
        # directly, because the loop's task factory would wrap it a second time.
        call = asyncio.Task(Contained(run()), loop=loop)
        call.add_done_callback(end)  # for a task that is cancelled before its first step
        timer = loop.call_later(self._seconds, end)
        try:
            await ended
        finally:
            timer.cancel()
            if not call.done():
                await self._stop(call, scope, context)
        if not scope.cancel_called:
            return await self._result(call, context)
        if call.done() and not scope.cancelled_caught and _has_answer(call):
            return call.result()
        raise await self._exceeded(context, ended=call.done())

    async def _result(self, call: "asyncio.Task[Any]", context: MiddlewareContext[Any]) -> Any:
        if call.cancelled():
            raise StrayCancellation
        try:
            return call.result()
        except ToolError as error:
            if _is_tool_timeout(error):
                raise await self._exceeded(context, ended=True, limit=" in time") from error
            raise
        except Exception:
            raise
        except BaseException as error:
            raise ExitRefused from error

    async def _stop(
        self, call: "asyncio.Task[Any]", scope: anyio.CancelScope, context: MiddlewareContext[Any]
    ) -> None:
        """Cancel a call, and abandon it if it keeps running."""
        scope.cancel()
        name = str(context.method)
        try:
            with anyio.CancelScope(shield=True):
                name = await name_of(context)
                await asyncio.wait([call], timeout=CLEAN_UP_SECONDS)
        finally:
            if not call.done():
                self._abandon(call, name)

    def _abandon(self, call: "asyncio.Task[Any]", name: str) -> None:
        deadline_log.warning("%s is still running although its call has ended", name)
        self._abandoned[name] += 1
        # Its thread is one of the 40 that all `def` tools share: allow one more.
        threads = current_default_thread_limiter()
        threads.total_tokens += 1

        def ended(_call: "asyncio.Task[Any]") -> None:
            threads.total_tokens -= 1
            self._abandoned[name] -= 1
            self._abandoned = +self._abandoned  # without those at 0
            _has_answer(call)  # retrieves its exception, which nothing else does
            deadline_log.warning("%s has ended after its call", name)

        call.add_done_callback(ended)

    async def _refuse_what_hangs(self, context: MiddlewareContext[Any]) -> None:
        name = await name_of(context)
        if name in self._abandoned and self._abandoned.total() >= self._max_abandoned:
            raise TooManyAbandoned(
                f"{name} was not started: {self._abandoned[name]} earlier calls of it are still"
                " running after their deadline."
            )

    async def _exceeded(
        self, context: MiddlewareContext[Any], *, ended: bool, limit: str = ""
    ) -> DeadlineExceeded:
        name = await name_of(context)
        limit = limit or f" within {self._seconds:g} seconds"
        if not ended:
            return DeadlineExceeded(
                f"{name} did not finish{limit}. It is still running and may complete."
            )
        exceeded = DeadlineExceeded(f"{name} did not finish{limit}.", retryable=True)
        if not await may_run_twice(context):
            exceeded.put_in_doubt()
        return exceeded


def _has_answer(call: "asyncio.Task[Any]") -> bool:
    return not call.cancelled() and call.exception() is None


def _is_tool_timeout(error: ToolError) -> bool:
    """Recognise a timeout of FastMCP's own `@tool(timeout=...)`, whose message is masked."""
    cause = error.__cause__
    return isinstance(cause, MCPError) and "timed out" in str(cause)
