"""What no linter sees: module-level state that functions change."""

import ast
from collections.abc import Iterator
from pathlib import Path

import {{ cookiecutter.package_name }} as package

SOURCE = Path(package.__file__).parent
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
