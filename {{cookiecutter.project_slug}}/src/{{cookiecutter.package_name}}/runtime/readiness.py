"""Is this process fit for traffic? A registry that asks only what is already open.

A probe that opens connections makes an outage worse, and one that hangs gets a healthy process
restarted. So a resource reports itself while it is open, checks run side by side, each with a
timeout, and the answer is kept for a second however often it is asked for.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import anyio

from .errors import ToolFailure

Check = Callable[[], Awaitable[Any]]
Status = Literal["starting", "ready", "unready", "draining"]


@dataclass(frozen=True)
class Report:
    """The verdict and, by name, `ok` or what is wrong."""

    status: Status
    checks: dict[str, str]


class Readiness:
    """Checks by name, and the stages of the process: starting, ready, draining.

    A check passes by returning. One that raises, or takes more than `timeout` seconds, fails.
    """

    def __init__(
        self,
        *,
        timeout: float = 2,
        cache_seconds: float = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._lock = anyio.Lock()
        self._checks: dict[str, Check] = {}
        self._cached: tuple[float, dict[str, str]] | None = None
        self._servers = 0
        self._draining = False

    def register(self, name: str, check: Check) -> None:
        """Run `check` with every report."""
        self._checks[name] = check
        self._cached = None

    @contextmanager
    def reporting(self, name: str, check: Check) -> Iterator[None]:
        """Run `check` with every report while the context is open, in the place of another."""
        before = self._checks.get(name)
        self.register(name, check)
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
        self._servers += 1
        try:
            yield
        finally:
            self._servers -= 1

    def drain(self) -> None:
        """Refuse new traffic from now on; calls in flight go on."""
        self._draining = True

    @property
    def draining(self) -> bool:
        return self._draining

    async def report(self) -> Report:
        """Return the verdict, at most `cache_seconds` old; draining shows at once."""
        if self._draining:
            return Report("draining", {})
        if not self._servers:
            return Report("starting", {})
        async with self._lock:
            now = self._clock()
            if self._cached is None or now - self._cached[0] >= self._cache_seconds:
                self._cached = (now, await self._run_checks())
            checks = self._cached[1]
        passed = all(result == "ok" for result in checks.values())
        return Report("ready" if passed else "unready", checks)

    async def _run_checks(self) -> dict[str, str]:
        results: dict[str, str] = {}

        async def run(name: str, check: Check) -> None:
            try:
                with anyio.fail_after(self._timeout):
                    await check()
                results[name] = "ok"
            except ToolFailure as failure:
                results[name] = str(failure)
            except Exception as error:  # noqa: BLE001 - whatever it is, the check has failed
                results[name] = type(error).__name__

        async with anyio.create_task_group() as tasks:
            for name, check in self._checks.items():
                tasks.start_soon(run, name, check)
        return dict(sorted(results.items()))


# One for the process, as signals and shutdown are.
readiness = Readiness()
