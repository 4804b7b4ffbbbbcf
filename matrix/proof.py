"""Proves combinations of a template's prompts: renders, lints, types and tests them, and says what was shown."""

import contextlib
import os
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple

from . import linting, typechecking
from .claims import Claims
from .closures import Closures, ProjectClosures, configuration
from .factoring import (
    CombinationError,
    Identities,
    NotFactoredError,
    Variations,
    difference,
    factored,
)
from .folding import Folding
from .forkserver import Job, Outcome
from .progress import Progress
from .rendering import render
from .template import ANY_FOUR, EACH, Combination, Declaration
from .trees import Store, Tree, folders, memory
from .workers import Task, run_all, workers

CHUNK = 16
# In how many forms modules are imported before the tests that see a whole project are run, and by how many projects the
# number of forms is judged.
FEW = 4
SAMPLE = 64


class Problem(NamedTuple):
    """What is wrong with a combination, under which variation, and the command that shows it in its project."""

    text: str
    command: str
    variation: Combination = frozenset()


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
    # Processor time in seconds, by what it was spent on.
    parts: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    # Whole suites of combinations with an additive prompt, or another value of a uniform choice.
    sampled: list[str] = field(default_factory=list)
    # The projects, in what each differs when it is varied, and the folder of their contents.
    trees: dict[Combination, Tree] = field(default_factory=dict)
    varied: dict[Combination, Variations] = field(default_factory=dict)
    contents: Path = Path()

    def green(self) -> list[Combination]:
        return [combination for combination in self.combinations if not self.problems.get(combination)]

    def report(self, combination: Combination) -> str:
        """Return what is wrong with a combination, in what it differs from one that is green, and how to see it."""
        problems = self.problems.get(combination, [])
        if not problems:
            return ""
        texts = dict.fromkeys(problem.text for problem in problems)
        first = next(other for other in self.combinations if self.problems.get(other) == problems)
        if first != combination:
            return f"The same as [{self.declaration.name(first)}]: {problems[0].text.splitlines()[0]}"
        command = self.declaration.reproduce(combination | problems[0].variation, problems[0].command)
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


# A combination and its variations. The others are compared with the first.
Order = tuple[Combination, list[Combination]]


def render_chunk(declaration: Declaration, store: Path, chunk: list[Order]) -> list[Variations | str]:
    """Render some projects in a separate process; return the reason for each that cannot be rendered."""
    tempfile.tempdir = memory()
    try:
        return render_in_pieces(declaration, Store(store), chunk)
    except NotFactoredError:
        return render_whole(declaration, Store(store), chunk)


def render_in_pieces(declaration: Declaration, store: Store, chunk: list[Order]) -> list[Variations | str]:
    """Assemble projects.

    Raises:
        NotFactoredError: they must be rendered whole.
    """
    factoring = factored(declaration)
    identities = Identities(store)
    projects: list[Variations | str] = []
    with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty):
        for combination, variations in chunk:
            try:
                projects.append(factoring.project(combination, variations, identities))
            except CombinationError as error:
                projects.append(str(error))
    return projects


def render_whole(declaration: Declaration, store: Store, chunk: list[Order]) -> list[Variations | str]:
    projects: list[Variations | str] = []
    for combination, variations in chunk:
        try:
            trees = {
                variation: store.add(
                    render(declaration.template, declaration.answers_for(combination | variation))
                )
                for variation in variations
            }
        except RuntimeError as error:
            projects.append(str(error))
            continue
        first = trees[variations[0]]
        projects.append(
            {
                variation: tree if tree is first else difference(first, tree)
                for variation, tree in trees.items()
            }
        )
    return projects


def render_all(
    declaration: Declaration, combinations: Collection[Combination], store: Store, done: Callable[[int], None]
) -> dict[Combination, Tree | str]:
    """Render combinations, on all processors; return the reason for each that cannot be rendered."""
    rendered = render_varied(declaration, combinations, [frozenset()], store, done)
    return {
        combination: project if isinstance(project, str) else project[frozenset()]
        for combination, project in rendered.items()
    }


def render_varied(
    declaration: Declaration,
    combinations: Collection[Combination],
    variations: list[Combination],
    store: Store,
    done: Callable[[int], None],
) -> dict[Combination, Variations | str]:
    """Render every variation of combinations, on all processors."""
    # Side by side, those that differ in the first prompts: they share the files that do not read these.
    every = sorted(
        combinations, key=lambda combination: [name in combination for name in reversed(declaration.patterns)]
    )
    chunks = [every[start : start + CHUNK] for start in range(0, len(every), CHUNK)]
    projects: dict[Combination, Variations | str] = {}
    known: dict[str, str] = {}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        futures: dict[Future[list[Variations | str]], list[Combination]] = {}
        for chunk in chunks:
            orders = [(combination, variations) for combination in chunk]
            futures[pool.submit(render_chunk, declaration.bare(), store.folder, orders)] = chunk
        for future in as_completed(futures):
            for combination, project in zip(futures[future], future.result(), strict=True):
                projects[combination] = project if isinstance(project, str) else shared(project, known)
            done(len(futures[future]))
    return {combination: projects[combination] for combination in combinations}


def shared(project: Variations, known: dict[str, str]) -> Variations:
    """Return the same with each equal text in memory once: there are a million texts."""
    return {
        variation: {
            known.setdefault(path, path): known.setdefault(identity, identity)
            for path, identity in tree.items()
        }
        for variation, tree in project.items()
    }


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
    before = cpu_seconds()
    run.render()
    run.proof.parts["rendering"] = cpu_seconds() - before
    before = cpu_seconds()
    run.compare_files()
    run.compare_folds()
    run.check_claims()
    run.find_closures()
    run.proof.parts["files, folds, claims and closures"] = cpu_seconds() - before
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
    # The projects that are not folded, and of their variations those in which a test file sees something else.
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
        self.identities = Identities(self.store)
        self.variations = self.declaration.variations
        self.closures = Closures(self.store, self.declaration.sources)

    def blame(
        self,
        combinations: Collection[Combination],
        text: str,
        command: str,
    ) -> None:
        """Note what is wrong; a combination that is varied is blamed as what it varies."""
        with self._lock:
            for combination in combinations:
                core = self.declaration.core(combination)
                if core in self.chosen:
                    self.proof.problems[core].append(Problem(text, command, combination - core))

    def render(self) -> None:
        """Render every combination and its twin, and continue with those whose modules can be loaded."""
        # The claims of a template are compared with the first, whichever combinations are requested.
        claimed = [next(self.declaration.combinations())] if len(self.variations) > 1 else []
        needed = dict.fromkeys([*claimed, *self.combinations, *(self.twin(one) for one in self.combinations)])
        self.progress.begin("Render", len(needed))
        problems: dict[Combination, list[str]] = {}
        rendered = render_varied(self.declaration, needed, self.variations, self.store, self.progress.step)
        for one, project in rendered.items():
            if isinstance(project, str):
                problems[one] = [project]
            else:
                self.proof.trees[one] = project[frozenset()]
                self.proof.varied[one] = project
                if found := self.loading_problems(one):
                    problems[one] = found
                    del self.proof.trees[one], self.proof.varied[one]
        for combination in self.combinations:
            for text in problems.get(combination, problems.get(self.twin(combination), [])):
                self.blame([combination], text, "uv run pytest")
        self.combinations = [
            one for one in self.combinations if {one, self.twin(one)} <= self.proof.trees.keys()
        ]
        asked = {one for combination in self.combinations for one in (combination, self.twin(combination))}
        self.projects = {
            one: project for one, project in self.projects.items() if self.declaration.core(one) in asked
        }
        self.proof.files = len(
            {
                item
                for one in self.combinations
                for tree in self.proof.varied[one].values()
                for item in tree.items()
                if item[1]
            }
        )

    def loading_problems(self, one: Combination) -> list[str]:
        """Return which modules of a project, however it is varied, cannot be loaded."""
        for variation in self.distinct_variations(one):
            project = self.closures.of_project(self.tree(one | variation))
            if found := project.problems():
                return [f"{text}{self.under(variation)}" for text in found]
            if self.is_twin(one):
                self.projects[one | variation] = project
        return []

    def under(self, variation: Combination) -> str:
        return f" (where {', '.join(sorted(variation))})" if variation else ""

    def distinct_variations(self, combination: Combination) -> list[Combination]:
        """Return the variations in which what a test file may see is not that of one before."""
        distinct: dict[object, Combination] = {}
        for variation in self.proof.varied[combination]:
            distinct.setdefault(self.seen(combination, variation), variation)
        return list(distinct.values())

    def seen(self, combination: Combination, variation: Combination) -> object:
        """Return in what a variation differs of modules, data that they name, and pytest's configuration."""
        tree = self.proof.trees[combination]
        delta = self.proof.varied[combination][variation] if variation else {}
        seen = []
        for path, identity in sorted(delta.items()):
            if path == "pyproject.toml":
                seen.append((path, repr(configuration(self.store, {path: identity}, "pytest"))))
            elif path.endswith(".py") or self.is_named(path.rpartition("/")[2], tree):
                seen.append((path, identity))
        if "pyproject.toml" not in delta:
            seen.append(("pyproject.toml", repr(configuration(self.store, tree, "pytest"))))
        return frozenset(seen), tuple(self.unit_tree(combination | variation).items())

    def is_named(self, name: str, tree: Tree) -> bool:
        """Return whether a module of a project names a file."""
        modules = (identity for path, identity in tree.items() if path.endswith(".py"))
        return any(name in self.closures.facts(identity).texts for identity in modules)

    def project_tree(self, combination: Combination) -> Tree:
        """Return a project, however it is varied."""
        core = self.declaration.core(combination)
        tree = self.proof.trees[core]
        if combination == core:
            return tree
        varied = tree | self.proof.varied[core][combination - core]
        return {path: identity for path, identity in varied.items() if identity}

    def unit_tree(self, combination: Combination) -> Tree:
        """Return the unit tests of a combination: a folded project has none beside it."""
        if not self.is_twin(combination):
            return {}
        tests = self.declaration.unit_tests(combination)
        return {path: self.identities.of(content) for path, content in tests.items()}

    def tree(self, combination: Combination) -> Tree:
        """Return a project, however it is varied, with the unit tests beside it."""
        return self.project_tree(combination) | self.unit_tree(combination)

    def twin(self, combination: Combination) -> Combination:
        """Return the combination whose tests show that this one holds: itself, if it is not folded."""
        fold = self.declaration.fold
        return combination - {fold.prompt} if fold else combination

    def is_twin(self, combination: Combination) -> bool:
        return self.twin(combination) == combination

    def compare_files(self) -> None:
        for one in self.combinations:
            tree = self.proof.trees[one]
            for variation, delta in self.proof.varied[one].items():
                found = set(tree)
                if variation:
                    found |= {path for path, identity in delta.items() if identity}
                    found -= {path for path, identity in delta.items() if not identity}
                wanted = self.declaration.files(one | variation)
                for path in sorted(wanted - found):
                    self.blame([one | variation], f"{path} is missing", "ls -R")
                for path in sorted(found - wanted):
                    self.blame([one | variation], f"{path} belongs to nothing that was chosen", "ls -R")

    def compare_folds(self) -> None:
        if self.declaration.fold is None:
            return
        folding = Folding(self.store, self.declaration.fold)
        for combination in self.combinations:
            if not self.is_twin(combination):
                self.proof.folded += 1
                compared: set[object] = set()
                for variation in self.variations:
                    seen = self.seen(combination, variation), self.seen(self.twin(combination), variation)
                    if seen in compared:
                        continue
                    compared.add(seen)
                    tree = self.project_tree(combination | variation)
                    twin = self.project_tree(self.twin(combination) | variation)
                    for text in folding.differences(tree, twin):
                        self.blame([combination | variation], text, "uv run pytest")

    def check_claims(self) -> None:
        """Check the claims of the template in every project that was rendered."""
        for combination, text in Claims(self.store, self.declaration, self.proof.varied).findings():
            self.blame([combination], text, "uv run pytest")

    def find_closures(self) -> None:
        """Find which projects share the surroundings of a test file."""
        keys: dict[tuple[Combination, str], str] = {}
        for twin, project in self.projects.items():
            core = self.declaration.core(twin)
            for file in self.test_files(twin):
                if not self.sees_all(file):
                    key = project.key(project.of_test(file))
                    if twin == core:
                        keys[core, file] = key
                    # What a variation does not change is shown by the project that it varies.
                    if twin == core or keys.get((core, file)) != key:
                        self.sharing[file, key].append(twin)
        for file, _ in self.sharing:
            self.proof.closures[file] = self.proof.closures.get(file, 0) + 1
        for combination in self.twins():
            for file in self.each(combination):
                self.proof.closures[file] = self.proof.closures.get(file, 0) + 1

    def twins(self) -> list[Combination]:
        """Return the combinations, as they are without variation, whose tests run."""
        return [one for one in self.projects if one == self.declaration.core(one)]

    def test_files(self, combination: Combination) -> list[str]:
        """Return the test files of a project that start no server process."""
        return [
            path for path in sorted(self.tree(combination)) if is_test(path) and not self.is_process(path)
        ]

    def process_files(self, combination: Combination) -> list[str]:
        """Return the test files that start server processes.

        With deduplication: all where nothing or everything is chosen, folded or not; elsewhere those that the template
        wants everywhere, and where a prompt is chosen alone those that it owns.
        """
        files = [path for path in sorted(self.tree(combination)) if is_test(path) and self.is_process(path)]
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

    def sees_all(self, file: str) -> bool:
        """Return whether a test file sees the whole project."""
        return self.declaration.closures.get(file) in (EACH, ANY_FOUR)

    def each(self, combination: Combination) -> list[str]:
        """Return the test files that see the whole project, and run in this one."""
        everywhere = self.declaration.core(combination) in self.covering
        return [
            file
            for file in self.test_files(combination)
            if self.sees_all(file) and (everywhere or self.declaration.closures[file] == EACH)
        ]

    @cached_property
    def covering(self) -> set[Combination]:
        """The projects that run every test file that sees them whole: all, if only a few are asked for."""
        design = self.declaration.covering_design()
        twins = set(self.twins())
        return twins if len(twins) <= len(design) else design | set(self.declaration.linear_design().values())

    def check_statically(self) -> None:
        before_children = cpu_seconds(own=False)
        linted = linting.lint(
            self.folder / "lint", self.store, (self.tree(one) for one in self.distinct_sources())
        )
        for one in self.combinations if linted else ():
            for variation in self.variations:
                for item in self.tree(one | variation).items():
                    for text in linted.get(item, ()):
                        self.blame([one | variation], text, "uv run ruff check && uv run ruff format --diff")
        typed, self.proof.modules = typechecking.check_types(
            self.folder / "types", self.closures, (self.tree(one) for one in self.typed())
        )
        # Of ruff and mypy: what runs beside them is counted when it ends.
        self.proof.parts["lint and types"] = cpu_seconds(own=False) - before_children
        if typed:
            self.blame_types(typed)

    def distinct_sources(self) -> Iterator[Combination]:
        """Return the projects, and of each those variations that change what ruff judges."""
        for one in self.combinations:
            known: set[object] = set()
            for variation in self.variations:
                delta = self.proof.varied[one][variation] if variation else {}
                project = delta.get("pyproject.toml", self.proof.trees[one].get("pyproject.toml", ""))
                sources = tuple(sorted(item for item in delta.items() if item[0].endswith(".py")))
                judged = linting.rules(self.store, project), sources
                if judged not in known:
                    known.add(judged)
                    yield one | variation

    def typed(self) -> list[Combination]:
        """Return the projects whose types are checked: of those folded or varied, those of the linear design."""
        folded = [one for one in self.linear() if not self.is_twin(one)]
        return list(dict.fromkeys([*self.twins(), *folded, *self.sampled()]))

    def blame_types(self, typed: typechecking.Findings) -> None:
        checked = dict.fromkeys(self.typed())
        for combination in dict.fromkeys([*self.combinations, *checked]):
            shown = combination if combination in checked else self.twin(combination)
            tree = self.tree(shown)
            project = self.closures.of_project(tree)
            for path in tree:
                if path.endswith(".py"):
                    for text in typed.get((path, project.key(project.of_module(path))), ()):
                        self.blame([combination], text, "uv run mypy")

    def linear(self) -> list[Combination]:
        """Return what of the linear design varies a combination that was chosen."""
        design = defaultdict(list)
        for combination in self.declaration.linear_design().values():
            design[self.declaration.core(combination)].append(combination)
        return [combination for one in self.combinations for combination in design[one]]

    def sampled(self) -> list[Combination]:
        """Return the linear design with each additive prompt, with each value of a uniform choice, and with all."""
        cores = dict.fromkeys(self.declaration.core(one) for one in self.linear())
        twins = [one for one in cores if self.is_twin(one)]
        return [one | variation for variation in self.declaration.sampled_variations for one in twins]

    def run_tests(self, count: int) -> None:
        planned = list(self.plan())
        self.progress.begin("Test", sum(weight(job) for _, job, _ in planned))
        plugins = self.declaration.plugins
        with (
            tempfile.TemporaryDirectory(dir=memory()) as folder,
            workers(Path(folder), self.store, count, plugins) as team,
        ):
            tasks: list[Task] = [(self.tree(tree), job) for tree, job, _ in planned]
            outcomes = run_all(team, tasks, lambda job: self.progress.step(weight(job)))
        passed: dict[Combination, int] = defaultdict(int)
        for (tree, job, sharing), outcome in zip(planned, outcomes, strict=True):
            self.judge(tree, job, sharing, outcome)
            for combination in sharing:
                passed[combination] += sum(outcome.passed.values())
            self.proof.runs += 1
            self.proof.parts[self.part(job)] += outcome.cpu
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
            jobs = [(one, self.shared_job(one)) for one in [*self.twins(), *self.sampled()]]
            # Those that begin with the same modules follow each other.
            for one, job in sorted(jobs, key=lambda item: item[1].stamp):
                yield one, job, [one]
        else:
            for combination in self.combinations:
                tests = self.test_files(combination)
                yield combination, self.job(tests, probe=self.declaration.probe, seconds=600), [combination]
        for varied in self.sampled():
            self.proof.sampled.append(self.declaration.name(varied))
            if not self.dedup:
                tests = self.test_files(varied)
                yield varied, self.job(tests, probe=self.declaration.probe, seconds=600), [varied]

    def shared_job(self, combination: Combination) -> Job:
        """Return the job of the test files that see the whole project, begun with what it shares with others."""
        job = self.job(self.each(combination), probe=self.declaration.probe, shared=True)
        project = self.closures.of_project(self.tree(combination))
        modules = [path for path in self.common_modules if path in project.tree]
        closure = project.reachable(modules)
        prefix = f"{self.declaration.sources}/"
        names = [path.removeprefix(prefix).removesuffix(".py").replace("/", ".") for path in modules]
        stamp = project.key(closure | {data for path in closure for data in project.data_of(path)})
        return replace(job, preload=names, stamp=stamp)

    @cached_property
    def common_modules(self) -> list[str]:
        """The modules that every project has, with what they import in a few forms: judged by a sample of the projects."""
        twins = self.twins()
        projects = [self.projects[one] for one in twins[:: len(twins) // SAMPLE + 1]]
        prefix = f"{self.declaration.sources}/"
        paths = set.intersection(*(set(project.tree) for project in projects))
        modules = sorted(path for path in paths if path.startswith(prefix) and path.endswith(".py"))
        common = []
        for path in modules:
            forms = len({project.key(project.of_module(path)) for project in projects})
            starts = path.endswith(("/__init__.py", "/__main__.py"))
            if not starts and forms <= min(FEW, len(projects) // FEW):
                common.append(path)
        return common

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

    def part(self, job: Job) -> str:
        """Return what a job shows, for the account of the time."""
        if job.watched:
            return "tests of each closure"
        if any(map(self.is_process, job.tests)) or not job.shared:
            return "whole suites and processes"
        return "tests that see a whole project"

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
        return set().union(*self.path_sets)

    @cached_property
    def optional_paths(self) -> set[str]:
        """Every file and folder that some project has and another has not."""
        held = [{*paths, *folders(paths)} for paths in self.path_sets]
        return held[0].union(*held) - held[0].intersection(*held)

    @cached_property
    def path_sets(self) -> set[frozenset[str]]:
        """The paths of each project, however it is varied."""
        found = set()
        for one in self.proof.trees:
            tree = self.proof.trees[one]
            for variation, delta in self.proof.varied[one].items():
                if not variation or any(not identity or path not in tree for path, identity in delta.items()):
                    found.add(frozenset(self.tree(one | variation)))
        return found


def cpu_seconds(*, own: bool = True) -> float:
    """Return the processor time of this process, and of its children that have ended."""
    times = os.times()
    children = times.children_user + times.children_system
    return children + (times.user + times.system if own else 0)


def weight(job: Job) -> int:
    """Return about how long a job takes, so that the time left can be told."""
    return 1 + 5 * len(job.tests)


def is_test(path: str) -> bool:
    return path.rpartition("/")[2].startswith("test_") and path.endswith(".py")
