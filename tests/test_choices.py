"""A choice of delivery changes nothing that the patterns change: so each is proven alone, not in every combination."""

import ast
import os
import tomllib
from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path

import pytest
from jinja2 import nodes

from matrix.forkserver import Job
from matrix.rendering import Files
from matrix.trees import Store
from matrix.workers import run_all, workers

from .combinations import ALL, DECLARATION, NONE, PACKAGE_NAME, PROMPTS, SKELETON, TEMPLATE, answers
from .conftest import Bake, Trees, needs_forks
from .test_coupling import ENVIRONMENT, FILES, SEES

# What decides the code: the patterns, and the choice that is proven in every combination.
CODE = {*ALL, "http_client"}
DELIVERY = {name for name, default in PROMPTS.items() if isinstance(default, list) and name[0] != "_"} - CODE
# Every answer but the default, which the matrix proves.
CHOICES = [(name, value) for name in sorted(DELIVERY) for value in PROMPTS[name][1:]]
EACH = pytest.mark.parametrize(("name", "value"), CHOICES)
ANSWERS = nodes.Name("cookiecutter", "load")
METADATA = 'license = "{}"'
LICENSES = {value: value for value in PROMPTS["license"]} | {"Proprietary": "LicenseRef-Proprietary"}


def parts(text: str) -> Iterator[set[str]]:
    """Return which prompts each part of a template depends on, directly or by a variable.

    What is rendered are the texts of the parts, one after the other.
    """
    variables: dict[str, set[str]] = {}
    for node in ENVIRONMENT.parse(text).body:
        for part in [[child] for child in node.nodes] if isinstance(node, nodes.Output) else [[node]]:
            inside = nodes.Template(part)
            names = list(inside.find_all(nodes.Name))
            read = [item.attr for item in inside.find_all(nodes.Getattr) if item.node == ANSWERS]
            assert len(read) == names.count(ANSWERS), "a part reads the answers as a whole"
            prompts = set(read).union(*(variables.get(name.name, ()) for name in names))
            variables |= {name.name: prompts for name in names if name.ctx == "store"}
            yield prompts


def changes(before: Files, after: Files) -> dict[str, list[str]]:
    """Return the lines that go, and those that come, by file."""
    assert before.keys() == after.keys()
    changed = {}
    for path in before:
        if before[path] != after[path]:
            old, new = before[path].decode().splitlines(), after[path].decode().splitlines()
            changed[path] = [line for line in list(unified_diff(old, new, n=0))[2:] if line[0] in "+-"]
    return changed


def test_a_choice_of_delivery_and_the_code_meet_in_one_file_only() -> None:
    meeting = {path for path, seen in SEES.items() if seen & DELIVERY and seen & CODE}
    assert meeting == {"pyproject.toml"}


@pytest.mark.parametrize("path", [path for path, seen in SEES.items() if seen & DELIVERY])
def test_no_part_of_a_file_depends_on_both(path: str) -> None:
    """So a choice changes the same text in all 4,096 combinations, and a pattern under every choice."""
    found = list(parts((SKELETON / path).read_text(encoding="utf-8")))
    assert set().union(*found) == SEES[path]
    assert [prompts for prompts in found if prompts & DELIVERY and prompts & CODE] == []


@pytest.mark.parametrize(
    "text",
    [
        "{% if cookiecutter.retry %}{{ cookiecutter.license }}{% endif %}",
        "{{ cookiecutter.license if cookiecutter.retry }}",
        "{% set retries = cookiecutter.retry %}{% if retries %}{{ cookiecutter.license }}{% endif %}",
    ],
)
def test_a_part_that_depends_on_both_is_found(text: str) -> None:
    assert {"retry", "license"} in list(parts(text))


def test_the_hook_that_changes_files_asks_for_no_choice_of_delivery() -> None:
    tree = ast.parse((TEMPLATE / "hooks" / "post_gen_project.py").read_text(encoding="utf-8"))
    asked = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    owners = {path.stem.removeprefix("test_") for path in FILES}
    assert not DELIVERY & (asked | owners)


@EACH
def test_a_choice_changes_the_same_lines_without_patterns_and_with_all(
    name: str, value: str, bake_once: Bake
) -> None:
    without, with_all = (
        changes(
            bake_once(**answers(chosen)).files(),
            bake_once(**answers(chosen), **{name: value}).files(),
        )
        for chosen in (NONE, ALL)
    )
    assert without == with_all
    assert without.keys() <= {path for path, seen in SEES.items() if name in seen}


@pytest.mark.parametrize("value", PROMPTS["license"])
def test_a_licence_is_a_text_and_one_line_of_the_metadata(value: str, bake_once: Bake) -> None:
    default, project = bake_once(), bake_once(license=value)
    changed = changes(default.files(), project.files())
    line = METADATA.format(LICENSES[value])
    if value != PROMPTS["license"][0]:
        assert changed.keys() == {"LICENSE", "pyproject.toml"}
        assert changed["pyproject.toml"] == [f"-{METADATA.format('MIT')}", f"+{line}"]
    metadata = tomllib.loads(project.text("pyproject.toml"))["project"]
    assert metadata["license"] == LICENSES[value]
    assert metadata["license-files"] == ["LICENSE"]
    assert f"Copyright (c) {PROMPTS['author_name']}\n" in project.text("LICENSE")


@pytest.mark.matrix
def test_no_pattern_changes_what_a_licence_changes(trees: Trees) -> None:
    """In all 4,096: the same text, and the same one line."""
    store, projects = trees
    assert len({tree["LICENSE"] for tree in projects.values()}) == 1
    for metadata in {tree["pyproject.toml"] for tree in projects.values()}:
        assert store.text(metadata).splitlines().count(METADATA.format("MIT")) == 1


@pytest.mark.matrix
@needs_forks
def test_a_project_with_any_choice_passes_its_own_tests(bake_once: Bake, tmp_path: Path) -> None:
    (tmp_path / "contents").mkdir()
    store = Store(tmp_path / "contents")
    tasks = []
    for name, value in CHOICES:
        for chosen in (NONE, ALL):
            files = bake_once(**answers(chosen), **{name: value}).files()
            tests = sorted(path for path in files if path.startswith("tests/test_"))
            tasks.append((store.add(files), Job("", [DECLARATION.sources], tests, package=PACKAGE_NAME)))
    with workers(tmp_path / "workers", store, os.cpu_count() or 1, DECLARATION.plugins) as team:
        outcomes = run_all(team, tasks, lambda _: None)
    for (_, job), outcome in zip(tasks, outcomes, strict=True):
        assert not outcome.error
        assert outcome.not_passed == {}
        assert sorted(outcome.passed) == job.tests
