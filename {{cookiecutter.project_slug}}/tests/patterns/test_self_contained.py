"""Every pattern in one file: no cycle can arise, and no name is taken twice."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

from {{ cookiecutter.package_name }} import (
    utils,
)

UTILS = Path(utils.__file__)
FOUNDATIONS = {"database", "redis_client", "runtime", "settings"}


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """Return what is imported anywhere in a module; names of the package begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ("." * node.level + (node.module or alias.name) for alias in node.names)


def test_the_patterns_are_in_one_file() -> None:
    sections = set(re.findall(r"^# (\w+)$", UTILS.read_text(encoding="utf-8"), flags=re.MULTILINE))
    own = {path.stem for path in (UTILS.parent / "patterns").glob("*.py")}  # none, or yours
    assert not sections & own


def test_any_module_can_be_imported_first_because_no_two_need_each_other() -> None:
    needs: dict[str, set[str]] = {}
    for path in UTILS.parent.rglob("*.py"):
        package = ".".join(path.parent.relative_to(UTILS.parents[1]).parts)
        names = imported_modules(ast.parse(path.read_text(encoding="utf-8")))
        module = package if path.stem == "__init__" else f"{package}.{path.stem}"
        needs[module] = {resolve_name(name, package) for name in names}
    assert utils.__name__ in TopologicalSorter(needs).static_order()  # or raises CycleError


def test_no_import_in_the_file_leads_back_to_it() -> None:
    package = utils.__name__.split(".")[0]
    inside = {
        name.removeprefix(package)
        for name in imported_modules(ast.parse(UTILS.read_text(encoding="utf-8")))
        if name.startswith((".", f"{package}."))
    }
    assert {name.split(".")[1] for name in inside} <= FOUNDATIONS


def test_no_pattern_takes_the_name_of_another() -> None:
    definitions = Counter(
        node.name
        for node in ast.parse(UTILS.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert [name for name, times in definitions.items() if times > 1] == []
