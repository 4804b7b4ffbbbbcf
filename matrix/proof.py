"""Proves combinations of a template's prompts: renders, lints, types and tests them, and says what was shown."""

import os
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple

from . import linting, typechecking
from .closures import Closures, ProjectClosures
from .folding import Folding
from .forkserver import Job, Outcome
from .progress import Progress
from .rendering import render
from .template import EACH, Combination, Declaration
from .trees import Store, Tree, folders, memory
from .workers import Task, run_all, workers

CHUNK = 16


class Problem(NamedTuple):
    """What is wrong with a combination, and the command that shows it in its project."""

    text: str
    command: str


@dataclass
class Proof:
    """What a run has shown."""

    declaration: Declaration
    combinations: Sequence[Combination]
    problems: dict[Combination, list[Problem]] = field(default_factory=lambda: defaultdict(list))
    closures: dict[str, int] = field(default_factory=dict)
    tests: dict[Combination, int] = field(default_factory=dict)
    files: int = 0
    modules: int = 0
    runs: int = 0
    tests_run: int = 0
    folded: int = 0
    in_full: list[str] = field(default_factory=list)
    cpu: float = 0
    # The projects, and the folder of their contents.
    trees: dict[Combination, Tree] = field(default_factory=dict)
    contents: Path = Path()

    def green(self) -> list[Combination]:
        return [combination for combination in self.combinations if not self.problems.get(combination)]

    def report(self, combination: Combination) -> str:
        """Return what is wrong with a combination, in what it differs from one that is green, and how to see it."""
        problems = self.problems.get(combination, [])
        if not problems:
            return ""
        texts = [text for text, _ in dict.fromkeys(problems)]
        first = next(other for other in self.combinations if self.problems.get(other) == problems)
        if first != combination:
            return f"The same as [{self.declaration.name(first)}]: {texts[0].splitlines()[0]}"
        command = self.declaration.reproduce(combination, problems[0].command)
        return "\n".join([*texts, self.difference(combination), f"To see it: {command}"])

    def difference(self, combination: Combination) -> str:
        green = self.green()
        if not green:
            return "No combination is green."
        nearest = min(green, key=lambda other: len(combination ^ other))
        changes = [
            f"{name} {'on' if name in combination else 'off'}"
            for name in self.declaration.patterns
            if name in combination ^ nearest
        ]
        return f"Green is {self.declaration.name(nearest)}; here {', '.join(changes)}."

    def unexpected_closures(self) -> list[str]:
        """Return the test files with more closures than the template states, or with none stated."""
        stated = self.declaration.closures
        found = [
            f"{file}: how many closures it has is not stated" for file in self.closures if file not in stated
        ]
        for file, count in self.closures.items():
            if 0 < stated.get(file, 0) < count:
                found.append(f"{file}: {count} closures, and {stated[file]} are stated")
        return found

    def tests_per_combination(self) -> tuple[int, int, int]:
        """Return the least, the median and the most tests that cover a combination."""
        counts = list(self.tests.values()) or [0]
        return min(counts), int(median(counts)), max(counts)


def render_chunk(template: Path, store: Path, chunk: list[dict[str, object]]) -> list[Tree | str]:
    """Render some projects in a process of their own; return why there is none where there is none."""
    tempfile.tempdir = memory()
    kept = Store(store)
    trees: list[Tree | str] = []
    for answers in chunk:
        try:
            trees.append(kept.add(render(template, answers)))
        except RuntimeError as error:
            trees.append(str(error))
    return trees


def render_all(
    declaration: Declaration, combinations: Collection[Combination], store: Store, done: Callable[[int], None]
) -> dict[Combination, Tree | str]:
    """Render every combination, on all processors; return why there is no project where there is none."""
    every = list(combinations)
    chunks = [every[start : start + CHUNK] for start in range(0, len(every), CHUNK)]
    trees: dict[Combination, Tree | str] = {}
    known: dict[str, str] = {}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        futures: dict[Future[list[Tree | str]], list[Combination]] = {}
        for chunk in chunks:
            answers = [declaration.answers_for(combination) for combination in chunk]
            futures[pool.submit(render_chunk, declaration.template, store.folder, answers)] = chunk
        for future in as_completed(futures):
            for combination, tree in zip(futures[future], future.result(), strict=True):
                trees[combination] = tree
                if not isinstance(tree, str):
                    # Equal texts once: there are a quarter of a million of them.
                    trees[combination] = {
                        known.setdefault(path, path): known.setdefault(identity, identity)
                        for path, identity in tree.items()
                    }
            done(len(futures[future]))
    return {combination: trees[combination] for combination in every}


def prove(
    declaration: Declaration,
    combinations: Sequence[Combination],
    folder: Path,
    *,
    progress: Progress | None = None,
    dedup: bool = True,
    processes: bool = True,
    count: int | None = None,
) -> Proof:
    """Prove `combinations`; `folder` is an empty folder for what the run needs.

    Without `dedup` every suite runs in every project. Without `processes` no test that starts processes runs.
    """
    run = Run(declaration, list(combinations), folder, progress or Progress(), dedup, processes)
    run.render()
    run.compare_files()
    run.compare_folds()
    run.find_closures()
    with ThreadPoolExecutor(1) as beside:
        static = beside.submit(run.check_statically)
        run.run_tests(count or (os.cpu_count() or 1) + 1)
        static.result()
    run.progress.end()
    return run.proof


@dataclass
class Run:
    """One run, step by step."""

    declaration: Declaration
    combinations: list[Combination]
    folder: Path
    progress: Progress
    dedup: bool
    processes: bool
    trees: dict[Combination, Tree] = field(default_factory=dict)
    projects: dict[Combination, ProjectClosures] = field(default_factory=dict)
    # By test file and closure, the combinations that have it.
    sharing: dict[tuple[str, str], list[Combination]] = field(default_factory=lambda: defaultdict(list))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.chosen = set(self.combinations)
        self.proof = Proof(self.declaration, self.combinations)
        (self.folder / "contents").mkdir()
        self.proof.contents = self.folder / "contents"
        self.store = Store(self.folder / "contents")
        self.closures = Closures(self.store, self.declaration.sources)

    def blame(self, combinations: Collection[Combination], text: str, command: str) -> None:
        with self._lock:
            for combination in combinations:
                if combination in self.chosen:
                    self.proof.problems[combination].append(Problem(text, command))

    def render(self) -> None:
        """Render every combination and its twin, and go on with those whose modules can be loaded."""
        needed = dict.fromkeys([*self.combinations, *(self.twin(one) for one in self.combinations)])
        self.progress.begin("Render", len(needed))
        problems: dict[Combination, list[str]] = {}
        for one, tree in render_all(self.declaration, needed, self.store, self.progress.step).items():
            if isinstance(tree, str):
                problems[one] = [tree]
                continue
            tested = tree
            if self.is_twin(one):
                tested = tree | self.store.add(self.declaration.unit_tests(one))
            project = self.closures.of_project(tested)
            if found := project.problems():
                problems[one] = found
            else:
                self.proof.trees[one] = tree
                self.trees[one] = tested
                if self.is_twin(one):
                    self.projects[one] = project
        for combination in self.combinations:
            for text in problems.get(combination, problems.get(self.twin(combination), [])):
                self.blame([combination], text, "uv run pytest")
        self.combinations = [one for one in self.combinations if {one, self.twin(one)} <= self.trees.keys()]
        self.proof.files = len({item for one in self.combinations for item in self.trees[one].items()})

    def twin(self, combination: Combination) -> Combination:
        """Return the combination whose tests show that this one holds: itself, if it is not folded."""
        fold = self.declaration.fold
        return combination - {fold.prompt} if fold else combination

    def is_twin(self, combination: Combination) -> bool:
        return self.twin(combination) == combination

    def compare_files(self) -> None:
        for combination in self.combinations:
            wanted, found = self.declaration.files(combination), set(self.proof.trees[combination])
            for path in sorted(wanted - found):
                self.blame([combination], f"{path} is missing", "ls -R")
            for path in sorted(found - wanted):
                self.blame([combination], f"{path} belongs to nothing that was chosen", "ls -R")

    def compare_folds(self) -> None:
        if self.declaration.fold is None:
            return
        folding = Folding(self.store, self.declaration.fold)
        for combination in self.combinations:
            if not self.is_twin(combination):
                self.proof.folded += 1
                tree, twin = self.proof.trees[combination], self.proof.trees[self.twin(combination)]
                for text in folding.differences(tree, twin):
                    self.blame([combination], text, "uv run pytest")

    def find_closures(self) -> None:
        """Find which projects share the surroundings of a test file."""
        for twin, project in self.projects.items():
            for file in self.test_files(twin):
                if self.declaration.closures.get(file) != EACH:
                    self.sharing[file, project.key(project.of_test(file))].append(twin)
        for file, _ in self.sharing:
            self.proof.closures[file] = self.proof.closures.get(file, 0) + 1
        for combination in self.projects:
            for file in self.each(combination):
                self.proof.closures[file] = self.proof.closures.get(file, 0) + 1

    def test_files(self, combination: Combination) -> list[str]:
        """Return the test files of a project that start no server process."""
        return [
            path for path in sorted(self.trees[combination]) if is_test(path) and not self.is_process(path)
        ]

    def process_files(self, combination: Combination) -> list[str]:
        """Return the test files that start server processes.

        With deduplication: all where nothing or everything is chosen, folded or not; elsewhere those that the template
        wants everywhere, and where a prompt is chosen alone those that it owns.
        """
        files = [path for path in sorted(self.trees[combination]) if is_test(path) and self.is_process(path)]
        every = frozenset(self.declaration.patterns)
        if not self.dedup or self.twin(combination) in {frozenset(), self.twin(every)}:
            return files
        everywhere = self.declaration.processes_everywhere
        always = self.declaration.files(frozenset())
        return [
            path for path in files if path in everywhere or (len(combination) == 1 and path not in always)
        ]

    def is_process(self, path: str) -> bool:
        return path.startswith(f"{self.declaration.processes}/")

    def each(self, combination: Combination) -> list[str]:
        """Return the test files that see the whole project."""
        return [file for file in self.test_files(combination) if self.declaration.closures.get(file) == EACH]

    def check_statically(self) -> None:
        linted = linting.lint(
            self.folder / "lint", self.store, (self.trees[one] for one in self.combinations)
        )
        for combination in self.combinations:
            for item in self.trees[combination].items():
                for text in linted.get(item, ()):
                    self.blame([combination], text, "uv run ruff check && uv run ruff format --diff")
        typed, self.proof.modules = typechecking.check_types(
            self.folder / "types", self.closures, (self.trees[one] for one in self.typed())
        )
        if typed:
            self.blame_types(typed)

    def typed(self) -> list[Combination]:
        """Return the projects whose types are checked: of the folded ones, those of the linear design."""
        return [*self.projects, *(one for one in self.linear() if not self.is_twin(one))]

    def blame_types(self, typed: typechecking.Findings) -> None:
        checked = set(self.typed())
        for combination in self.combinations:
            shown = combination if combination in checked else self.twin(combination)
            project = self.closures.of_project(self.trees[shown])
            for path in self.trees[shown]:
                if path.endswith(".py"):
                    for text in typed.get((path, project.key(project.of_module(path))), ()):
                        self.blame([combination], text, "uv run mypy")

    def linear(self) -> list[Combination]:
        """Return the chosen combinations that are of the linear design."""
        design = set(self.declaration.linear_design().values())
        return [combination for combination in self.combinations if combination in design]

    def run_tests(self, count: int) -> None:
        planned = list(self.plan())
        self.progress.begin("Test", sum(weight(job) for _, job, _ in planned))
        plugins = self.declaration.plugins
        with (
            tempfile.TemporaryDirectory(dir=memory()) as folder,
            workers(Path(folder), self.store, count, plugins) as team,
        ):
            tasks: list[Task] = [(self.trees[tree], job) for tree, job, _ in planned]
            outcomes = run_all(team, tasks, lambda job: self.progress.step(weight(job)))
        passed: dict[Combination, int] = defaultdict(int)
        for (tree, job, sharing), outcome in zip(planned, outcomes, strict=True):
            self.judge(tree, job, sharing, outcome)
            for combination in sharing:
                passed[combination] += sum(outcome.passed.values())
            self.proof.runs += 1
            self.proof.cpu += outcome.cpu
            self.proof.tests_run += sum(outcome.passed.values())
        for combination in self.proof.combinations:
            self.proof.tests[combination] = passed[combination]
            if self.dedup and not self.is_twin(combination):
                self.proof.tests[combination] += passed[self.twin(combination)]

    def plan(self) -> Iterator[tuple[Combination, Job, list[Combination]]]:
        """Return each job, the project it is for, and the combinations of which it shows something."""
        in_full = self.linear()
        for combination in sorted(in_full, key=len, reverse=True):
            tests = self.process_files(combination) if self.processes else []
            if self.dedup and not self.is_twin(combination):
                tests += self.test_files(combination)
            if tests:
                self.proof.in_full.append(self.declaration.name(combination))
                yield combination, self.job(tests, probe=self.declaration.probe, seconds=600), [combination]
        if self.dedup:
            for (file, _), sharing in self.sharing.items():
                yield sharing[0], self.job([file], watched=True), sharing
            for twin in self.projects:
                yield twin, self.job(self.each(twin), probe=self.declaration.probe, shared=True), [twin]
        else:
            for combination in self.combinations:
                tests = self.test_files(combination)
                yield combination, self.job(tests, probe=self.declaration.probe, seconds=600), [combination]

    def job(
        self,
        tests: list[str],
        *,
        probe: str = "",
        watched: bool = False,
        shared: bool = False,
        seconds: float = 120,
    ) -> Job:
        return Job(
            project="",
            path=[self.declaration.sources],
            tests=tests,
            probe=probe,
            package=self.declaration.package,
            watched=watched,
            shared=shared,
            seconds=seconds,
        )

    def judge(self, tree: Combination, job: Job, sharing: list[Combination], outcome: Outcome) -> None:
        """Blame the combinations of a job that has not shown what it should."""
        fold = self.declaration.fold
        folded = [one | {fold.prompt} for one in sharing] if fold and self.dedup else []
        blamed = list(dict.fromkeys([*sharing, *folded]))
        command = f"uv run pytest {' '.join(job.tests)}".strip()
        if outcome.error:
            self.blame(blamed, outcome.error, command)
        for test, text in outcome.not_passed.items():
            self.blame(blamed, f"{test}: {text}", f"uv run pytest {test}")
        if job.watched:
            closure = self.projects[tree].of_test(job.tests[0])
            for path in self.outside(outcome.read, closure):
                self.blame(blamed, f"{job.tests[0]} {path}: it is outside its closure", command)
        if job.probe and not outcome.error and outcome.listing != self.declaration.listing(tree):
            text = f"The server offers {outcome.listing}, not {self.declaration.listing(tree)}"
            self.blame(blamed, text, command)

    def outside(self, read: list[str], closure: frozenset[str]) -> list[str]:
        """Return what a run has read that decides its result, and is not in its closure."""
        found = []
        optional = self.optional_paths - closure - folders(closure)
        for line in read:
            if line.startswith(("writes ", "starts ")):
                found.append(line)
            elif line.startswith("asks for "):
                if line.removeprefix("asks for ") in optional:
                    found.append(line)
            elif line.endswith("/"):
                found.append(f"lists {line}")
            elif line in self.known_paths and line not in closure:
                found.append(f"reads {line}")
        return found

    @cached_property
    def known_paths(self) -> set[str]:
        """Every path of any project: one that this project lacks decides too."""
        return {path for tree in self.trees.values() for path in tree}

    @cached_property
    def optional_paths(self) -> set[str]:
        """Every file and folder that some project has and another has not."""
        held = [{*tree, *folders(tree)} for tree in self.trees.values()]
        return held[0].union(*held) - held[0].intersection(*held)


def weight(job: Job) -> int:
    """Return about how long a job takes, so that the time left can be told."""
    return 1 + 5 * len(job.tests)


def is_test(path: str) -> bool:
    return path.rpartition("/")[2].startswith("test_") and path.endswith(".py")
