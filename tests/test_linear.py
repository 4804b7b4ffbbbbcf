"""The linear design (none, all, only each, all but each) as 30 projects, rendered by the real Cookiecutter.

It covers every triple of settings. The matrix renders and checks all combinations with optimizations. These tests
compare the results with the plain tools.
"""

import os
from collections.abc import Callable

import pytest
from pytest_cookies.plugin import Cookies

from matrix.factoring import Factoring
from matrix.proof import render_all
from matrix.rendering import Files
from matrix.template import Combination
from matrix.trees import Store

from .combinations import DECLARATION, LINEAR, PATTERNS, answers, expected_files
from .conftest import Bake, Projects, Render, bake_with
from .drawn import draw
from .project import assert_passed

DRAWN = draw()
EACH = pytest.mark.parametrize("name", LINEAR)
WHOLE = {"none": 0, "all": 1, "only-self_contained": 2, "all-but-self_contained": 3}


def test_the_design_covers_every_triple_of_settings() -> None:
    rows = [tuple(name in chosen for name in PATTERNS) for chosen in LINEAR.values()]
    indices = range(len(PATTERNS))
    for a in indices:
        for b in indices[a + 1 :]:
            for c in indices[b + 1 :]:
                assert len({(row[a], row[b], row[c]) for row in rows}) == 8


@pytest.fixture(scope="module")
def pieced(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Combination, Combination], Files]:
    """Render the compared combinations with the matrix. Return a function that returns the files of one project."""
    store = Store(tmp_path_factory.mktemp("contents"))
    asked = [*LINEAR.values(), *(combination for combination, _ in DRAWN)]
    rendered = render_all(DECLARATION, dict.fromkeys(asked), store, lambda _: None)

    def project(combination: Combination, variation: Combination) -> Files:
        found = rendered[combination]
        assert not isinstance(found, str), found
        return {path: store.read(identity) for path, identity in found.tree(variation).items()}

    return project


def test_every_project_is_rendered_in_pieces() -> None:
    """Otherwise the matrix would render each project whole, which takes an hour."""
    factoring = Factoring(DECLARATION)
    assert {piece.source for piece in factoring.pieces} >= {"README.md", "pyproject.toml"}
    assert all(len(factoring.by_source[path].sections) > 1 for path in ("README.md", "pyproject.toml"))
    assert factoring.hook.by_file
    assert factoring.pre.code is not None


@EACH
def test_the_pieces_are_byte_for_byte_what_cookiecutter_renders(
    name: str, projects: Projects, pieced: Callable[[Combination, Combination], Files]
) -> None:
    assert pieced(LINEAR[name], frozenset()) == projects(name).files()


@pytest.mark.matrix
@pytest.mark.parametrize("drawn", DRAWN, ids=lambda drawn: DECLARATION.name(drawn[0] | drawn[1]))
def test_the_pieces_of_a_random_combination_are_what_cookiecutter_renders(
    drawn: tuple[Combination, Combination],
    cookies: Cookies,
    pieced: Callable[[Combination, Combination], Files],
) -> None:
    combination, variation = drawn
    project = bake_with(cookies, DECLARATION.answers_for(combination | variation))
    assert pieced(combination, variation) == project.files()


@EACH
def test_a_project_rendered_as_a_whole_is_byte_for_byte_what_cookiecutter_renders(
    name: str, projects: Projects, render: Render
) -> None:
    """The matrix renders the templates of forks this way if their hook is not a function."""
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
def test_a_project_passes_strict_type_checking(name: str, bake: Bake) -> None:
    project = bake(**answers(LINEAR[name]))
    for path in project.path.rglob("*.py"):
        # mypy does not detect a change that keeps the name, size and mtime of a file, so set distinct mtimes.
        os.utime(path, (WHOLE[name], WHOLE[name]))
    assert_passed(project.run("-m", "mypy"))


@pytest.mark.matrix
@pytest.mark.skipif(hasattr(os, "fork"), reason="the matrix runs these tests")
@pytest.mark.parametrize("name", WHOLE)
def test_a_suite_passes_where_no_process_can_fork(name: str, projects: Projects) -> None:
    assert_passed(projects(name).run_tests())
