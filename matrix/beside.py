"""Finds, in every combination, which files tests of the whole project see, and that prompts beside the server change none.

Such a prompt adds, removes or changes files: an image, a workflow, a badge. None of them may be

- a file of the package, or a module that another imports,
- a file that a unit test, or a test of the whole project, names, unless the prompt only changes lines in it: then these
  tests run again with each answer on the linear design, which must show every form of a section with such lines,
- the configuration of pytest or mypy.

A test file that such a prompt adds may see all of this. It runs once for each closure, if these are counted. Otherwise
it sees the whole project too: it runs where it is, as stated, and on the linear design with every other answer.
What tests of the whole project open beyond what their modules name is found when they run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .closures import ProjectClosures
from .families import Entry, Varied, names_of
from .template import ANY_FOUR, EACH, Declaration
from .trees import folders, is_test


def is_around(declaration: Declaration, entry: Entry) -> bool:
    """Is it a file that is not in every variation, and that depends on a prompt beside the server?"""
    first = entry[0]
    return bool(declaration.beside.keys() & first.names) and "" in first.table.values()


def changed_files(declaration: Declaration, project: Varied) -> dict[str, Entry]:
    """Return the files of a project that the prompts beside the server add, remove or change."""
    if not declaration.beside:
        return {}
    prompts = declaration.beside.keys()
    return {path: entry for path, entry in project.family.entries.items() if prompts & names_of(entry)}


@dataclass
class Beside:
    declaration: Declaration
    # The files other than modules that these tests name, and those that such tests name which a prompt beside the server adds.
    seen: set[str] = field(default_factory=set)
    seen_apart: set[str] = field(default_factory=set)
    # By name, the modules that name a file, of those that were judged.
    _naming: dict[str, tuple[set[str], set[str]]] = field(default_factory=dict)

    def problems(
        self,
        project: Varied,
        variations: list[ProjectClosures],
        unit_tests: Mapping[str, str],
    ) -> Iterator[str]:
        """Return who sees a file that a prompt beside the server changes.

        `variations` are the distinct ones of the project's twin, as a test file may see them.
        """
        changed = changed_files(self.declaration, project)
        sources = f"{self.declaration.sources}/"
        for path, entry in changed.items():
            if path.startswith(sources):
                yield f"{self.who(entry)} changes {path}, a file of the package"
            elif path.endswith(".py") and not (self.is_apart(path, entry) or self.is_counted(path)):
                yield f"{self.who(entry)} changes {path}, which is neither a test file of its own nor a script"
        counted = {path for path in changed if self.is_counted(path)}
        for one in variations:
            yield from self.importers(one, changed, counted)
            tests = self.modules_of_tests(one, changed)
            for path, entry in project.family.entries.items():
                if path.endswith(".py") or path.startswith(sources):
                    continue
                name = path.rpartition("/")[2]
                seer = self.namer(one, name, tests)
                if seer:
                    self.seen.add(path)
                if path not in changed:
                    continue
                if not (seer and is_around(self.declaration, entry)):
                    # Many make a pyproject.toml of their own.
                    seer = "" if path == "pyproject.toml" else self.namer(one, name, unit_tests)
                if seer:
                    yield f"{seer} sees {path}, which {self.who(entry)} changes"

    def problems_apart(self, path: str, entry: Entry, project: ProjectClosures) -> Iterator[str]:
        """Return who imports a module that such a prompt adds, and learn what such a test names."""
        yield from self.importers(project, {path: entry}, {path})
        for name, other in project.data.items():
            if self.sees_all(path) and self.namer(project, name, {path: project.tree[path]}):
                self.seen_apart.add(other)

    def importers(
        self, project: ProjectClosures, changed: Mapping[str, Entry], modules: set[str]
    ) -> Iterator[str]:
        for module in modules & project.tree.keys():
            for path in project.tree:
                if path != module and path.endswith(".py") and module in project.imported(path):
                    yield f"{path} imports {module}, which {self.who(changed[module])} changes"

    def modules_of_tests(self, project: ProjectClosures, changed: Mapping[str, Entry]) -> dict[str, str]:
        """Return the modules outside the package that tests of the whole project load, with their identities."""
        tests = [path for path in project.tree if self.sees_all(path) and path not in changed]
        starts = dict.fromkeys(tests)
        for path in tests:
            starts |= dict.fromkeys(project.surroundings(path))
        prefix = f"{self.declaration.sources}/"
        return {
            path: project.tree[path]
            for path in project.reachable(list(starts))
            if not path.startswith(prefix)
        }

    def namer(self, project: ProjectClosures, name: str, modules: Mapping[str, str]) -> str:
        """Return a module that names a file, if one of these does."""
        naming, judged = self._naming.setdefault(name, (set(), set()))
        for identity in set(modules.values()) - judged:
            judged.add(identity)
            if name in project.shared.facts(identity).texts:
                naming.add(identity)
        if naming.isdisjoint(modules.values()):
            return ""
        return min(path for path, identity in modules.items() if identity in naming)

    def is_seen(self, path: str) -> bool:
        """Is it a file that tests of the whole project see?"""
        sources = f"{self.declaration.sources}/"
        return (
            path.endswith(".py") or path.startswith(sources) or path == "pyproject.toml" or path in self.seen
        )

    def reads(self, project: Varied, read: list[str], *, apart: bool) -> Iterator[str]:
        """Return what a test of the whole project has read that a prompt beside the server changes, or that varies unnoticed.

        One that such a prompt adds may read what it names.
        """
        changed = changed_files(self.declaration, project)
        around = {path for path, entry in changed.items() if is_around(self.declaration, entry)}
        coming = {*around, *(folders(around) - folders(project.family.constant))}
        for line in read:
            if line.startswith(("writes ", "starts ")) or (apart and line in self.seen_apart):
                continue
            if line.startswith("asks for "):
                if (path := line.removeprefix("asks for ")) in coming:
                    yield f"asks for {path}"
            elif line.endswith("/"):
                if any(path.rpartition("/")[0] == line.rstrip("/.") for path in coming):
                    yield f"lists {line}"
            elif (line in around and not (apart and line.endswith(".py"))) or (
                line in project.family.entries and not self.is_seen(line)
            ):
                yield f"reads {line}"

    def is_apart(self, path: str, entry: Entry) -> bool:
        """Is it a script that such a prompt adds, or a test of the whole project?"""
        if not path.endswith(".py") or not is_around(self.declaration, entry):
            return False
        name = path.rpartition("/")[2]
        is_loaded = name in ("conftest.py", "__init__.py") or path.startswith(f"{self.declaration.sources}/")
        return self.sees_all(path) if is_test(path) else not is_loaded

    def who(self, entry: Entry) -> str:
        return ", ".join(sorted(self.declaration.beside.keys() & names_of(entry)))

    def sees_all(self, path: str) -> bool:
        return self.declaration.closures.get(path) in (EACH, ANY_FOUR)

    def is_counted(self, path: str) -> bool:
        return is_test(path) and self.declaration.closures.get(path, 0) > 0
