import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pytest_cookies.plugin import Cookies

from matrix import page
from matrix.progress import Progress
from matrix.proof import Proof, prove
from matrix.template import Combination

from .combinations import DECLARATION, LINEAR, PROMPTS, TEMPLATE, answers
from .project import Project
from .user import User

Bake = Callable[..., Project]
Projects = Callable[[str], Project]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("matrix", "the proof of every combination")
    group.addoption("--shard", metavar="I/N", help="prove the I-th of N parts of the combinations only")
    group.addoption("--no-dedup", action="store_true", help="run every suite in every project, for hours")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the combinations of the shard only."""
    if shard := config.getoption("--shard"):
        part = DECLARATION.shard(shard)
        other = [item for item in items if combination_of(item) not in {None, *part}]
        config.hook.pytest_deselected(items=other)
        items[:] = [item for item in items if item not in set(other)]


def combination_of(item: pytest.Item) -> Combination | None:
    """Return the combination that a test is about."""
    call = getattr(item, "callspec", None)
    return call.params.get("combination") if call else None


@pytest.fixture(scope="session")
def proof(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Proof:
    """Prove every combination that a selected test asks for, in one go."""
    chosen = [one for item in request.session.items if (one := combination_of(item)) is not None]
    dedup = not request.config.getoption("--no-dedup")
    start = time.monotonic()
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        found = prove(
            DECLARATION, chosen, tmp_path_factory.mktemp("matrix"), progress=Progress(sys.stderr), dedup=dedup
        )
        figures = page.summary(found, seconds=time.monotonic() - start, dedup=dedup)
        print(page.one_line(figures))
    if (
        figures["combinations"]["proven"]
        == figures["combinations"]["green"]
        == 2 ** len(DECLARATION.patterns)
    ):
        page.write(TEMPLATE / "docs", found, figures)
    return found


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
