"""Can this process serve calls? A registry of checks of the resources that are open.

A probe that opens connections makes an outage worse, and a probe that hangs gets a healthy process
restarted. So resources register while they are open, checks run concurrently with a time limit,
and results are cached for a second. All replicas share an engine. If its outage made each of them
unready, the load balancer would have none left, also for calls that do not need the engine. So a
check that fails after it has passed once only makes the process degraded.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import anyio

from .errors import ToolFailure

Check = Callable[[], Awaitable[Any]]
Status = Literal["starting", "ready", "degraded", "unready", "draining"]


@dataclass(frozen=True)
class Report:
    """The verdict and, by name, `ok` or what is wrong."""

    status: Status
    checks: dict[str, str]


class Registered(NamedTuple):
    check: Check
    optional: bool


class Readiness:
    """Checks by name, and the stages of the process: starting, ready, draining.

    A check passes by returning. It fails if it raises, or takes more than `timeout` seconds.
    """

    def __init__(
        self,
        *,
        timeout: float = 0.8,  # Kubernetes waits one second for a probe
        cache_seconds: float = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._lock = anyio.Lock()
        self._checks: dict[str, Registered] = {}
        self._passed_once: set[str] = set()
        self._late: dict[str, asyncio.Task[None]] = {}
        self._cached: tuple[float, dict[str, str]] | None = None
        self._servers = 0
        self._draining = False

    def register(
        self, name: str, check: Check, *, optional: bool = False, has_passed: bool = False
    ) -> None:
        """Run `check` with every report.

        The server works without what is `optional`. What `has_passed` already, as a resource that
        has just been opened, makes the process at most degraded.
        """
        self._checks[name] = Registered(check, optional)
        if has_passed:
            self._passed_once.add(name)
        self._cached = None

    @contextmanager
    def reporting(
        self, name: str, check: Check, *, optional: bool = False, has_passed: bool = False
    ) -> Iterator[None]:
        """Run `check` while the context is open, instead of an earlier check of that name."""
        before = self._checks.get(name)
        self.register(name, check, optional=optional, has_passed=has_passed)
        try:
            yield
        finally:
            if before is None:
                del self._checks[name]
            else:
                self._checks[name] = before
            self._cached = None

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Be ready while the context is open."""
        if not self._servers:
            self._passed_once.clear()
        self._servers += 1
        try:
            yield
        finally:
            self._servers -= 1

    def drain(self) -> None:
        """Report draining from now on; in-flight calls continue."""
        self._draining = True

    @property
    def draining(self) -> bool:
        return self._draining

    async def report(self, *, strict: bool = False) -> Report:
        """Return the verdict, at most `cache_seconds` old; draining shows immediately.

        A failed check makes the process degraded. It makes the process unready if it has never
        passed, or if `strict` is set, unless it is optional.
        """
        if self._draining:
            return Report("draining", {})
        if not self._servers:
            return Report("starting", {})
        async with self._lock:
            now = self._clock()
            if self._cached is None or now - self._cached[0] >= self._cache_seconds:
                self._cached = (now, await self._run_checks())
            results = self._cached[1]
        return Report(self._verdict(results, strict), results)

    def _verdict(self, results: dict[str, str], strict: bool) -> Status:
        failed = {name for name, result in results.items() if result != "ok"}
        optional = {name for name, registered in self._checks.items() if registered.optional}
        excused = optional if strict else optional | self._passed_once
        if failed - excused:
            return "unready"
        return "degraded" if failed else "ready"

    async def _run_checks(self) -> dict[str, str]:
        results = {}
        tasks = {}
        for name, registered in self._checks.items():
            late = self._late.pop(name, None)
            if late is not None and not late.done():  # do not let hanging checks accumulate
                self._late[name] = late
                results[name] = self._no_response
            else:
                tasks[name] = asyncio.create_task(_run(registered.check))
        try:
            if tasks:
                await asyncio.wait(tasks.values(), timeout=self._timeout)
        finally:
            for name, task in tasks.items():
                if not task.done():
                    task.cancel()
                    self._late[name] = task
        for name, task in tasks.items():
            results[name] = _outcome(task) if task.done() else self._no_response
            if results[name] == "ok":
                self._passed_once.add(name)
        return dict(sorted(results.items()))

    @property
    def _no_response(self) -> str:
        return f"No response within {self._timeout:g} seconds."


async def _run(check: Check) -> None:
    await check()


def _outcome(task: asyncio.Task[None]) -> str:
    """Return `ok`, a readable failure's sentence, or the type of an error."""
    if task.cancelled():
        return "CancelledError"
    error = task.exception()
    if error is None:
        return "ok"
    return str(error) if isinstance(error, ToolFailure) else type(error).__name__


# One for the process, like its signals and its shutdown.
readiness = Readiness()
