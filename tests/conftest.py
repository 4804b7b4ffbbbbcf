import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from cookiecutter import hooks
from pytest_cookies.plugin import Cookies

from matrix import page, rendering
from matrix.proof import Proof
from matrix.template import Combination

from . import drawn, spreading
from .accounting import Accounting
from .combinations import DECLARATION, LINEAR, PROMPTS, TEMPLATE, answers
from .project import Project
from .proving import Proving, proving
from .user import User

Bake = Callable[..., Project]
Projects = Callable[[str], Project]
Render = Callable[..., rendering.Files]

needs_forks = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="the suites run in forks, which Windows does not have"
)
# These tests run inside generated projects, or with the code of one.
collect_ignore = ["unit"] if os.environ.get("ENGINE_TESTS") else ["unit", "on_redis"]
PROVING = pytest.StashKey[Proving]()
ACCOUNTING = pytest.StashKey[Accounting]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("matrix", "the proof of every combination")
    group.addoption("--shard", metavar="I/N", help="prove the I-th of N parts of the combinations only")
    group.addoption("--bounds", action="store_true", help="run what is marked `bounds`, and nothing else")
    group.addoption("--no-dedup", action="store_true", help="run every suite in every project, for hours")


def pytest_configure(config: pytest.Config) -> None:
    """Enable bytecode caching in any environment: without it, a server takes three times as long to start.

    Also register the plugin that measures the tests.
    """
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    config.stash[ACCOUNTING] = Accounting(config)
    config.pluginmanager.register(config.stash[ACCOUNTING], "accounting")


def pytest_report_header() -> str:
    """Print the commit from which the combinations for the real Cookiecutter are drawn."""
    return f"drawn combinations: from {drawn.source()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select the tests for `--bounds` and `--shard`, and order them for the worker processes."""
    bounds = config.getoption("--bounds")
    deselect(config, items, [item for item in items if bool(item.get_closest_marker("bounds")) != bounds])
    items[:] = spreading.in_order(items)
    if shard := config.getoption("--shard"):
        try:
            part = DECLARATION.shard(shard)
        except ValueError as error:
            raise pytest.UsageError(str(error)) from error
        first = shard.startswith("1/")
        deselect(config, items, [item for item in items if not is_in_shard(item, part, first=first)])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    return spreading.process_count(config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> spreading.Schedule:
    schedule = spreading.Schedule(config, log)
    config.pluginmanager.register(schedule)
    return schedule


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    proving = item.config.stash.get(PROVING, None)
    if proving and proving.future.done():
        item.user_properties.append(spreading.PROVEN)


def deselect(config: pytest.Config, items: list[pytest.Item], others: Collection[pytest.Item]) -> None:
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in set(others)]


def is_in_shard(item: pytest.Item, part: Collection[Combination], *, first: bool) -> bool:
    """Return whether a test belongs to a shard.

    A test of a combination is in one shard, and a test of the whole proof is in each. Other tests of the matrix are
    only in the first one, and tests outside the matrix are in each.
    """
    combination = combination_of(item)
    if combination is not None:
        return combination in part
    return first or is_asked_last(item) or item.get_closest_marker("matrix") is None


def combination_of(item: pytest.Item) -> Combination | None:
    """Return the combination that a test is parametrized with, or None."""
    call = getattr(item, "callspec", None)
    return call.params.get("combination") if call else None


def is_asked_last(item: pytest.Item) -> bool:
    return "proof" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session", autouse=True)
def _proving(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start proving all combinations that the selected tests need, in the background."""
    chosen = [one for item in request.session.items if (one := combination_of(item)) is not None]
    if not chosen or not hasattr(os, "fork") or not spreading.is_prover(request.config):
        yield
        return
    dedup = not request.config.getoption("--no-dedup")
    folder = tmp_path_factory.mktemp("matrix")
    with proving(chosen, folder, dedup=dedup, terminal=sys.stderr.isatty()) as begun:
        request.config.stash[PROVING] = begun
        yield


@pytest.fixture(scope="session")
def proof(request: pytest.FixtureRequest) -> Proof:
    """Wait for the proof, and print its summary."""
    config = request.config
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        proven = config.stash[PROVING].wait(sys.stderr)
        found = proven.proof
        dedup = not config.getoption("--no-dedup")
        figures = page.summary(found, seconds=proven.seconds, dedup=dedup)
        print(page.one_line(figures))
    if len(found.green()) == sum(1 for _ in DECLARATION.combinations()):
        config.stash[ACCOUNTING].keep(figures)
    return found


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write `docs/proof.md` and `docs/proof.json` if every combination is proven."""
    accounting = session.config.stash[ACCOUNTING]
    if accounting.figures and not spreading.is_worker(session.config):
        page.write(TEMPLATE / "docs", DECLARATION, {**accounting.figures, "command": accounting.command()})


@pytest.fixture(scope="session", autouse=True)
def _temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set a temporary folder for the session: Cookiecutter leaves a temporary file for every hook that it runs."""
    previous = tempfile.tempdir
    tempfile.tempdir = str(tmp_path_factory.mktemp("hooks"))
    yield
    tempfile.tempdir = previous


def bake_with(cookies: Cookies, answers: dict[str, Any]) -> Project:
    """Bake with the real Cookiecutter. Unknown prompts fail the test."""
    unknown = answers.keys() - PROMPTS.keys()
    assert not unknown, f"no such prompts: {unknown}"
    assert hooks.run_script.__module__ == "cookiecutter.hooks", "Cookiecutter is no longer itself here"
    result = cookies.bake(extra_context=answers)
    assert result.exception is None, result.exception
    return Project(Path(result.project_path), result.context["package_name"])


@pytest.fixture(scope="session")
def bake_once(cookies_session: Cookies) -> Bake:
    """Return a function that bakes a project with these answers and defaults, once. Tests must not change the project."""
    known: dict[str, Project] = {}

    def baked(**answers: Any) -> Project:
        key = json.dumps({**PROMPTS, **answers}, sort_keys=True)
        if key not in known:
            known[key] = bake_with(cookies_session, answers)
        return known[key]

    return baked


@pytest.fixture
def bake(bake_once: Bake, tmp_path_factory: pytest.TempPathFactory) -> Bake:
    """Return a function that bakes a project and copies it, so that the test may change it."""

    def baked(**answers: Any) -> Project:
        project = bake_once(**answers)
        folder = tmp_path_factory.mktemp("baked") / project.path.name
        shutil.copytree(project.path, folder)
        return Project(folder, project.package_name)

    return baked


@pytest.fixture(scope="session")
def render() -> Iterator[Render]:
    """Return a function that renders a combination like the matrix, in another process, since this patches Cookiecutter."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:

        def rendered(combination: Combination, **answers: str) -> rendering.Files:
            given = {**DECLARATION.answers_for(combination), **answers}
            return pool.submit(rendering.render, TEMPLATE, given).result()

        yield rendered


@pytest.fixture(scope="session")
def user(tmp_path_factory: pytest.TempPathFactory) -> User:
    return User(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def published(user: User, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the template as its only commit. Tests must not change it."""
    folder = tmp_path_factory.mktemp("published")
    user.publish_template(folder)
    return folder


@pytest.fixture(scope="session")
def projects(bake_once: Bake) -> Projects:
    """Return a function that bakes a project of the linear design, once. Tests must not change the projects."""

    def project(name: str) -> Project:
        return bake_once(**answers(LINEAR[name]))

    return project
