"""The other HTTP client is proven like the default, and differs in nothing but its name."""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from itertools import chain, combinations
from pathlib import Path

import pytest

from matrix.proof import prove, render_all
from matrix.template import Combination

from .combinations import (
    ALL,
    API_PATTERNS,
    DECLARATION,
    LINEAR,
    PACKAGE_NAME,
    PROMPTS,
    answers,
    unit_tests,
)
from .conftest import Bake, Projects, Render, Trees, needs_forks
from .project import assert_passed

CLIENTS = {
    client: replace(
        DECLARATION,
        answers={**DECLARATION.answers, "http_client": client},
        unit_tests=partial(unit_tests, http_client=client),
    )
    for client in PROMPTS["http_client"]
}
EIGHT = [
    frozenset(chosen)
    for chosen in chain.from_iterable(combinations(API_PATTERNS, count) for count in range(4))
]
HTTPX2 = re.compile(r"^\s*(?:import|from) httpx2\b", flags=re.MULTILINE)


def naming_the_client(combination: Combination) -> set[str]:
    """Return the files in which the client is named."""
    package = f"src/{PACKAGE_NAME}"
    files = {"pyproject.toml"}
    if combination & set(API_PATTERNS):
        files |= {f"{package}/runtime/{name}.py" for name in ("api_client", "api_urls")}
        files |= {f"{package}/example_api.py", "tests/test_api_client.py"}
        if "connection_pooling" not in combination:
            files.add(f"{package}/upstream.py")
    for name in combination & {"connection_pooling", "retry"}:
        module = "utils.py" if "self_contained" in combination else f"patterns/{name}.py"
        files |= {f"{package}/{module}", f"tests/patterns/test_{name}.py"}
    return files


def other_lines(path: str, before: bytes, after: bytes) -> list[tuple[str, str]]:
    """Return the lines that differ in more than the client's name."""
    lines = zip(before.decode().splitlines(), after.decode().splitlines(), strict=True)
    return [(old, new) for old, new in lines if old != new and not is_the_clients_name(path, old, new)]


def is_the_clients_name(path: str, old: str, new: str) -> bool:
    if path.endswith(".py"):
        return (old, new) == ("import httpx2 as httpx", "import httpx")
    if path == "pyproject.toml":
        dependency = re.fullmatch(r' +"httpx2>=[^"]+",', old) and re.fullmatch(r' +"httpx>=[^"]+",', new)
        banned = re.sub(r'^"httpx2(\.\w+"\.msg = )', r'"httpx\1', old) == new
        return bool(dependency) or banned
    return False


def importing_httpx2(contents: Iterable[tuple[str, str]]) -> list[str]:
    """Return the modules of the package that import httpx2; tests speak httpx2 to the server, whatever it uses."""
    return [path for path, text in contents if path.startswith("src/") and HTTPX2.search(text)]


@pytest.mark.parametrize("name", LINEAR)
def test_the_two_projects_differ_only_where_the_client_is_named(
    name: str, projects: Projects, render: Render
) -> None:
    default = projects(name).files()
    other = render(LINEAR[name], http_client="httpx")
    assert default.keys() == other.keys()
    changed = {path for path in default if default[path] != other[path]}
    assert changed == naming_the_client(LINEAR[name])
    for path in changed:
        assert other_lines(path, default[path], other[path]) == [], path
    assert importing_httpx2((path, content.decode()) for path, content in other.items()) == []


@pytest.mark.matrix
def test_the_two_projects_of_every_combination_differ_only_there(trees: Trees) -> None:
    store, defaults = trees
    others = render_all(CLIENTS["httpx"], list(defaults), store, lambda _: None)
    versions: set[tuple[str, str, str]] = set()
    contents: set[tuple[str, str]] = set()
    for combination, default in defaults.items():
        name, other = DECLARATION.name(combination), others[combination]
        assert not isinstance(other, str), other
        assert default.keys() == other.keys(), name
        changed = {path for path in default if default[path] != other[path]}
        assert changed == naming_the_client(combination), name
        versions |= {(path, default[path], other[path]) for path in changed}
        contents |= other.items()
    for path, before, after in versions:
        assert other_lines(path, store.read(before), store.read(after)) == [], path
    assert importing_httpx2((path, store.text(identity)) for path, identity in contents) == []


@pytest.mark.matrix
@needs_forks
def test_the_whole_suites_pass_with_every_combination_of_the_api_patterns(tmp_path: Path) -> None:
    """They are linted and typed too; those of httpx2 are among the combinations of the matrix."""
    chosen = [*EIGHT, ALL]
    proof = prove(CLIENTS["httpx"], chosen, tmp_path, dedup=False, processes=False)
    assert "\n".join(filter(None, map(proof.report, chosen))) == ""
    assert min(proof.tests[combination] for combination in chosen) > 40


@pytest.mark.matrix
def test_the_running_process_that_calls_an_api_holds_with_httpx(bake: Bake) -> None:
    """The other processes run the same lines, as every combination shows."""
    project = bake(http_client="httpx", **answers(ALL))
    # As pytest sorts them: the faults of test_upstream use up the budget of retries.
    names = ("calls", "signals", *API_PATTERNS, "upstream")
    assert_passed(project.run_tests(*(f"tests/production/test_{name}.py" for name in names)))
