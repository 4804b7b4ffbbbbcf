"""Every recipe works with its documented command, and generates a project that the matrix proves."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from matrix.template import Combination

from .combinations import PATTERNS, PROMPTS, TEMPLATE, expected_files
from .conftest import Render
from .project import Project, assert_passed

RECIPES = sorted(path.stem for path in (TEMPLATE / "recipes").glob("*.json"))


@pytest.fixture(params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def answered(recipe: str) -> dict[str, object]:
    context = json.loads((TEMPLATE / "recipes" / f"{recipe}.json").read_text(encoding="utf-8"))
    answers: dict[str, object] = context["cookiecutter"]
    return answers


def chosen(recipe: str) -> Combination:
    return frozenset(name for name in PATTERNS if answered(recipe)[name])


def test_a_recipe_answers_every_pattern_and_leaves_the_names_to_the_user(recipe: str) -> None:
    answers = answered(recipe)
    assert answers.keys() == {*PATTERNS, "http_client", "container", "ci"}
    assert all(isinstance(answers[name], bool) for name in PATTERNS)
    assert answers["http_client"] == PROMPTS["http_client"][0]
    assert (answers["container"], answers["ci"]) == (PROMPTS["container"], PROMPTS["ci"][0])


def test_the_readme_documents_every_recipe() -> None:
    readme = (TEMPLATE / "README.md").read_text(encoding="utf-8")
    for recipe in RECIPES:
        assert f"--replay-file recipes/{recipe}.json" in readme


def test_a_recipe_gives_the_project_that_the_matrix_proves(
    recipe: str, tmp_path: Path, render: Render
) -> None:
    """Press Enter at every remaining prompt."""
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
    assert project.files() == render(chosen(recipe))
