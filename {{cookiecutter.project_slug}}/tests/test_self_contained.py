"""Every pattern in one file: no cycle can arise, and the server loads by path from anywhere."""

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

import pytest

from {{ cookiecutter.package_name }} import (
    utils,
)

PROJECT = Path(__file__).parents[1]
UTILS = Path(utils.__file__)
FOUNDATIONS = {"database", "runtime", "settings"}

# Imports utils before anything else of the package, forgets it, and loads server.py as a host does.
PROBE = """
import asyncio, importlib, importlib.util, json, sys

utils, path = sys.argv[1:]
package = utils.split(".")[0]
importlib.import_module(utils)
loaded = [name for name in sys.modules if name.split(".")[0] == package]
for name in loaded:
    del sys.modules[name]

spec = importlib.util.spec_from_file_location("any_name", path)
server = importlib.util.module_from_spec(spec)
spec.loader.exec_module(server)
tools = [tool.name for tool in asyncio.run(server.mcp.list_tools())]
print(json.dumps({"loaded with utils": loaded, "tools": tools}))
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process sees that starts in another directory."""
    probe = subprocess.run(
        [sys.executable, "-c", PROBE, utils.__name__, str(PROJECT / "server.py")],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert probe.returncode == 0, probe.stderr
    seen: dict[str, Any] = json.loads(probe.stdout)
    return seen


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """Return what is imported anywhere in a module; names of the package begin with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ("." * node.level + (node.module or alias.name) for alias in node.names)


def test_the_patterns_are_in_one_file() -> None:
    assert UTILS.name == "utils.py"
    assert not (UTILS.parent / "patterns").exists()


def test_the_server_loads_by_its_path_from_another_directory(elsewhere: dict[str, Any]) -> None:
    assert "process_data" in elsewhere["tools"]


def test_any_module_can_be_imported_first_because_no_two_need_each_other() -> None:
    needs: dict[str, set[str]] = {}
    for path in UTILS.parent.rglob("*.py"):
        package = ".".join(path.parent.relative_to(UTILS.parents[1]).parts)
        names = imported_modules(ast.parse(path.read_text(encoding="utf-8")))
        module = package if path.stem == "__init__" else f"{package}.{path.stem}"
        needs[module] = {resolve_name(name, package) for name in names}
    assert utils.__name__ in TopologicalSorter(needs).static_order()  # or raises CycleError


def test_the_file_can_be_imported_first_and_brings_no_tool(elsewhere: dict[str, Any]) -> None:
    package = utils.__name__.split(".")[0]
    below = {name.split(".")[1] for name in elsewhere["loaded with utils"] if name != package}
    assert "utils" in below
    assert below <= {"utils", *FOUNDATIONS}


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
