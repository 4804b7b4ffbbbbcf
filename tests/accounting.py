"""Measures the test command: the processor time of each test file, the time and memory of the whole."""

import os
import time
from collections import defaultdict
from typing import Any

import pytest

from . import project, spreading
from .memory import Peak, peak_of_this_process

CPU_SECONDS = "cpu_seconds"


class Accounting:
    """The pytest plugin that measures. Processes that run tests send their figures to the one that hands them out."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.started = time.monotonic()
        self.test_started = 0.0
        self.cpu_seconds_of: dict[str, float] = defaultdict(float)
        self.seconds_of: dict[str, float] = defaultdict(float)
        self.figures: dict[str, Any] | None = None
        self._peak = peak_of_this_process()
        self.peak = Peak()

    def pytest_sessionstart(self) -> None:
        if not spreading.is_worker(self.config):
            self.peak = self._peak.__enter__()

    def pytest_runtest_logstart(self) -> None:
        self.test_started = cpu_seconds()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        # The last of those that wait for the proof would be charged with all of it.
        if call.when == "teardown" and item.path.stem != spreading.WAITS_FOR_THE_PROOF:
            item.user_properties.append((CPU_SECONDS, cpu_seconds() - self.test_started))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file = report.nodeid.partition("::")[0]
        self.seconds_of[file] += report.duration
        if report.when == "teardown":
            measured = dict(report.user_properties)
            self.cpu_seconds_of[file] += float(str(measured.get(CPU_SECONDS, 0)))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over the figures of the proof from the process that has made them."""
        self.figures = getattr(node, "workeroutput", {}).get("figures", self.figures)

    def keep(self, figures: dict[str, Any]) -> None:
        """Keep the figures of the proof until all tests have ended."""
        if spreading.is_worker(self.config):
            self.config.workeroutput["figures"] = figures  # type: ignore[attr-defined]
        else:
            self.figures = figures

    def command(self) -> dict[str, Any]:
        """Return the figures of the command; call it in the end."""
        self._peak.__exit__(None, None, None)
        return {
            "seconds": round(time.monotonic() - self.started),
            "peak_mebibytes": self.peak.mebibytes,
            "cpu_seconds": longest_first(self.cpu_seconds_of),
            "seconds_by_file": longest_first(self.seconds_of),
        }


def longest_first(seconds: dict[str, float]) -> dict[str, float]:
    """Return the files that take a second or more."""
    longest = sorted(seconds.items(), key=lambda item: -item[1])
    return {file: round(taken, 1) for file, taken in longest if taken >= 1}


def cpu_seconds() -> float:
    """Return the processor time of this process, of its children that have ended, and of the suites it has started."""
    return sum(os.times()[:4]) + project.suites_cpu_seconds()
