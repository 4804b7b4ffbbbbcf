"""What no linter sees: module-level state that functions change."""

import ast
from pathlib import Path

import pytest

import {{ cookiecutter.package_name }} as package

SOURCE = Path(package.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
MUTATORS = frozenset(
    {"add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove"}
    | {"setdefault", "update"}
)
CONTAINERS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
MAKERS = frozenset({"list", "dict", "set", "defaultdict", "deque", "Counter", "OrderedDict"})


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def mutated_state(source: str) -> list[str]:
    """Return the module-level containers that functions change, and their `global` names."""
    tree = ast.parse(source)
    containers = {
        target.id
        for statement in tree.body
        if isinstance(statement, ast.Assign | ast.AnnAssign) and is_container(statement.value)
        for target in (
            statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        )
        if isinstance(target, ast.Name)
    }
    found = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                found += changed_names(node, containers)
    return sorted(set(found))


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


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_no_function_changes_module_level_state(path: Path) -> None:
    assert mutated_state(path.read_text(encoding="utf-8")) == []


def test_module_level_state_that_a_function_changes_is_found() -> None:
    source = "results = []\nasync def add(item):\n    results.append(item)\n"
    assert mutated_state(source) == ["results"]
