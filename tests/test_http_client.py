"""Projects with the other HTTP client differ only in its name. The matrix proves that they work."""

import re

import pytest

from matrix.rendering import Files

from .combinations import ALL, API_PATTERNS, LINEAR, answers
from .conftest import Bake, Projects, Render
from .project import assert_passed

DEFAULT, OTHER = "import httpx2 as httpx", "import httpx"
# Tests talk to the server with httpx2, even if the server itself uses httpx.
HTTPX2 = re.compile(r"^\s*(?:import|from) httpx2\b", flags=re.MULTILINE)


def is_the_clients_name(path: str, old: str, new: str) -> bool:
    if path.endswith(".py"):
        return (old, new) == (DEFAULT, OTHER)
    dependency = re.fullmatch(r' +"httpx2>=[^"]+",', old) and re.fullmatch(r' +"httpx>=[^"]+",', new)
    banned = re.sub(r'^"httpx2(\.\w+"\.msg = )', r'"httpx\1', old) == new
    return path == "pyproject.toml" and bool(dependency or banned)


def changed_files(before: Files, after: Files) -> set[str]:
    """Return the files that differ, and check that they differ only in the client's name."""
    assert before.keys() == after.keys()
    changed = {path for path in before if before[path] != after[path]}
    for path in changed:
        lines = zip(before[path].decode().splitlines(), after[path].decode().splitlines(), strict=True)
        others = [(old, new) for old, new in lines if old != new and not is_the_clients_name(path, old, new)]
        assert others == [], path
    return changed


@pytest.mark.parametrize("name", LINEAR)
def test_the_two_projects_differ_only_where_the_client_is_named(
    name: str, projects: Projects, render: Render
) -> None:
    default = projects(name).files()
    other = render(LINEAR[name], http_client="httpx")
    naming = {path for path, content in default.items() if DEFAULT in content.decode().splitlines()}
    assert changed_files(default, other) == {"pyproject.toml"} | naming
    assert bool(naming) == bool(LINEAR[name] & set(API_PATTERNS))


@pytest.mark.parametrize("name", LINEAR)
def test_no_module_imports_the_client_that_was_not_chosen(name: str, render: Render) -> None:
    other = render(LINEAR[name], http_client="httpx")
    modules = {path: content.decode() for path, content in other.items() if path.startswith("src/")}
    assert [path for path, text in modules.items() if HTTPX2.search(text)] == []


@pytest.mark.matrix
def test_the_production_tests_of_the_api_pass_with_httpx(bake: Bake) -> None:
    """The other production tests run the same code with either client."""
    project = bake(http_client="httpx", **answers(ALL))
    # Keep pytest's order: the faults of test_upstream exhaust the retry budget.
    names = ("calls", "signals", *API_PATTERNS, "upstream")
    assert_passed(project.run_tests(*(f"tests/production/test_{name}.py" for name in names)))
