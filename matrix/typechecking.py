"""Type-checks all projects in a few strict runs of mypy.

Mypy's result for a module depends on its bytes, the interfaces of the modules that it imports and the configuration. So a
module is checked once for each of these. All variants of a module are in one project, under different names. Only the imports
of variants are changed, to these names.
"""

import ast
import itertools
import os
import re
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from .closures import Import, ProjectClosures, configuration
from .commands import run
from .interfaces import Interfaces
from .trees import FIRST_SECOND, Tree, variant, write_file

# A run of mypy with this many modules takes about half a gigabyte.
MOST_MODULES = 1000

# The messages of mypy, by path and key of the module.
Findings = dict[tuple[str, str], list[str]]


@dataclass
class Union:
    """A project that contains every variant of every module."""

    place: Path
    interfaces: Interfaces
    # The mtimes of the next files, in seconds. Each is unique, since mypy validates its cache by mtime.
    seconds: Iterator[int]
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    names: dict[str, tuple[str, str]] = field(default_factory=dict)

    def add(self, tree: Tree) -> None:
        interfaces = self.interfaces.of_project(tree)
        project, store = interfaces.project, self.interfaces.closures.store
        keys = {path: interfaces.key(path) for path in tree if path.endswith(".py")}
        new = []
        for path, key in keys.items():
            if (path, key) not in self.numbers:
                self.numbers[path, key] = self.counts[path]
                self.counts[path] += 1
                new.append(path)
        numbers = {path: self.numbers[path, key] for path, key in keys.items()}
        for path in new:
            name = variant(path, numbers[path])
            self.names[name] = (path, keys[path])
            source = store.text(tree[path])
            write_file(self.place / name, redirect(source, path, project, numbers).encode())
            second = next(self.seconds)
            os.utime(self.place / name, (second, second))
        for path in tree.keys() - keys.keys():
            target = self.place / path
            if not path.endswith("/") and not target.exists():
                write_file(target, store.read(tree[path]))

    def check(self) -> tuple[Findings, float]:
        """Return the findings of mypy, and its CPU time in seconds."""
        roots = sorted({name.partition("/")[0] for name in self.names})
        environment = {**os.environ, "MYPYPATH": str(self.place / self.interfaces.closures.sources)}
        command = [
            sys.executable,
            "-m",
            "mypy",
            "--config-file",
            "pyproject.toml",
            "--explicit-package-bases",
        ]
        # The runs share a cache, so that the libraries are analyzed once.
        options = ["--no-error-summary", "--no-pretty", "--cache-dir", str(self.place.parent / "cache")]
        ended = run([*command, *options, *roots], self.place, environment)
        if ended.code not in (0, 1) or ended.stderr:
            raise RuntimeError(ended.stdout[-3000:] + ended.stderr[-3000:])
        findings: Findings = defaultdict(list)
        for line in ended.stdout.splitlines():
            name, _, rest = line.partition(":")
            path, key = self.names[name.replace("\\", "/")]
            findings[path, key].append(f"mypy: {path}:{rest}")
        return dict(findings), ended.cpu


class Checked(NamedTuple):
    """The findings of mypy, the number of distinct modules that it checked, and its CPU time in seconds."""

    findings: Findings
    modules: int
    cpu: float


def check_types(
    place: Path, interfaces: Interfaces, trees: Iterable[Tree], most: int = MOST_MODULES
) -> Checked:
    """Check the modules of all trees.

    One run of mypy reads about `most` modules, so its memory does not grow with the number of combinations.

    Raises:
        RuntimeError: mypy itself failed.
    """
    unions: dict[str, Union] = {}
    seconds = itertools.count(FIRST_SECOND)
    findings: Findings = {}
    modules: set[tuple[str, str]] = set()

    seconds_of_mypy: list[float] = []

    def check(union: Union) -> None:
        found, cpu = union.check()
        findings.update(found)
        seconds_of_mypy.append(cpu)
        modules.update(union.numbers)
        shutil.rmtree(union.place)

    store = interfaces.closures.store
    for number, tree in enumerate(trees):
        initializers = [(path, tree[path]) for path in sorted(tree) if path.endswith("/__init__.py")]
        filled = [(path, identity) for path, identity in initializers if store.read(identity)]
        key = repr((configuration(store, tree, "mypy"), filled))
        if key not in unions:
            unions[key] = Union(place / str(number), interfaces, seconds)
        unions[key].add(tree)
        if len(unions[key].numbers) >= most:
            check(unions.pop(key))
    for union in unions.values():
        check(union)
    return Checked(findings, len(modules), sum(seconds_of_mypy))


class Edit(NamedTuple):
    """A replacement in one line. `start` and `length` are in bytes."""

    line: int
    start: int
    length: int
    text: str


def redirect(source: str, path: str, project: ProjectClosures, numbers: dict[str, int]) -> str:
    """Return the source with each import of a module changed to its variant.

    Raises:
        ValueError: a variant is imported by `import module` without `as`, which cannot be redirected.
    """
    lines = source.splitlines(keepends=True)
    edits: list[Edit] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            edits += edit_from(node, lines[node.lineno - 1], path, project, numbers)
        elif isinstance(node, ast.Import):
            edits += edit_import(node, path, project, numbers)
    for line, start, length, text in sorted(edits, reverse=True):
        content = lines[line - 1].encode()
        lines[line - 1] = (content[:start] + text.encode() + content[start + length :]).decode()
    return "".join(lines)


def edit_from(
    node: ast.ImportFrom, line: str, path: str, project: ProjectClosures, numbers: dict[str, int]
) -> Iterator[Edit]:
    """Redirect `from module import name`: the module, and each name that is a module itself."""
    module = Import(node.level, node.module or "", ())
    own = project.module_of(path, module)
    for alias in node.names:
        member = project.module_of(path, module, alias.name)
        if member and (number := numbers[member]):
            text = f"{alias.name}__{number} as {alias.asname or alias.name}"
            yield Edit(alias.lineno, alias.col_offset, len(ast.unparse(alias).encode()), text)
    if own and (number := numbers[own]):
        found = re.match(rb"from\s+([.\w]+)", line.encode()[node.col_offset :])
        assert found
        start, end = found.span(1)
        yield Edit(node.lineno, node.col_offset + start, end - start, f"{found[1].decode()}__{number}")


def edit_import(
    node: ast.Import, path: str, project: ProjectClosures, numbers: dict[str, int]
) -> Iterator[Edit]:
    """Redirect `import module as name`."""
    for alias in node.names:
        module = project.module_of(path, Import(0, alias.name, ()))
        if module and (number := numbers[module]):
            if not alias.asname:
                raise ValueError(f"{path}: write `import {alias.name}` as `from ... import`")
            text = f"{alias.name}__{number} as {alias.asname}"
            yield Edit(alias.lineno, alias.col_offset, len(ast.unparse(alias).encode()), text)
