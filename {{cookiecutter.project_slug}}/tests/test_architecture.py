"""Rules that no linter checks: no module-level state, and no undeclared dependencies."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import {{ cookiecutter.package_name }} as package

SOURCE = Path(package.__file__).parent
PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
# Owned by the template, which checks what they import.
OWNED_BY_THE_TEMPLATE = {
    *("runtime", "patterns", "utils.py", "settings.py", "database.py", "results.py")
}
MUTATORS = frozenset(
    {"add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove"}
    | {"setdefault", "update"}
)
CONTAINERS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
MAKERS = frozenset({"list", "dict", "set", "defaultdict", "deque", "Counter", "OrderedDict"})


def mutated_state(source: str) -> set[str]:
    """Return the module-level containers that functions change, and their `global` names."""
    tree = ast.parse(source)
    containers = set(module_level_containers(tree))
    if not containers and "global " not in source:
        return set()
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    nodes = (node for function in functions for node in ast.walk(function))
    return {name for node in nodes for name in changed_names(node, containers)}


def module_level_containers(tree: ast.Module) -> Iterator[str]:
    for statement in tree.body:
        match statement:
            case ast.Assign(targets=targets, value=value) if is_container(value):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name), value=value) if is_container(value):
                yield name


def is_container(value: ast.expr | None) -> bool:
    match value:
        case ast.Call(func=ast.Name(id=maker)):
            return maker in MAKERS
    return isinstance(value, CONTAINERS)


def changed_names(node: ast.AST, containers: set[str]) -> list[str]:
    match node:
        case ast.Global(names=names):
            return names
        case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
            return [name] if name in containers else []
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)):
            return [name] if name in containers and method in MUTATORS else []
        case ast.AugAssign(target=ast.Name(id=name)):
            return [name] if name in containers else []
    return []


def test_no_function_changes_module_level_state() -> None:
    modules = {path: path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}
    changed = {path: mutated_state(source) for path, source in modules.items()}
    assert {path: names for path, names in changed.items() if names} == {}


def test_module_level_state_that_a_function_changes_is_found() -> None:
    source = "results = []\nasync def add(item):\n    results.append(item)\n"
    assert mutated_state(source) == {"results"}
    assert mutated_state("def count():\n    global total\n    total = 1\n") == {"total"}


def imported_packages(source: str) -> Iterator[str]:
    """Return the top-level names of the absolute imports."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name.partition(".")[0] for alias in names)
            case ast.ImportFrom(level=0, module=str(module)):
                yield module.partition(".")[0]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_import_is_a_declared_dependency() -> None:
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {}).values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    declared = {canonical(re.split(r"[^\w.-]", line)[0]) for line in lines}
    known = {*sys.stdlib_module_names, package.__name__, "pydantic_core"}  # a part of pydantic
    problems = []
    for path in SOURCE.rglob("*.py"):
        place = path.relative_to(SOURCE)
        if place.parts[0] in OWNED_BY_THE_TEMPLATE:
            continue
        for name in set(imported_packages(path.read_text(encoding="utf-8"))) - known:
            if canonical(name) in declared:
                continue
            providers = packages_distributions().get(name, [name])
            if not declared & set(map(canonical, providers)):
                problems.append(
                    f"{place} imports {name}, which pyproject.toml does not declare:"
                    f" run `uv add {providers[0]}`."
                )
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)
