"""Every recipe works by its documented command line, and gives a project whose own tests pass."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .combinations import LINEAR, PATTERNS, TEMPLATE, answers, expected_files
from .conftest import Bake
from .project import Project, assert_passed

RECIPES = sorted(path.stem for path in (TEMPLATE / "recipes").glob("*.json"))


@pytest.fixture(params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def chosen(recipe: str) -> frozenset[str]:
    context = json.loads((TEMPLATE / "recipes" / f"{recipe}.json").read_text(encoding="utf-8"))
    return frozenset(name for name in PATTERNS if context["cookiecutter"][name])


def test_a_recipe_answers_every_pattern_and_leaves_the_names_to_the_user(recipe: str) -> None:
    context = json.loads((TEMPLATE / "recipes" / f"{recipe}.json").read_text(encoding="utf-8"))
    assert context["cookiecutter"].keys() == {*PATTERNS, "http_client"}


def test_the_readme_documents_every_recipe() -> None:
    readme = (TEMPLATE / "README.md").read_text(encoding="utf-8")
    for recipe in RECIPES:
        assert f"--replay-file recipes/{recipe}.json" in readme


def test_a_recipe_gives_a_project_that_passes_its_tests(recipe: str, tmp_path: Path, bake: Bake) -> None:
    """Press Enter at every question that is left."""
    command = ["-m", "cookiecutter", ".", "--replay-file", f"recipes/{recipe}.json", "-o", str(tmp_path)]
    run = subprocess.run(
        [sys.executable, *command],
        cwd=TEMPLATE,
        input="\n" * 20,
        env={**os.environ, "COOKIECUTTER_CONFIG": os.devnull, "HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert_passed(run)
    project = Project(tmp_path / "my-mcp-server", "my_mcp_server")
    assert set(project.files()) == expected_files(chosen(recipe), "my_mcp_server")
    same = bake(**answers(chosen(recipe)))
    assert project.files() == same.files()
    if chosen(recipe) not in LINEAR.values():  # those of the linear design are proven there
        assert project.lint() == ""
        assert_passed(project.run_tests("--ignore=tests/production"))
