import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pytest_cookies.plugin import Cookies

from .combinations import LINEAR, PROMPTS, answers
from .project import Project
from .user import User

Bake = Callable[..., Project]
Projects = Callable[[str], Project]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the generated suites first and ask for their results last: they run beside everything else."""

    def turn(item: pytest.Item) -> int:
        if "suites" in getattr(item, "fixturenames", ()):
            return 2
        return 0 if item.path.name == "test_linear.py" else 1

    items.sort(key=turn)


@pytest.fixture(scope="session", autouse=True)
def _temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Cookiecutter leaves a temporary file behind for every hook it runs."""
    previous = tempfile.tempdir
    tempfile.tempdir = str(tmp_path_factory.mktemp("hooks"))
    yield
    tempfile.tempdir = previous


def bake_with(cookies: Cookies, answers: dict[str, Any]) -> Project:
    """Bake with the real Cookiecutter; a name that is no prompt is a mistake of the test."""
    unknown = answers.keys() - PROMPTS.keys()
    assert not unknown, f"no such prompts: {unknown}"
    result = cookies.bake(extra_context=answers)
    assert result.exception is None, result.exception
    return Project(Path(result.project_path), result.context["package_name"])


@pytest.fixture
def bake(cookies: Cookies) -> Bake:
    """Bake a project with the given answers; the others have their defaults."""

    def baked(**answers: Any) -> Project:
        return bake_with(cookies, answers)

    return baked


@pytest.fixture(scope="session")
def bake_once(cookies_session: Cookies) -> Bake:
    """Bake a project that several tests look at; none of them may change it."""

    def baked(**answers: Any) -> Project:
        return bake_with(cookies_session, answers)

    return baked


@pytest.fixture(scope="session")
def user(tmp_path_factory: pytest.TempPathFactory) -> User:
    return User(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def published(user: User, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the template in its one commit; no test may change it."""
    folder = tmp_path_factory.mktemp("published")
    user.publish_template(folder)
    return folder


@pytest.fixture(scope="session")
def projects(bake_once: Bake) -> Projects:
    """Bake each project of the linear design once, with a package name of its own; none of them may be changed."""

    @cache
    def project(name: str) -> Project:
        slug = f"linear-{name.replace('_', '-')}"
        return bake_once(project_slug=slug, package_name=slug.replace("-", "_"), **answers(LINEAR[name]))

    return project
