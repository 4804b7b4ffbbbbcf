"""The tests are spread over the processors: every test runs once, and the proof is awaited where it was begun."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from matrix import page

from . import spreading
from .combinations import DECLARATION
from .spreading import PROVEN, PROVER, SLOW, Schedule

IDS = [
    *(f"tests/{SLOW[0]}.py::test_{number}" for number in range(3)),
    *(
        f"tests/test_{name}.py::test_{number}"
        for name in ("docs", "fold", "load", "bounds")
        for number in range(2)
    ),
    *(f"tests/test_matrix.py::test_a_combination_holds[{number}]" for number in range(3)),
]


class Node:
    """A process that runs its tests immediately."""

    def __init__(self, name: str) -> None:
        self.gateway = SimpleNamespace(id=name)
        self.shutting_down = False
        self.given: list[str] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += [IDS[index] for index in indices]

    def shutdown(self) -> None:
        self.shutting_down = True


def run_all(config: pytest.Config, *, proven_after: int) -> list[Node]:
    """Let two processes, and two spare ones, run their tests in turn, one at a time."""
    nodes = [Node(f"gw{number}") for number in range(4)]
    schedule: Any = Schedule(config, None, processors=2)
    schedule.numnodes = len(nodes)
    for node in nodes:
        schedule.add_node(node)
        schedule.add_node_collection(node, IDS)
    schedule.schedule()
    done = {node.gateway.id: 0 for node in nodes}
    while any(done[node.gateway.id] < len(node.given) for node in nodes):
        for node in nodes:
            number = done[node.gateway.id]
            if number < len(node.given):
                done[node.gateway.id] += 1
                properties = [list(PROVEN)] if sum(done.values()) > proven_after else []
                schedule.pytest_runtest_logreport(SimpleNamespace(user_properties=properties))
                schedule.mark_test_complete(node, IDS.index(node.given[number]))
    assert all(node.shutting_down for node in nodes)
    return nodes


@pytest.fixture(params=[0, 4, len(IDS)])
def nodes(request: pytest.FixtureRequest) -> list[Node]:
    config: Any = SimpleNamespace(
        option=SimpleNamespace(loadscopereorder=True, verbose=0),
        getvalue=lambda _: ["popen"] * 4,
        hook=request.config.hook,
    )
    return run_all(config, proven_after=request.param)


def test_each_test_runs_in_one_process(nodes: list[Node]) -> None:
    assert sorted(test for node in nodes for test in node.given) == sorted(IDS)


def test_the_tests_that_wait_for_the_proof_run_last_in_the_process_that_has_begun_it(
    nodes: list[Node],
) -> None:
    (prover,) = (node for node in nodes if node.gateway.id == PROVER)
    assert prover.given[-3:] == IDS[-3:]


def test_a_file_runs_in_one_process_and_the_tests_of_a_slow_file_in_several(nodes: list[Node]) -> None:
    files = [{test.partition("::")[0] for test in node.given} for node in nodes]
    in_several = {file for file in set().union(*files) if sum(file in one for one in files) > 1}
    assert in_several == {f"tests/{SLOW[0]}.py"}


@pytest.mark.parametrize(("nodes", "run"), [(0, True), (len(IDS), False)], indirect=["nodes"])
def test_the_spare_processes_run_tests_when_everything_is_proven(nodes: list[Node], run: bool) -> None:
    assert any(node.given for node in nodes[2:]) == run


def test_the_longest_files_of_the_last_run_start_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        spreading, "last_run", lambda: {"tests/test_fold.py": 30.0, "tests/test_docs.py": 2.0}
    )
    items: list[Any] = [
        SimpleNamespace(path=Path(file), nodeid=f"{file}::test")
        for file in (
            "tests/test_matrix.py",
            "tests/test_docs.py",
            "tests/test_fold.py",
            f"tests/{SLOW[0]}.py",
        )
    ]
    assert spreading.in_order(items) == items[::-1]


def test_the_page_shows_what_takes_how_long_the_longest_first() -> None:
    figures = {
        "cpu_seconds": {"rendering": 20},
        "command": {"cpu_seconds": {"tests/test_spreading.py": 30.0, "tests/test_gone.py": 2.0}},
    }
    _, _, *rows = page.profile(figures, DECLARATION.template)
    assert [row.split(" | ")[0] for row in rows] == [
        "| `tests/test_spreading.py`",
        "| the proof: rendering",
        "| `tests/test_gone.py`",
    ]
    assert "every test runs once" in rows[0]
