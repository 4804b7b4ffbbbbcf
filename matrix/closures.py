"""Computes closures: all project files that a Python file can load. Their bytes decide the result of a test.

A closure contains the imports at any depth of the code, the packages' `__init__.py`, the `conftest.py` files above a
test, and each data file whose name is in a string. A module of the package can only name data of the package.
`audit.py` finds files that a test opens outside its closure.
"""

import ast
import hashlib
import re
import sys
import tomllib
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import PurePosixPath
from typing import Any, NamedTuple, TypeVar

from .trees import Store, Tree

T = TypeVar("T", bound=Hashable)

INTERNED: dict[Any, Any] = {}
FILE_NAME = re.compile(r"[^/\n]{1,255}")
# If the parts between these parse on their own, they contain the same statements as the whole file.
BETWEEN_PARTS = "\n\n\n"


class MissingModuleError(Exception):
    """A file imports a module that is missing from its project."""


class Import(NamedTuple):
    """`from {level dots}module import names`, or `import module` without names."""

    level: int
    module: str
    names: tuple[str, ...]


class Facts(NamedTuple):
    """What a source names: its imports, and all strings that can be the name of a file."""

    imports: tuple[Import, ...]
    texts: frozenset[str]


def read_facts(source: str) -> Facts:
    """Read the facts of a source part by part. The parts are cached, since most of them occur in many files.

    Raises:
        SyntaxError: the source is not valid Python.
    """
    try:
        parts = [read_part(part) for part in source.split(BETWEEN_PARTS)]
    except SyntaxError:
        # A part may start inside a string or a block.
        return find_facts(source)
    imports = tuple(item for part in parts for item in part.imports)
    return Facts(imports, interned(frozenset[str]().union(*(part.texts for part in parts))))


# The facts of parts, by the hashes of their texts.
PARTS: dict[str, Facts] = {}


def read_part(source: str) -> Facts:
    key = digest([source])
    if key not in PARTS:
        PARTS[key] = find_facts(source)
    return PARTS[key]


def find_facts(source: str) -> Facts:
    imports = []
    texts = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                imports += [interned(Import(0, alias.name, ())) for alias in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                imports.append(interned(Import(level, module or "", tuple(alias.name for alias in names))))
            case ast.Constant(value=str(text)) if FILE_NAME.fullmatch(text):
                texts.add(text)
    return Facts(tuple(imports), interned(frozenset(texts)))


def interned(value: T) -> T:
    """Return the same object for equal values: thousands of modules have the same imports and strings."""
    found: T = INTERNED.setdefault(value, value)
    return found


@dataclass(frozen=True)
class Closures:
    """The caches that the closures of all projects share. `sources` is the folder of the package."""

    store: Store
    sources: str = "src"
    _facts: dict[str, Facts] = field(default_factory=dict)
    # The paths that a module's imports may resolve to, and those that they do resolve to.
    _candidates: dict[object, tuple[str, ...]] = field(default_factory=dict)
    _imported: dict[object, frozenset[str]] = field(default_factory=dict)
    # Equal top-level names, as one object.
    _roots: dict[frozenset[str], frozenset[str]] = field(default_factory=dict)

    def facts(self, identity: str) -> Facts:
        if identity not in self._facts:
            self._facts[identity] = read_facts(self.store.text(identity))
        return self._facts[identity]

    def of_project(self, tree: Tree) -> "ProjectClosures":
        return ProjectClosures(tree, self)


@dataclass(frozen=True)
class ProjectClosures:
    tree: Tree
    shared: Closures
    _imported: dict[str, frozenset[str]] = field(default_factory=dict)

    def problems(self) -> list[str]:
        """Return an error for each file that is not valid Python or imports a missing module of the project."""
        return [text for path in self.tree if path.endswith(".py") for text in self.problems_of(path)]

    def problems_of(self, path: str) -> list[str]:
        """Return why a module cannot be loaded."""
        try:
            self.imported(path)
        except SyntaxError as error:
            return [f"{path} is not valid Python: {error.msg}, line {error.lineno}"]
        except MissingModuleError as error:
            return [str(error)]
        return []

    def of_test(self, path: str) -> frozenset[str]:
        """Return the paths of all files that a test file can load or open, including itself.

        Raises:
            MissingModuleError: an import of a project module resolves to no file.
        """
        modules = self.reachable([path, *self.surroundings(path)])
        return modules.union(*(self.naming[module] for module in modules & self.naming.keys()))

    def of_module(self, path: str) -> frozenset[str]:
        """Return the paths of all modules that a module imports, including itself.

        Raises:
            MissingModuleError: an import of a project module resolves to no file.
        """
        return self.reachable([path])

    def reachable(self, starts: list[str]) -> frozenset[str]:
        return reachable(starts, self.imported)

    def key(self, closure: frozenset[str]) -> str:
        """Return a hash of the paths and contents of a closure, and of pytest's configuration."""
        lines = [f"{member} {self.tree[member]}" for member in sorted(closure)]
        return digest([*lines, self.test_configuration])

    @cached_property
    def test_configuration(self) -> str:
        """The pytest section of pyproject.toml."""
        return repr(configuration(self.shared.store, self.tree, "pytest"))

    @cached_property
    def data(self) -> dict[str, str]:
        """The paths of the data files, by file name. pyproject.toml is not included: its pytest section is in every key."""
        data = (path for path in self.tree if not path.endswith((".py", "/")) and path != "pyproject.toml")
        return {PurePosixPath(path).name: path for path in data}

    @cached_property
    def packages(self) -> set[str]:
        """The top-level names in the source folder."""
        prefix = f"{self.shared.sources}/"
        return {path[len(prefix) :].split("/")[0] for path in self.tree if path.startswith(prefix)}

    def imported(self, path: str) -> frozenset[str]:
        """Return the files that a module imports directly."""
        if path not in self._imported:
            shared, key = self.shared._imported, self.resolution(path)
            if key not in shared:
                found: set[str] = set()
                for item in self.shared.facts(self.tree[path]).imports:
                    found |= self.resolve(path, item)
                shared[key] = interned(frozenset(found))
            self._imported[path] = shared[key]
        return self._imported[path]

    def resolution(self, path: str) -> tuple[object, ...]:
        """Return everything that decides which files a module's imports resolve to."""
        identity = self.tree[path]
        candidates = self.shared._candidates.get((path, identity, self.roots))
        if candidates is None:
            candidates = interned(tuple(map(sys.intern, sorted(self.candidates(path)))))
            self.shared._candidates[path, identity, self.roots] = candidates
        return path, identity, self.roots, interned(tuple(item for item in candidates if item in self.tree))

    @cached_property
    def roots(self) -> frozenset[str]:
        """The top-level names under which the project's modules can be imported."""
        found = frozenset({path.split("/")[0].removesuffix(".py") for path in self.tree} | self.packages)
        return self.shared._roots.setdefault(found, found)

    def candidates(self, path: str) -> Iterator[str]:
        """Yield the paths that a module's imports may resolve to."""
        for item in self.shared.facts(self.tree[path]).imports:
            base, _ = self.base(path, item)
            if base.split("/")[0] in self.roots:
                for place in (base, *(f"{base}/{name}" for name in item.names)):
                    yield from (f"{place}.py", f"{place}/__init__.py")
                while base:
                    yield f"{base}/__init__.py"
                    base = base.rpartition("/")[0]

    @cached_property
    def naming(self) -> dict[str, set[str]]:
        """The data files that each module names. Modules that name none are left out."""
        naming = {}
        sources = f"{self.shared.sources}/"
        for path, identity in self.tree.items():
            if path.endswith(".py"):
                named = {self.data[text] for text in self.shared.facts(identity).texts & self.data.keys()}
                if found := {
                    file for file in named if file.startswith(sources) or not path.startswith(sources)
                }:
                    naming[path] = found
        return naming

    def data_of(self, path: str) -> set[str]:
        """Return the data files that a module names."""
        return self.naming.get(path, set())

    def resolve(self, importer: str, item: Import) -> set[str]:
        """Return the project files that an import runs. The set is empty for a third-party module.

        Raises:
            MissingModuleError: the import names a module of the project that does not exist.
        """
        base, own = self.base(importer, item)
        files = {self.module_file(base), *(self.module_file(f"{base}/{name}") for name in item.names)}
        found = {file for file in files if file}
        if found:
            return found | set(self.initializers(base))
        if own:
            name = "." * item.level + item.module
            raise MissingModuleError(f"{importer} imports {name}, which the project does not have")
        return set()

    def module_of(self, importer: str, item: Import, member: str = "") -> str | None:
        """Return the file of an imported module, or of its member. Return None for a package or a third-party module."""
        base, _ = self.base(importer, item)
        path = f"{base}/{member}.py" if member else f"{base}.py"
        return path if path in self.tree else None

    def base(self, importer: str, item: Import) -> tuple[str, bool]:
        """Return the path of an imported module without its suffix, and whether it must belong to the project."""
        parts = item.module.split(".") if item.module else []
        if item.level:
            return "/".join([*importer.split("/")[: -item.level], *parts]), True
        if parts[0] in self.packages:
            return "/".join([self.shared.sources, *parts]), True
        return "/".join(parts), False

    def module_file(self, base: str) -> str | None:
        for path in (f"{base}.py", f"{base}/__init__.py"):
            if path in self.tree:
                return sys.intern(path)
        return None

    def initializers(self, base: str) -> Iterator[str]:
        parent = base
        while parent:
            if f"{parent}/__init__.py" in self.tree:
                yield sys.intern(f"{parent}/__init__.py")
            parent = parent.rpartition("/")[0]

    def surroundings(self, path: str) -> Iterable[str]:
        """Yield the files that pytest loads before a test file: `conftest.py` and `__init__.py` in each folder above."""
        parent = path.rpartition("/")[0]
        while True:
            for name in ("__init__.py", "conftest.py"):
                file = f"{parent}/{name}" if parent else name
                if file in self.tree:
                    yield file
            if not parent:
                return
            parent = parent.rpartition("/")[0]


def reachable(starts: Iterable[str], following: Callable[[str], frozenset[str]]) -> frozenset[str]:
    """Return some files, and those that follow from them at any depth."""
    found: set[str] = set()
    waiting = list(starts)
    while waiting:
        found.add(current := waiting.pop())
        waiting += following(current) - found
    return frozenset(found)


def digest(lines: Iterable[str]) -> str:
    return hashlib.sha1("\n".join(lines).encode()).hexdigest()


def configuration(store: Store, tree: Tree, tool: str) -> Any:
    """Return the `[tool]` table of a tool in pyproject.toml, or None."""
    if "pyproject.toml" not in tree:
        return None
    return tool_tables(store.text(tree["pyproject.toml"])).get(tool)


# The start of a line that can be the header of a table.
HEADER = re.compile(r"^(?=[ \t]*\[)", re.MULTILINE)
# With one of these, a line can look like a header and be none, or be one in another form.
UNUSUAL = ('"""', "'''", "[tool]", "[tool ", "[tool\t", "[ tool", "[\ttool", '["tool', "['tool")


def tool_tables(pyproject: str) -> dict[str, Any]:
    """Return the `[tool]` tables of a pyproject.toml.

    Projects that differ elsewhere often have the same tables, so only these are parsed, and each text once. The whole file
    is parsed where its tables cannot be told apart by their first lines.
    """
    first, *others = HEADER.split(pyproject)
    tables = "".join(table for table in others if table.lstrip().startswith(("[tool.", "[[tool.")))
    is_plain = not any(text in pyproject for text in UNUSUAL)
    if is_plain and not without_comments(first):
        with suppress(tomllib.TOMLDecodeError):
            return parsed(tables)
    return dict(tomllib.loads(pyproject).get("tool", {}))


def without_comments(text: str) -> str:
    return "".join(line for line in text.splitlines() if not line.lstrip().startswith("#")).strip()


@cache
def parsed(tables: str) -> dict[str, Any]:
    """Return the `[tool]` tables of a text."""
    return dict(tomllib.loads(tables).get("tool", {}))
