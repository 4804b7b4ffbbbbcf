"""Rendering is reproducible, and the rendered files have clean whitespace and are short enough to read."""

import re
from pathlib import Path

import pytest
from pytest_cookies.plugin import Cookies

from .combinations import LINEAR, PACKAGE, SKELETON, answers
from .conftest import Bake, Projects, bake_with
from .project import Project

LONG_NAME = "a_very_long_package_name_that_still_has_to_fit_in_every_import_64"


@pytest.fixture(params=LINEAR)
def project(request: pytest.FixtureRequest, projects: Projects) -> Project:
    return projects(request.param)


@pytest.mark.parametrize("name", ["none", "all", "all-but-self_contained"])
def test_two_renders_are_identical(name: str, projects: Projects, cookies: Cookies) -> None:
    second = bake_with(cookies, answers(LINEAR[name]))
    assert projects(name).path != second.path
    assert projects(name).files() == second.files()


def test_every_file_is_clean(project: Project) -> None:
    for name, content in project.files().items():
        text = content.decode("utf-8")
        if text:
            assert "\r" not in text, name
            assert "\t" not in text, name
            assert text.endswith("\n"), name
            assert not text.endswith("\n\n"), name
            assert not text.startswith("\n"), name
            assert not re.search(r"[ \t]$", text, flags=re.MULTILINE), name
            # GitHub expressions are not template expressions.
            assert "{{" not in (text.replace("${{", "") if name.startswith(".github/") else text), name
            assert "{%" not in text, name


@pytest.mark.parametrize("folder", ["runtime", "patterns", "tools"])
def test_code_without_template_code_comes_out_as_it_stands(folder: str, bake_once: Bake) -> None:
    def sources(package: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (package / folder).glob("*.py")}

    assert sources(SKELETON / PACKAGE) == sources(bake_once().package)


def test_python_lines_are_short_enough(project: Project) -> None:
    for name, content in project.files().items():
        if name.endswith(".py"):
            for number, line in enumerate(content.decode("utf-8").splitlines(), start=1):
                assert len(line) <= 100 or "noqa" in line or "type: ignore" in line, f"{name}:{number}"


@pytest.mark.parametrize("name", ["none", "all", "all-but-self_contained"])
@pytest.mark.parametrize("package_name", ["a", LONG_NAME[:64]])
def test_the_format_holds_for_every_package_name(name: str, package_name: str, bake: Bake) -> None:
    assert bake(package_name=package_name, **answers(LINEAR[name])).lint() == ""
