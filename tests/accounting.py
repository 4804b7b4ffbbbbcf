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
        self.by_file: dict[str, float] = defaultdict(float)
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
        if report.when == "teardown":
            measured = dict(report.user_properties)
            self.by_file[report.nodeid.partition("::")[0]] += float(str(measured.get(CPU_SECONDS, 0)))

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
        longest = sorted(self.by_file.items(), key=lambda item: -item[1])
        return {
            "seconds": round(time.monotonic() - self.started),
            "peak_mebibytes": self.peak.mebibytes,
            "cpu_seconds": {file: round(seconds, 1) for file, seconds in longest if seconds >= 1},
        }


def cpu_seconds() -> float:
    """Return the processor time of this process, of its children that have ended, and of the suites it has started."""
    return sum(os.times()[:4]) + project.suites_cpu_seconds()
