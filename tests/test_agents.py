"""The files for coding agents and editors in a project: instructions, a skill, and `.env.example`."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from .combinations import LINEAR, PACKAGE_NAME
from .conftest import Projects
from .project import Project, assert_passed
from .test_recipe import COMMANDS

SKILL = "skills/add-a-tool/SKILL.md"
EACH = pytest.mark.parametrize("name", LINEAR)
SOME = pytest.mark.parametrize("name", ["none", "all", "all-but-self_contained", "only-retry"])


def run(project: Project, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a program from the test environment."""
    path = shutil.which(program, path=str(Path(sys.executable).parent))
    assert path, f"{program} is not installed: run `uv sync`"
    return subprocess.run(
        [path, *arguments], cwd=project.path, capture_output=True, check=False, encoding="utf-8"
    )


@SOME
def test_the_validators_of_skills_and_instructions_accept_the_project(name: str, projects: Projects) -> None:
    project = projects(name)
    for folder in (".agents", ".claude"):
        assert_passed(run(project, "agentskills", "validate", f"{folder}/{SKILL}"))
    linted = run(project, "skillsaw", "lint", "--strict", ".")
    assert_passed(linted)


@EACH
def test_both_copies_of_the_skill_are_the_same(name: str, projects: Projects) -> None:
    project = projects(name)
    assert project.text(f".agents/{SKILL}") == project.text(f".claude/{SKILL}")


@EACH
def test_the_skill_ends_with_the_checks_of_the_recipe(name: str, projects: Projects) -> None:
    """The skill refers to the recipe in README.md for the code, and `test_recipe.py` follows that recipe."""
    project = projects(name)
    skill = project.text(f".agents/{SKILL}")
    (commands,) = re.findall(r"^   ```sh\n(.*?)^   ```$", skill, flags=re.DOTALL | re.MULTILINE)
    assert commands.replace("   uv", "uv") == COMMANDS
    readme = project.text("README.md")
    assert '"Add a tool" in README.md' in skill
    assert "\n## Add a tool\n" in readme
    recipe = readme.split("\n## Add a tool\n")[1]
    for word in set(re.findall(r"`(api: Api|key: IdempotencyKey|mcp\.add_resource|answer\.parse)", skill)):
        assert word in recipe


@EACH
def test_every_path_of_the_instructions_exists(name: str, projects: Projects) -> None:
    project = projects(name)
    assert project.text("CLAUDE.md") == "@AGENTS.md\n"
    for page in ("AGENTS.md", f".agents/{SKILL}"):
        cited = re.findall(r"`([\w./-]+(?:/|\.py|\.md|\.toml|\.example))`", project.text(page))
        assert len(cited) > 3
        for path in cited:
            places = (project.path, project.package, project.path / "tests")
            assert any((place / path).exists() for place in places), f"{page}: {path}"
    unnamed = {"patterns", "utils.py", "upstream.py", "environment_config.toml"}
    for path in unnamed:
        assert (f"src/{PACKAGE_NAME}/{path}" in project.text("AGENTS.md")) == (
            project.package / path
        ).exists(), path


@EACH
def test_both_lists_of_the_files_of_the_template_are_complete(name: str, projects: Projects) -> None:
    """The lists are in AGENTS.md and README.md. A folder ends with a slash."""
    project = projects(name)
    instructions = project.text("AGENTS.md").split("\n## Do not change\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`([^`]+)`", instructions)) - {"environment_config.toml"}
    layout = project.text("README.md").split("\nThe template owns these files.")[1].split("```\n")[1]
    package, others = f"src/{PACKAGE_NAME}/", set()
    for line in layout.splitlines():
        if line != package:
            others.add((package if line.startswith(" ") else "") + line.split()[0])
    # README.md names these for some patterns only, because authentication and telemetry are additive.
    folders = {f"{package}patterns/", f"{package}patterns/authentication.py", "tests/patterns/"}
    assert named - folders == others - folders
    found = {f"{path.name}/" if path.is_dir() else path.name for path in project.package.iterdir()}
    yours = {"server.py", "tools/", "upstream.py", "example_api.py", "environment_config.toml"}
    nothing_to_edit = {"__init__.py", "py.typed", "__pycache__/"}
    in_package = {path.removeprefix(package) for path in named if path.startswith(package)}
    assert found - yours - nothing_to_edit == in_package
    for path in named:
        assert (project.path / path).exists(), path


@EACH
def test_the_example_of_env_can_be_used_with_every_line(name: str, projects: Projects) -> None:
    """Settings at their defaults change nothing, and empty settings are unset."""
    project = projects(name)
    lines = re.findall(r"^# ([A-Z_]+=.*)$", project.text(".env.example"), flags=re.MULTILINE)
    assert len(lines) > 15
    script = (
        f"import {PACKAGE_NAME}.server\nfrom {PACKAGE_NAME}.settings import check_settings\ncheck_settings()"
    )
    variables = dict(line.split("=", 1) for line in lines)
    assert_passed(project.run("-c", script, **variables))


def test_no_line_of_the_example_of_env_is_committed_with_secrets(projects: Projects) -> None:
    ignored = projects("all").text(".gitignore").splitlines()
    assert ".env" in ignored
    assert ".env.example" not in ignored


@EACH
def test_the_changelog_has_no_version_before_the_first_release(name: str, projects: Projects) -> None:
    """Keep a Changelog gives each version a date, which a new project does not have."""
    changelog = projects(name).text("CHANGELOG.md")
    assert re.findall("^## .+$", changelog, flags=re.MULTILINE) == ["## [Unreleased]"]
    assert changelog.endswith("\n- First version.\n")


def test_development_uses_the_lowest_supported_python(projects: Projects) -> None:
    """This exposes the use of features of newer Python versions. The image has a newer one."""
    project = projects("all")
    lowest = tomllib.loads(project.text("pyproject.toml"))["project"]["requires-python"]
    assert project.text(".python-version") == f"{lowest.removeprefix('>=')}\n"
