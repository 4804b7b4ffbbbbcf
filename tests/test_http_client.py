"""The other HTTP client is proven like the default, and differs in nothing but its name."""

import re
from pathlib import Path

import pytest

from .combinations import ALL, API_PATTERNS, NONE, Combination, answers
from .conftest import Bake
from .project import assert_passed

CASES: dict[str, Combination] = {
    "none": NONE,
    "all": ALL,
    **{name: frozenset({name}) for name in API_PATTERNS},
}
EACH = pytest.mark.parametrize("chosen", CASES.values(), ids=CASES)


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep what the type checker learns about the libraries, for the next project."""
    return tmp_path_factory.mktemp("types")


@EACH
def test_a_project_with_httpx_passes_its_tests_and_is_clean(
    chosen: Combination, bake: Bake, types: Path
) -> None:
    project = bake(http_client="httpx", **answers(chosen))
    assert project.lint() == ""
    assert_passed(project.run("-m", "mypy", "--cache-dir", str(types)))
    # The process around the client does not depend on it: that one is run with all patterns.
    unit_tests = [] if chosen == ALL else ["--ignore=tests/production"]
    assert_passed(project.run_tests(*unit_tests))


@EACH
def test_the_two_projects_differ_only_where_the_client_is_named(chosen: Combination, bake: Bake) -> None:
    default = bake(**answers(chosen)).files()
    other = bake(http_client="httpx", **answers(chosen)).files()
    assert default.keys() == other.keys()
    for name, content in default.items():
        before, after = content.decode().splitlines(), other[name].decode().splitlines()
        assert len(before) == len(after), name
        for old, new in zip(before, after, strict=True):
            assert old == new or is_the_clients_name(name, old, new), f"{name}: {old} -> {new}"


def is_the_clients_name(name: str, old: str, new: str) -> bool:
    if name.endswith(".py"):
        return (old, new) == ("import httpx2 as httpx", "import httpx")
    if name == "pyproject.toml":
        dependency = old.strip().startswith('"httpx2>=') and new.strip().startswith('"httpx>=')
        return dependency or re.sub(r'^"httpx2\.', '"httpx.', old) == new
    return False
