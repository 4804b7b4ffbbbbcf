"""Checks in every combination that no prompt beside the server changes a file that tests of the whole project see.

A prompt beside the server adds, removes or changes files such as an image, a workflow or a badge. It must not change:

- a file of the package, or a module that another module imports
- a file that a unit test names
- a file that a test of the whole project names, unless the file is always present: then these tests run again with
  each answer on the linear design, and one of its projects must have each form of the changed sections
- the configuration of pytest or mypy

A test file that such a prompt adds may see all of these. If its closures are counted, it runs once for each closure.
Otherwise it sees the whole project: it runs where the declaration says, and on the linear design with every other
answer. Files that tests of the whole project open, but that their modules do not name, are found when the tests run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .closures import ProjectClosures
from .families import Entry, Varied, names_of
from .template import ANY_FOUR, EACH, Declaration
from .trees import folders, is_test


def is_around(declaration: Declaration, entry: Entry) -> bool:
    """Return whether a file depends on a prompt beside the server and is absent in some variation."""
    first = entry[0]
    return bool(declaration.beside.keys() & first.names) and "" in first.table.values()


def changed_files(declaration: Declaration, project: Varied) -> dict[str, Entry]:
    """Return the files of a project that prompts beside the server add, remove or change."""
    if not declaration.beside:
        return {}
    prompts = declaration.beside.keys()
    return {path: entry for path, entry in project.family.entries.items() if prompts & names_of(entry)}


@dataclass
class Beside:
    declaration: Declaration
    # Files that tests of the whole project name: in every project, and in tests that prompts beside the server add.
    seen: set[str] = field(default_factory=set)
    seen_apart: set[str] = field(default_factory=set)

    def problems(
        self,
        project: Varied,
        variations: list[ProjectClosures],
        unit_tests: Mapping[str, str],
    ) -> Iterator[str]:
        """Yield a message for each module that sees a file that a prompt beside the server changes.

        `variations` are the variations of the project's twin that differ in what a test file may see.
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
                    # Many unit tests create their own pyproject.toml.
                    seer = "" if path == "pyproject.toml" else self.namer(one, name, unit_tests)
                if seer:
                    yield f"{seer} sees {path}, which {self.who(entry)} changes"

    def problems_apart(self, path: str, entry: Entry, project: ProjectClosures) -> Iterator[str]:
        """Yield a message for each import of a module that a prompt beside the server adds.

        Also adds the data files that such a test names to `seen_apart`.
        """
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
        """Return the identities of the modules outside the package that tests of the whole project load, by path."""
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
        """Return the first of `modules` that names a file, or an empty string."""
        facts = project.shared.facts
        return min((path for path, identity in modules.items() if name in facts(identity).texts), default="")

    def is_seen(self, path: str) -> bool:
        """Return whether tests of the whole project see a file."""
        sources = f"{self.declaration.sources}/"
        return (
            path.endswith(".py") or path.startswith(sources) or path == "pyproject.toml" or path in self.seen
        )

    def reads(self, project: Varied, read: list[str], *, apart: bool) -> Iterator[str]:
        """Yield the accesses of a test of the whole project to files that a prompt beside the server adds or removes,
        or that vary and that no such test names.

        With `apart`, the test was added by such a prompt and may read the files that it names.
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
        """Return whether a prompt beside the server adds this file, a script or a test of the whole project."""
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
