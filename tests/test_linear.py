"""The linear design: none, all, only each, all but each; 26 projects from the real Cookiecutter, as users get them.

With three settings or more it covers every triple of settings. The matrix proves all combinations in ways of its own,
which save time: here they are held against the plain ones.
"""

import os
from pathlib import Path

import pytest

from .combinations import LINEAR, PATTERNS, answers, expected_files
from .conftest import Bake, Projects, Render
from .project import assert_passed

EACH = pytest.mark.parametrize("name", LINEAR)
WHOLE = {"none": 0, "all": 1, "only-self_contained": 2, "all-but-self_contained": 3}


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep what the type checker learns about the libraries, for the next project."""
    return tmp_path_factory.mktemp("types")


def test_the_design_covers_every_triple_of_settings() -> None:
    rows = [tuple(name in chosen for name in PATTERNS) for chosen in LINEAR.values()]
    indices = range(len(PATTERNS))
    for a in indices:
        for b in indices[a + 1 :]:
            for c in indices[b + 1 :]:
                assert len({(row[a], row[b], row[c]) for row in rows}) == 8


@EACH
def test_the_fast_rendering_is_byte_for_byte_what_cookiecutter_makes(
    name: str, projects: Projects, render: Render
) -> None:
    assert render(LINEAR[name]) == projects(name).files()


@EACH
def test_a_project_has_exactly_the_files_of_its_patterns(name: str, projects: Projects) -> None:
    project = projects(name)
    assert set(project.files()) == expected_files(LINEAR[name], project.package_name)


@EACH
def test_a_project_is_clean_under_its_own_lint_rules(name: str, projects: Projects) -> None:
    assert projects(name).lint() == ""


@pytest.mark.matrix
@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_project_is_strictly_typed_as_its_user_checks_it(name: str, bake: Bake, types: Path) -> None:
    project = bake(**answers(LINEAR[name]))
    for path in project.path.rglob("*.py"):
        # A file of the same name, size and second is the same to mypy.
        os.utime(path, (WHOLE[name], WHOLE[name]))
    assert_passed(project.run("-m", "mypy", "--cache-dir", str(types)))


@pytest.mark.matrix
@pytest.mark.skipif(hasattr(os, "fork"), reason="the matrix runs it")
@pytest.mark.parametrize("name", WHOLE)
def test_a_suite_passes_where_no_process_can_fork(name: str, projects: Projects) -> None:
    assert_passed(projects(name).run_tests())
