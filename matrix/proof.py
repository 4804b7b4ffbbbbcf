"""Proves combinations of a template's prompts: renders, lints, type-checks and tests them, and reports the results."""

import contextlib
import gc
import os
import random
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import NamedTuple

from . import linting, typechecking
from .beside import Beside, changed_files
from .claims import Claims
from .closures import Closures, ProjectClosures, configuration
from .factoring import CombinationError, Identities, factored
from .families import Family, Function, Joined, Varied, count_files, tabulate
from .folding import Folding
from .forkserver import Job, Outcome
from .hooks import NotFactoredError
from .interfaces import Interfaces, ProjectInterfaces
from .progress import Progress
from .reading import Asking
from .rendering import render
from .template import ANY_FOUR, EACH, Combination, Declaration
from .trees import Store, Tree, folders, is_test, memory
from .workers import Task, run_all, workers

# How many combinations a worker process renders at once: for small chunks, transferring the results takes longer.
CHUNK = 128
# In how many combinations one is also rendered whole.
COMPARED = 16
# Modules with at most this many forms are preloaded for tests that see the whole project; a sample of the projects
# determines the number of forms.
FEW = 4
SAMPLE = 64


class Problem(NamedTuple):
    """A failure of a combination: the message, the command that shows it in the project, and the variation."""

    text: str
    command: str
    variation: Combination = frozenset()


@dataclass
class Proof:
    """The results of a run."""

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
    # CPU time in seconds, by part of the proof.
    parts: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    # The names of the tested projects with a variation: an additive prompt, or another value of a choice.
    sampled: list[str] = field(default_factory=list)
    # The projects without variation, the projects in all variations, and the folder with the contents of their files.
    trees: dict[Combination, Tree] = field(default_factory=dict)
    varied: dict[Combination, Varied] = field(default_factory=dict)
    contents: Path = Path()

    def green(self) -> list[Combination]:
        return [combination for combination in self.combinations if not self.problems.get(combination)]

    def report(self, combination: Combination) -> str:
        """Return the problems of a combination, its difference from the nearest green one, and a command to run.

        If an earlier combination has the same problems, return a reference to it.
        """
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
        """Return a message for each test file with more closures than declared, or without a declared number."""
        stated = self.declaration.closures
        found = [
            f"{file}: how many closures it has is not stated" for file in self.closures if file not in stated
        ]
        for file, count in self.closures.items():
            if 0 < stated.get(file, 0) < count:
                found.append(f"{file}: {count} closures, and {stated[file]} are stated")
        return found

    def tests_per_combination(self) -> tuple[int, int, int]:
        """Return the minimum, median and maximum number of tests that cover a combination."""
        counts = list(self.tests.values()) or [0]
        return min(counts), int(median(counts)), max(counts)


def render_chunk(declaration: Declaration, store: Path, chunk: list[Combination]) -> list[Family | str]:
    """Render the families of some combinations in a worker process. Return an error message for each that fails."""
    tempfile.tempdir = memory()
    gc.disable()  # saves a fifth of the time, and there are hardly any reference cycles
    identities = identities_in(store)
    with identities.store:
        try:
            return render_in_pieces(declaration, identities, chunk)
        except NotFactoredError:
            return render_whole(declaration, identities.store, chunk)


@cache
def identities_in(folder: Path) -> Identities:
    """Return the identities of the texts in a store, which all chunks of a process share."""
    return Identities(Store(folder))


def render_in_pieces(
    declaration: Declaration, identities: Identities, chunk: list[Combination]
) -> list[Family | str]:
    """Assemble families, and compare random projects with the same projects rendered whole.

    Raises:
        NotFactoredError: the template must be rendered whole.
    """
    factoring = factored(declaration)
    families: list[Family | str] = []
    with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty):
        for combination in chunk:
            try:
                families.append(factoring.family(combination, identities))
            except CombinationError as error:
                families.append(str(error))
        drawn = random.Random(repr([sorted(one) for one in chunk]))
        for start in range(0, len(chunk), COMPARED):
            number = drawn.randrange(start, min(start + COMPARED, len(chunk)))
            if not isinstance(family := families[number], str):
                factoring.check(chunk[number], drawn.choice(declaration.variations), family, identities)
    return families


def render_whole(declaration: Declaration, store: Store, chunk: list[Combination]) -> list[Family | str]:
    families: list[Family | str] = []
    for combination in chunk:
        try:
            trees = {
                variation: store.add(
                    render(declaration.template, declaration.answers_for(combination | variation))
                )
                for variation in declaration.variations
            }
        except RuntimeError as error:
            families.append(str(error))
        else:
            families.append(Family.of_trees(declaration, trees))
    return families


def render_all(
    declaration: Declaration, combinations: Collection[Combination], store: Store, done: Callable[[int], None]
) -> dict[Combination, Varied | str]:
    """Render every variation of the combinations on all CPUs. Return an error message for each combination that fails."""
    # A chunk contains combinations that differ in the first prompts: they share files that do not read these.
    every = sorted(
        combinations, key=lambda combination: [name in combination for name in reversed(declaration.patterns)]
    )
    chunks = [every[start : start + CHUNK] for start in range(0, len(every), CHUNK)]
    projects: dict[Combination, Varied | str] = {}
    joined = Joined(store)
    known: dict[str, str] = {}
    functions: dict[object, Function] = {}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        futures: dict[Future[list[Family | str]], list[Combination]] = {
            pool.submit(render_chunk, declaration.bare(), store.folder, chunk): chunk for chunk in chunks
        }
        for future in as_completed(futures):
            for combination, family in zip(futures.pop(future), future.result(), strict=True):
                if isinstance(family, str):
                    projects[combination] = family
                else:
                    projects[combination] = Varied(shared(family, known, functions), declaration, joined)
                done(1)
    return {combination: projects[combination] for combination in combinations}


def shared(family: Family, known: dict[str, str], functions: dict[object, Function]) -> Family:
    """Return the family with equal strings and functions replaced by shared objects, to save memory."""
    same = {
        known.setdefault(path, path): known.setdefault(identity, identity)
        for path, identity in family.constant.items()
    }
    entries = {
        known.setdefault(path, path): tuple(
            functions.setdefault(
                (function.names, tuple(function.table.values()), len(function.table)), function
            )
            for function in entry
        )
        for path, entry in family.entries.items()
    }
    return Family(same, entries)


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
    """Prove `combinations`, with working files in the empty folder `folder`.

    Without `dedup`, every suite runs in every project. Without `processes`, no tests that start server processes run.
    `count` is the number of test workers, by default the number of CPUs.
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
        run.run_tests(count or os.cpu_count() or 1)
        static.result()
    run.progress.end()
    return run.proof


@dataclass
class Run:
    """The steps of one run."""

    declaration: Declaration
    combinations: list[Combination]
    folder: Path
    progress: Progress
    dedup: bool
    processes: bool
    # The projects that are not folded, with those of their variations that differ in what a test file sees.
    projects: dict[Combination, ProjectClosures] = field(default_factory=dict)
    # The combinations that share a closure, by test file and key of the closure.
    sharing: dict[tuple[str, str], list[Combination]] = field(default_factory=lambda: defaultdict(list))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    # The files that vary and that test files may see, by combination.
    _seen_files: dict[Combination, list[str]] = field(default_factory=dict)
    # The configurations by pyproject.toml and tool, and a table that keeps one copy of equal ones.
    _configured: dict[tuple[str, str], str] = field(default_factory=dict)
    _configurations: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chosen = set(self.combinations)
        self.proof = Proof(self.declaration, self.combinations)
        (self.folder / "contents").mkdir()
        self.proof.contents = self.folder / "contents"
        self.store = Store(self.folder / "contents")
        self.identities = Identities(self.store)
        # These record which varied prompts the functions of the declaration read.
        self.files = Asking(self.declaration, self.declaration.files)
        self.unit_tests = Asking(self.declaration, self.declaration.unit_tests)
        self.closures = Closures(self.store, self.declaration.sources)
        self.interfaces = Interfaces(self.closures)
        self.beside = Beside(self.declaration)

    def blame(
        self,
        combinations: Collection[Combination],
        text: str,
        command: str,
    ) -> None:
        """Record a problem. A problem of a variation is recorded for its combination."""
        with self._lock:
            for combination in combinations:
                core = self.declaration.core(combination)
                if core in self.chosen:
                    self.proof.problems[core].append(Problem(text, command, combination - core))

    def render(self) -> None:
        """Render every combination and its twin, and drop those that fail or whose modules cannot be loaded."""
        # The claims are checked against these projects, whichever combinations are requested.
        first = next(self.declaration.combinations())
        fold = self.declaration.fold
        claimed = [first, *([first | {fold.prompt}] if fold else [])] if self.declaration.varying else []
        if self.declaration.beside:
            claimed += map(self.declaration.core, self.declaration.linear_design().values())
        needed = dict.fromkeys([*claimed, *self.combinations, *(self.twin(one) for one in self.combinations)])
        self.progress.begin("Render", len(needed))
        problems: dict[Combination, list[str]] = {}
        rendered = render_all(self.declaration, needed, self.store, self.progress.step)
        for one, project in rendered.items():
            if isinstance(project, str):
                problems[one] = [project]
            else:
                self.proof.trees[one] = project.tree(frozenset())
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
        self.proof.files = count_files(self.proof.varied[one].family for one in self.combinations)

    def loading_problems(self, one: Combination) -> list[str]:
        """Return the modules of a project that cannot be loaded, in the first variation that has any."""
        for variation in self.distinct_variations(one):
            project = self.closures.of_project(self.tree(one | variation))
            if found := project.problems():
                return [f"{text}{self.under(variation)}" for text in found]
            if self.is_twin(one):
                self.projects[one | variation] = project
        for combination, path, project in self.modules_apart(one):
            if found := project.problems_of(path):
                return [f"{text}{self.under(combination - one)}" for text in found]
        return []

    def under(self, variation: Combination) -> str:
        return f" (where {', '.join(sorted(variation))})" if variation else ""

    def distinct_variations(self, combination: Combination) -> list[Combination]:
        """Return the variations that differ in what a test file may see."""
        names = self.names_seen(combination) | self.unit_tests.names(combination)
        distinct: dict[object, Combination] = {}
        for variation in self.declaration.variations_of(names):
            seen = self.seen(combination, variation), tuple(self.unit_tree(combination | variation).items())
            distinct.setdefault(seen, variation)
        return list(distinct.values())

    def names_seen(self, combination: Combination) -> frozenset[str]:
        """Return the varied prompts that decide modules, the data files that they name, or pytest's configuration."""
        family = self.proof.varied[combination].family
        return family.names(self.seen_files(combination)) | self.names_configuring(combination, "pytest")

    def seen_files(self, combination: Combination) -> list[str]:
        """Return the files that vary and that a test file may see: modules, and data files that a module names.

        Data files that only tests of the whole project name are left out: these tests do not run for each closure.
        """
        if combination not in self._seen_files:
            self._seen_files[combination] = list(self.find_seen_files(combination))
        return self._seen_files[combination]

    def find_seen_files(self, combination: Combination) -> Iterator[str]:
        family = self.proof.varied[combination].family
        modules = {
            identity
            for path, identity in family.constant.items()
            if path.endswith(".py") and not self.sees_all(path)
        }
        for path, entry in family.entries.items():
            if self.beside.is_apart(path, entry):
                continue
            if path.endswith(".py"):
                yield path
            if path.endswith(".py") and not self.sees_all(path):
                modules |= {
                    identity for function in entry for identity in function.table.values() if identity
                }
        named = frozenset[str]().union(*map(self.texts, modules))
        for path in family.entries:
            name = path.rpartition("/")[2]
            if not path.endswith(".py") and path != "pyproject.toml" and name in named:
                yield path

    def texts(self, identity: str) -> frozenset[str]:
        try:
            return self.closures.facts(identity).texts
        except SyntaxError:
            return frozenset()  # reported elsewhere

    def names_configuring(self, combination: Combination, tool: str) -> frozenset[str]:
        """Return the varied prompts that decide the configuration of a tool: usually none."""
        project = self.proof.varied[combination]
        if "pyproject.toml" not in project.family.entries:
            return frozenset()
        table = project.table("pyproject.toml")
        found = {one: self.configured(identity, tool) for one, identity in table.items()}
        return tabulate(self.declaration, family_names(project, "pyproject.toml"), found.__getitem__).names

    def configured(self, project: str, tool: str) -> str:
        """Return the configuration of a tool in the pyproject.toml with the identity `project`."""
        if (project, tool) not in self._configured:
            tree = {"pyproject.toml": project} if project else {}
            found = repr(configuration(self.store, tree, tool))
            self._configured[project, tool] = self._configurations.setdefault(found, found)
        return self._configured[project, tool]

    def seen(self, combination: Combination, variation: Combination) -> object:
        """Return the contents that vary and that a test file may see, as a comparable value."""
        project = self.proof.varied[combination]
        seen = [(path, project.identity(path, variation)) for path in self.seen_files(combination)]
        if "pyproject.toml" in project.family.entries:
            seen.append(("", self.configured(project.identity("pyproject.toml", variation), "pytest")))
        return tuple(seen)

    def project_tree(self, combination: Combination) -> Tree:
        """Return the tree of a project in any variation."""
        core = self.declaration.core(combination)
        tree = self.proof.trees[core]
        if combination == core:
            return tree
        return self.proof.varied[core].tree(combination - core)

    def unit_tree(self, combination: Combination) -> Tree:
        """Return the template's unit tests for a combination. A folded project has none."""
        if not self.is_twin(combination):
            return {}
        tests = self.declaration.unit_tests(combination)
        return {path: self.identities.of(content) for path, content in tests.items()}

    def tree(self, combination: Combination) -> Tree:
        """Return the tree of a project in any variation, with the template's unit tests."""
        return self.project_tree(combination) | self.unit_tree(combination)

    def twin(self, combination: Combination) -> Combination:
        """Return the combination without the fold, whose tests also cover this one."""
        fold = self.declaration.fold
        return combination - {fold.prompt} if fold else combination

    def is_twin(self, combination: Combination) -> bool:
        return self.twin(combination) == combination

    def compare_files(self) -> None:
        for one in self.combinations:
            project = self.proof.varied[one]
            optional = project.family.optional
            always = set(project.family.constant) | (project.family.entries.keys() - set(optional))
            names = self.files.names(one) | project.family.names(optional)
            for variation in self.declaration.variations_of(names):
                found = always | {path for path, function in optional.items() if function.at(variation)}
                wanted = self.files.at(one, variation)
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
                names = self.names_seen(combination) | self.names_seen(self.twin(combination))
                for variation in self.declaration.variations_of(names):
                    seen = self.seen(combination, variation), self.seen(self.twin(combination), variation)
                    if seen in compared:
                        continue
                    compared.add(seen)
                    tree = self.project_tree(combination | variation)
                    twin = self.project_tree(self.twin(combination) | variation)
                    for text in folding.differences(tree, twin):
                        self.blame([combination | variation], text, "uv run pytest")

    def find_seen(self) -> None:
        """Find the files that tests of the whole project see, and report prompts beside the server that change them."""
        variations: dict[Combination, list[ProjectClosures]] = defaultdict(list)
        for one, project in self.projects.items():
            variations[self.declaration.core(one)].append(project)
        for one in self.combinations if self.declaration.varying else ():
            twin = self.twin(one)
            names = self.unit_tests.names(one) & self.declaration.beside.keys()
            found = [f"{name} changes the unit tests" for name in sorted(names)]
            found += self.beside.problems(self.proof.varied[one], variations[twin], self.unit_tree(twin))
            found += self.configuring(one)
            entries = self.proof.varied[twin].family.entries
            for _, path, project in self.modules_apart(twin) if one == twin else ():
                found += self.beside.problems_apart(path, entries[path], project)
            for text in dict.fromkeys(found):
                self.blame([one], f"Not only beside the server: {text}", "uv run pytest")

    def modules_apart(self, one: Combination) -> Iterator[tuple[Combination, str, ProjectClosures]]:
        """Yield the scripts and the tests of the whole project that a prompt beside the server adds.

        Each form of a file is returned once, with the first project that has it.
        """
        project = self.proof.varied[one]
        for path, entry in project.family.entries.items():
            known = {""}
            for variation in (
                self.declaration.variations_of(project.family.names([path]))
                if self.beside.is_apart(path, entry)
                else ()
            ):
                identity = project.identity(path, variation)
                if identity not in known:
                    known.add(identity)
                    yield one | variation, path, self.closures.of_project(self.tree(one | variation))

    def configuring(self, combination: Combination) -> Iterator[str]:
        """Yield a message if a prompt beside the server configures pytest or mypy.

        Ruff's configuration may change: each file is linted under all rules.
        """
        project = self.proof.varied[combination]
        names = family_names(project, "pyproject.toml") if "pyproject.toml" in project.family.entries else ()
        others = self.declaration.scope(self.declaration.beside)
        for tool in ("pytest", "mypy") if self.declaration.beside.keys() & names else ():
            forms: dict[Combination, set[str]] = defaultdict(set)
            for variation, identity in project.table("pyproject.toml").items():
                forms[variation - others].add(self.configured(identity, tool))
            if any(len(form) > 1 for form in forms.values()):
                yield f"{', '.join(sorted(self.declaration.beside.keys() & names))} changes the configuration of {tool}"

    def check_claims(self) -> None:
        """Check the claims of the template against every rendered project."""
        self.find_seen()
        seen = self.beside.is_seen
        apart = self.beside.seen_apart
        claims = Claims(
            self.store, self.declaration, self.proof.varied, seen, lambda path: seen(path) or path in apart
        )
        for combination, text in claims.findings():
            self.blame([combination], text, "uv run pytest")

    def find_closures(self) -> None:
        """Group the projects by the closure of each test file, and count the closures."""
        keys: dict[tuple[Combination, str], str] = {}
        for twin, project in self.projects.items():
            core = self.declaration.core(twin)
            for file in self.test_files(twin):
                if not self.sees_all(file):
                    key = project.key(project.of_test(file))
                    if twin == core:
                        keys[core, file] = key
                    # If the variation does not change the closure, the test of the core project covers it.
                    if twin == core or keys.get((core, file)) != key:
                        self.sharing[file, key].append(twin)
        for file, _ in self.sharing:
            self.proof.closures[file] = self.proof.closures.get(file, 0) + 1
        for combination in self.twins():
            for file in self.each(combination):
                self.proof.closures[file] = self.proof.closures.get(file, 0) + 1
        for _, file in self.tests_apart():
            self.proof.closures[file] = self.proof.closures.get(file, 0) + 1

    def twins(self) -> list[Combination]:
        """Return the combinations that are not folded, without variations."""
        return [one for one in self.projects if one == self.declaration.core(one)]

    def test_files(self, combination: Combination) -> list[str]:
        """Return the test files of a project that do not start server processes."""
        return [
            path for path in sorted(self.tree(combination)) if is_test(path) and not self.is_process(path)
        ]

    def process_files(self, combination: Combination) -> list[str]:
        """Return the test files that start server processes and run in a project.

        With deduplication, all of them run where no or all prompts are chosen, folded or not. Elsewhere, those in
        `processes_everywhere` run, and where only one prompt is chosen, also those that it owns.
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

    def tests_apart(self) -> Iterator[tuple[Combination, str]]:
        """Yield the tests of the whole project that a prompt beside the server adds, and the projects that run them.

        They run where other such tests run, with the first answer that adds them, and on the linear design with each
        other answer.
        """
        design = {self.declaration.core(one) for one in self.linear()}
        for one in self.twins():
            for first, path, _ in self.modules_apart(one):
                if not is_test(path) or (
                    self.declaration.closures[path] != EACH and one not in self.covering
                ):
                    continue
                names = self.proof.varied[one].family.names([path])
                variations = [first - one]
                if one in design:
                    variations += self.declaration.variations_of(names)
                    for other in self.declaration.sampled_variations:
                        changed = {item.partition("=")[0] for item in other}
                        variations.append((first - one - self.declaration.scope(changed)) | other)
                for variation in dict.fromkeys(variations):
                    if self.proof.varied[one].identity(path, variation):
                        yield one | variation, path

    def is_process(self, path: str) -> bool:
        return path.startswith(f"{self.declaration.processes}/")

    def sees_all(self, file: str) -> bool:
        """Return whether a test file sees the whole project."""
        return self.declaration.closures.get(file) in (EACH, ANY_FOUR)

    def each(self, combination: Combination) -> list[str]:
        """Return the test files that see the whole project and run in this combination."""
        core = self.declaration.core(combination)
        everywhere = core in self.covering
        entries = self.proof.varied[core].family.entries
        return [
            file
            for file in self.test_files(combination)
            if self.sees_all(file)
            and (everywhere or self.declaration.closures[file] == EACH)
            and not (file in entries and self.beside.is_apart(file, entries[file]))
        ]

    @cached_property
    def covering(self) -> set[Combination]:
        """The projects in which every test of the whole project runs: all of them, if only a few are requested."""
        design = self.declaration.covering_design()
        twins = set(self.twins())
        return twins if len(twins) <= len(design) else design | set(self.declaration.linear_design().values())

    def check_statically(self) -> None:
        linted, cpu = linting.lint(self.folder / "lint", self.store, self.distinct_sources())
        for one in self.combinations if linted else ():
            names = self.names_linted(one)
            for variation in self.declaration.variations_of(names):
                for item in self.tree(one | variation).items():
                    for text in linted.get(item, ()):
                        self.blame([one | variation], text, "uv run ruff check && uv run ruff format --diff")
        trees = chain((self.tree(one) for one in self.typed()), (part for *_, part in self.typed_alone()))
        typed = typechecking.check_types(self.folder / "types", self.interfaces, trees)
        self.proof.modules = typed.modules
        self.proof.parts["lint and types"] = cpu + typed.cpu
        if typed.findings:
            self.blame_types(typed.findings)

    def distinct_sources(self) -> Iterator[Tree]:
        """Yield trees with each module of each project under each of its configurations of ruff.

        The first tree of a configuration is a project. The others have one module, in a form that varies.
        """
        for one in self.combinations:
            project = self.proof.varied[one]
            names = self.names_configuring(one, "ruff") | self.unit_tests.names(one)
            modules = [path for path in project.family.entries if path.endswith(".py")]
            for variation in self.declaration.variations_of(names):
                tree = self.tree(one | variation)
                yield tree
                rules = {path: tree[path] for path in tree.keys() & {"pyproject.toml"}}
                for path in modules:
                    others = self.declaration.variations_of(project.family.names([path]) - names)
                    forms = {project.identity(path, variation | other) for other in others}
                    yield from ({**rules, path: form} for form in forms - {"", tree.get(path)})

    def names_linted(self, combination: Combination) -> frozenset[str]:
        """Return the varied prompts that decide modules, unit tests or ruff's configuration."""
        family = self.proof.varied[combination].family
        modules = family.names(path for path in family.entries if path.endswith(".py"))
        return modules | self.names_configuring(combination, "ruff") | self.unit_tests.names(combination)

    def typed(self) -> list[Combination]:
        """Return the projects that are type-checked: all twins, and the folded and varied ones of the linear design."""
        folded = [one for one in self.linear() if not self.is_twin(one)]
        return list(dict.fromkeys([*self.twins(), *folded, *self.sampled()]))

    def typed_alone(self) -> Iterator[tuple[Combination, str, Tree]]:
        """Yield each form of the test files and scripts that a prompt beside the server changes, with its imports."""
        known: set[tuple[str, str]] = set()
        for one, path, project in chain(self.modules_counted(), *map(self.modules_apart, self.twins())):
            key = ProjectInterfaces(project, self.interfaces).key(path)
            if (path, key) not in known:
                known.add((path, key))
                # `check_types` groups projects by their `__init__.py` files and configuration.
                kept = {other for other in project.tree if other.endswith(("/__init__.py", "pyproject.toml"))}
                yield one, path, {other: project.tree[other] for other in {*project.of_module(path), *kept}}

    def modules_counted(self) -> Iterator[tuple[Combination, str, ProjectClosures]]:
        """Yield the test files with counted closures that a prompt beside the server changes."""
        for one, project in self.projects.items():
            changed = changed_files(self.declaration, self.proof.varied[self.declaration.core(one)])
            for path in changed.keys() & project.tree.keys():
                if self.beside.is_counted(path):
                    yield one, path, project

    def blame_types(self, typed: typechecking.Findings) -> None:
        for combination, path, tree in self.typed_alone():
            for text in typed.get((path, self.interfaces.of_project(tree).key(path)), ()):
                self.blame([combination], text, "uv run mypy")
        checked = dict.fromkeys(self.typed())
        for combination in dict.fromkeys([*self.combinations, *checked]):
            shown = combination if combination in checked else self.twin(combination)
            tree = self.tree(shown)
            project = self.interfaces.of_project(tree)
            for path in tree:
                if path.endswith(".py"):
                    for text in typed.get((path, project.key(path)), ()):
                        self.blame([combination], text, "uv run mypy")

    def linear(self) -> list[Combination]:
        """Return the projects of the linear design whose combination was requested."""
        design = defaultdict(list)
        for combination in self.declaration.linear_design().values():
            design[self.declaration.core(combination)].append(combination)
        return [combination for one in self.combinations for combination in design[one]]

    def sampled(self) -> list[Combination]:
        """Return the linear design, not folded, with each additive prompt, each value of a varied choice, and all."""
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
        """Yield the project of each job, the job, and the combinations that it covers."""
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
            # Jobs with the same preloaded modules run one after the other.
            for one, job in sorted(jobs, key=lambda item: item[1].stamp):
                yield one, job, [one]
            for one, file in self.tests_apart():
                yield one, self.job([file], watched=True, shared=True), [one]
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
        """Return the job for the tests of the whole project, which preloads the modules that many projects share."""
        watched = bool(self.declaration.varying)
        job = self.job(self.each(combination), probe=self.declaration.probe, watched=watched, shared=True)
        project = self.closures.of_project(self.tree(combination))
        modules = [path for path in self.common_modules if path in project.tree]
        closure = project.reachable(modules)
        prefix = f"{self.declaration.sources}/"
        names = [path.removeprefix(prefix).removesuffix(".py").replace("/", ".") for path in modules]
        stamp = project.key(closure | {data for path in closure for data in project.data_of(path)})
        return replace(job, preload=names, stamp=stamp)

    @cached_property
    def common_modules(self) -> list[str]:
        """The modules that every project has and whose closures have few forms, determined from a sample."""
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
        """Return the part of the proof that a job belongs to, for the CPU times."""
        if job.watched and not job.shared:
            return "tests of each closure"
        if job.is_suite:
            return "whole suites and processes"
        return "tests that see a whole project"

    def judge(self, tree: Combination, job: Job, sharing: list[Combination], outcome: Outcome) -> None:
        """Record the problems of a job for the combinations that it covers."""
        fold = self.declaration.fold
        folded = [one | {fold.prompt} for one in sharing] if fold and self.dedup else []
        blamed = list(dict.fromkeys([*sharing, *folded]))
        command = f"uv run pytest {' '.join(job.tests)}".strip()
        if outcome.error:
            self.blame(blamed, outcome.error, command)
        for test, text in outcome.not_passed.items():
            self.blame(blamed, f"{test}: {text}", f"uv run pytest {test}")
        if job.shared:
            project = self.proof.varied[self.declaration.core(tree)]
            apart = not job.probe
            for text in self.beside.reads(project, outcome.read, apart=apart):
                self.blame(
                    blamed, f"A test of the whole project {text}, which its modules do not name", command
                )
        elif job.watched:
            closure = self.projects[tree].of_test(job.tests[0])
            for path in self.outside(outcome.read, closure):
                self.blame(blamed, f"{job.tests[0]} {path}: it is outside its closure", command)
        if job.probe and not outcome.error and outcome.listing != self.declaration.listing(tree):
            text = f"The server offers {outcome.listing}, not {self.declaration.listing(tree)}"
            self.blame(blamed, text, command)

    def outside(self, read: list[str], closure: frozenset[str]) -> list[str]:
        """Return the accesses of a run that can affect its result and are outside the closure."""
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
        """Every path of any project. The absence of a file can affect a result too."""
        families = (project.family for project in self.proof.varied.values())
        return {path for family in families for path in [*family.constant, *family.entries]}

    @cached_property
    def optional_paths(self) -> set[str]:
        """Every file and folder that some projects have and others do not."""
        always: set[str] | None = None
        for project in self.proof.varied.values():
            family = project.family
            held = set(family.constant) | (family.entries.keys() - set(family.optional))
            always = held if always is None else always & held
        always = always or set()
        return {*self.known_paths, *folders(self.known_paths)} - {*always, *folders(always)}


def family_names(project: Varied, path: str) -> frozenset[str]:
    return project.family.names([path])


def cpu_seconds() -> float:
    """Return the CPU time in seconds of this process and of its terminated children."""
    return sum(os.times()[:4])


def weight(job: Job) -> int:
    """Return the relative duration of a job, to estimate the remaining time."""
    return 1 + 5 * len(job.tests)
