"""Spreads the tests over processes.

One process runs all tests of a file, except for the slow files. The first process also proves the combinations, and runs
the tests that wait for that proof in the end. Until everything is proven, one process for each processor runs tests.
After that, there is one more: tests of servers wait for half of their time.
"""

import json
import os
from typing import Any

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from .combinations import TEMPLATE

PROVER = "gw0"
WAITS_FOR_THE_PROOF = "test_matrix"
# These files start first. Their tests share nothing that is expensive to make, so that any process can run each.
SLOW = ("test_tutorial", "test_recipe", "test_checklist", "test_continuing")
# The property of a test's report: everything was proven when the test ended.
PROVEN = ("proven", True)
PROCESSORS = os.cpu_count() or 1


def last_run() -> dict[str, float]:
    """Return how many seconds the tests of each file took when everything was last proven."""
    figures: dict[str, Any] = json.loads((TEMPLATE / "docs" / "proof.json").read_text(encoding="utf-8"))
    return dict(figures.get("command", {}).get("seconds_by_file", {}))


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests as they start: those of slow files, of the longest file, and at last those that wait for the proof."""
    seconds = last_run()

    def rank(item: pytest.Item) -> tuple[int, float]:
        if item.path.stem == WAITS_FOR_THE_PROOF:
            return 2, 0
        return 0 if item.path.stem in SLOW else 1, -seconds.get(item.nodeid.partition("::")[0], 0)

    return sorted(items, key=rank)


def is_prover(config: pytest.Config) -> bool:
    """Is this the process that proves the combinations? Where the tests are not spread, it is."""
    given = getattr(config, "workerinput", {"workerid": PROVER})
    return bool(given["workerid"] == PROVER)


def is_worker(config: pytest.Config) -> bool:
    """Does another process hand out the tests of this one?"""
    return hasattr(config, "workerinput")


def process_count(config: pytest.Config) -> int:
    """Return how many processes run the tests: none but this one if only some tests are asked for."""
    asks_for_some = config.args_source != pytest.Config.ArgsSource.TESTPATHS or config.option.keyword
    return 0 if asks_for_some or config.option.collectonly else PROCESSORS + 1


class Schedule(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a file to each process that is idle, in the order of the files. As a plugin, it reads the reports."""

    def __init__(self, config: pytest.Config, log: Producer | None, processors: int = PROCESSORS) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False
        self.processors = processors
        self.proven = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.proven = self.proven or PROVEN in map(tuple, report.user_properties)

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        super().mark_test_complete(node, item_index, duration)
        for other in self.nodes:
            if self._is_spare(other) and not self.assigned_work[other]:
                self._reschedule(other)
                self._reschedule(other)  # a process that runs a test has the next one waiting

    def _is_spare(self, node: WorkerController) -> bool:
        return int(node.gateway.id.removeprefix("gw")) >= self.processors

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if file.rpartition("/")[2].removesuffix(".py") in SLOW else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        if WAITS_FOR_THE_PROOF in next(iter(self.workqueue)) and node.gateway.id != PROVER:
            node.shutdown()
        elif self.proven or not self._is_spare(node):
            super()._assign_work_unit(node)
