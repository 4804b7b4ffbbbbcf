"""Computes the interface of a module: what a type checker sees of it when it checks the modules that import it.

Modules that differ in other respects are the same to their importers. So a type checker sees neither the bodies of functions,
nor calls whose result is not used, nor the arguments of `name = Class(...)`, nor the imports that only these need.
"""

import ast
import builtins
import copy
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from .closures import Closures, Import, ProjectClosures, configuration, digest, reachable
from .trees import Tree

# Names without a type variable.
PLAIN = {"Any", *dir(builtins)}
# With these annotations, the type comes from the value.
INFERRED = {"Final", "ClassVar", "TypeAlias"}


class Construction(NamedTuple):
    """`name = Class(...)` with an imported class.

    If the class has no type parameters, importers only see `type`, and otherwise the whole statement.
    """

    statement: str
    type: str
    imports: tuple[Import, ...]
    of: Import


class Interface(NamedTuple):
    """The statements that importers see, the imports that these need, and the classes without type parameters."""

    text: str
    imports: tuple[Import, ...]
    constructions: tuple[Construction, ...]
    classes: frozenset[str]


@dataclass(frozen=True)
class Interfaces:
    """The caches that the interfaces of all projects share."""

    closures: Closures
    _read: dict[tuple[str, bool], Interface] = field(default_factory=dict)
    _seen: dict[object, tuple[str, frozenset[str]]] = field(default_factory=dict)

    def of_project(self, tree: Tree) -> "ProjectInterfaces":
        return ProjectInterfaces(self.closures.of_project(tree), self)

    def read(self, identity: str, *, explicit: bool) -> Interface:
        if (identity, explicit) not in self._read:
            source = self.closures.store.text(identity)
            self._read[identity, explicit] = read_interface(source, explicit=explicit)
        return self._read[identity, explicit]


@dataclass(frozen=True)
class ProjectInterfaces:
    project: ProjectClosures
    shared: Interfaces
    _seen: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)

    def key(self, path: str) -> str:
        """Return a hash of all project files that decide the findings in a module: itself, and the interfaces that it sees."""
        found = reachable(self.project.imported(path), lambda member: self.seen(member)[1])
        interfaces = [f"{member} {self.seen(member)[0]}" for member in sorted(found)]
        return digest([path, self.project.tree[path], *interfaces])

    def seen(self, path: str) -> tuple[str, frozenset[str]]:
        """Return a hash of what importers see of a module, and the files whose interfaces this needs."""
        if path not in self._seen:
            interface = self.read(path)
            classes = [self.file_of_class(path, one) for one in interface.constructions]
            key = (self.project.resolution(path), self.explicit, *classes)
            if key not in self.shared._seen:
                texts, imports = [interface.text], [*interface.imports]
                for one, file in zip(interface.constructions, classes, strict=True):
                    texts.append(f"{one.type} of {file}" if file else one.statement)
                    imports += [one.of] if file else one.imports
                files = frozenset[str]().union(*(self.project.resolve(path, item) for item in imports))
                self.shared._seen[key] = digest(texts), files
            self._seen[path] = self.shared._seen[key]
        return self._seen[path]

    def file_of_class(self, path: str, construction: Construction) -> str | None:
        """Return the file that defines the class of an object, or None if the class may have type parameters."""
        file = self.project.module_of(path, construction.of)
        return file if file and construction.of.names[0] in self.read(file).classes else None

    def read(self, path: str) -> Interface:
        return self.shared.read(self.project.tree[path], explicit=self.explicit)

    @cached_property
    def explicit(self) -> bool:
        """Whether an importer of a module does not see what this module imports without re-exporting it."""
        found = configuration(self.shared.closures.store, self.project.tree, "mypy") or {}
        return found.get("implicit_reexport", not found.get("strict")) is False


def read_interface(source: str, *, explicit: bool) -> Interface:
    """Return the interface of a source. With `explicit`, importers do not see the imports that are not re-exported.

    Raises:
        SyntaxError: the source is not valid Python.
    """
    tree = ast.parse(source)
    bound = dict(imports_of(tree.body))
    kept: list[ast.stmt] = []
    constructions = []
    for node in tree.body:
        name = constructed(node)
        if name in bound and bound[name].names == (name,):
            needed = tuple(bound[used] for used in dict.fromkeys(used_names([node])) if used in bound)
            statement = ast.unparse(node)
            target = statement.partition(" ")[0]
            constructions.append(Construction(statement, f"{target}: {name}", needed, bound[name]))
        elif (seen := visible(node, explicit=explicit)) is not None:
            kept.append(seen)
    named = [(name, bound[name]) for name in dict.fromkeys(used_names(kept)) if name in bound]
    inner = [item for node in kept for _, item in imports_of(ast.walk(node))]
    text = "\n".join([*map(str, named), *map(ast.unparse, kept)])
    classes = frozenset(node.name for node in tree.body if isinstance(node, ast.ClassDef) and is_plain(node))
    imports = dict.fromkeys([*(item for _, item in named), *inner])
    return Interface(text, tuple(imports), tuple(constructions), classes)


def imports_of(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, Import]]:
    """Yield the name that each import binds, and the import of only that name."""
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], Import(0, alias.name, ())
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, Import(node.level, node.module or "", (alias.name,))


def constructed(node: ast.stmt) -> str:
    """Return the name of the class in `name = Class(...)`, or an empty string for any other statement."""
    match node:
        case ast.Assign(targets=[ast.Name()], value=ast.Call(func=ast.Name(id=name))):
            return name
    return ""


def visible(node: ast.stmt, *, explicit: bool) -> ast.stmt | None:
    """Return what importers see of a statement at the top level of a module, or None."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return without_body(node)
        case ast.AnnAssign(target=ast.Name(), annotation=annotation, value=ast.expr()):
            if INFERRED.isdisjoint(used_names([annotation])):
                return ast.AnnAssign(node.target, annotation, None, node.simple)
        case ast.Expr():
            return node if "__all__" in used_names([node]) else None
        case ast.ImportFrom(names=names) | ast.Import(names=names):
            again = any(alias.name in ("*", alias.asname) for alias in names)
            return node if again or not explicit else None
    return node


def without_body(node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.stmt:
    """Return a function without its statements. It stays a generator if it is one, which decides the type of a call."""
    inner = [each for statement in node.body for each in ast.walk(statement)]
    if any(isinstance(each, ast.Global) for each in inner):
        return node
    yields = any(isinstance(each, ast.Yield | ast.YieldFrom) for each in inner)
    stub = copy.copy(node)
    stub.body = [ast.Expr(ast.Yield(None) if yields else ast.Constant(...))]
    return stub


def used_names(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Yield the names in some nodes, and the words in their strings, since these can be annotations."""
    for node in nodes:
        for each in ast.walk(node):
            if isinstance(each, ast.Name):
                yield each.id
            elif isinstance(each, ast.Constant) and isinstance(each.value, str):
                yield from re.findall(r"\w+", each.value)


def is_plain(node: ast.ClassDef) -> bool:
    """Return whether a call of a class always has the type of this class."""
    defined = {each.name for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    names = {
        name for base in node.bases if isinstance(base, ast.Subscript) for name in used_names([base.slice])
    }
    special = node.decorator_list or node.keywords or getattr(node, "type_params", [])
    return not special and "__new__" not in defined and names <= PLAIN
