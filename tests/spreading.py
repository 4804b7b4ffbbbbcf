"""Spreads the tests over processes, one for each processor.

One process runs all tests of a file, except for the slow files. The first process also proves the combinations, and runs
the tests that wait for that proof in the end.
"""

import os

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

PROVER = "gw0"
WAITS_FOR_THE_PROOF = "test_matrix"
# These files start first. Their tests share nothing that is expensive to make, so that any process can run each.
SLOW = ("test_tutorial", "test_recipe", "test_checklist", "test_continuing")


def rank(item: pytest.Item) -> int:
    """Return when a test runs: the slow files first, those that wait for the proof last."""
    if item.path.stem == WAITS_FOR_THE_PROOF:
        return 2
    return 0 if item.path.stem in SLOW else 1


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
    return 0 if asks_for_some or config.option.collectonly else os.cpu_count() or 1


class Schedule(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a file to each process that is idle, in the order of the files."""

    def __init__(self, config: pytest.Config, log: Producer | None) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return nodeid if file.rpartition("/")[2].removesuffix(".py") in SLOW else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        if WAITS_FOR_THE_PROOF in next(iter(self.workqueue)) and node.gateway.id != PROVER:
            node.shutdown()
        else:
            super()._assign_work_unit(node)
