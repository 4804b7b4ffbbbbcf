"""The version bounds of the dependencies and of Python work.

The other tests use the versions in uv.lock. Users install the newest version that pyproject.toml allows, and
sometimes the lowest. `pytest --bounds` runs whole generated suites with both, and on every Python that it finds.
docs/versions.md has the results. One call of each tool at the lowest versions is part of the full proof.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version
from uv import find_uv_bin

from .combinations import NONE, TEMPLATE, answers
from .conftest import Bake
from .project import Project, assert_passed
from .running import ERAS, UNLIMITED, Running, running
from .unit.calls import CALLS

LOWEST, NEWEST = "lowest-direct", "highest"
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
PROJECTS: dict[str, dict[str, Any]] = {
    "all": {},
    "none": answers(NONE),
    "all, httpx, self_contained": {"http_client": "httpx", "self_contained": True},
}
SUITES = [(THIS_PYTHON, resolution, name) for resolution in (LOWEST, NEWEST) for name in PROJECTS]
SUITES += [(python, NEWEST, name) for python in PYTHONS if python != THIS_PYTHON for name in ("all", "none")]


def uv(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    """Run uv with a Python of this machine, without downloads of Python."""
    foreign = {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON"}
    variables = {name: value for name, value in os.environ.items() if name not in foreign}
    return subprocess.run(
        [find_uv_bin(), *arguments],
        cwd=cwd,
        env={**variables, "UV_PYTHON_DOWNLOADS": "never"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def install(project: Project, resolution: str, *flags: str, python: str = sys.executable) -> Project:
    """Install a project into its own environment, with the lowest or newest versions that its bounds allow."""
    synced = uv("sync", "--resolution", resolution, "--python", python, *flags, cwd=project.path)
    if synced.returncode:
        pytest.fail(
            f"uv could not install the {resolution} versions. This test needs the package index,"
            f" or their copies in uv's cache:\n{synced.stderr}",
            pytrace=False,
        )
    programs = project.path / ".venv" / ("Scripts" if os.name == "nt" else "bin")
    return Project(project.path, project.package_name, str(programs / "python"))


def installed_versions(project: Project) -> dict[str, str]:
    listed = uv("pip", "list", "--format", "json", "--python", project.python, cwd=project.path)
    assert listed.returncode == 0, listed.stderr
    return {package["name"]: package["version"] for package in json.loads(listed.stdout)}


def floors(project: Project) -> dict[str, Version]:
    """Return the lower bound of each direct dependency."""
    metadata = tomllib.loads(project.text("pyproject.toml"))["project"]
    lines = [*metadata["dependencies"], *metadata["optional-dependencies"]["postgres"]]
    named = (line.split(",")[0].split(">=") for line in lines)
    return {name.partition("[")[0]: Version(version) for name, version in named}


@pytest.fixture(scope="module")
def lowest(bake_once: Bake, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return the project with all patterns, installed with the lowest versions."""
    baked = bake_once()
    folder = tmp_path_factory.mktemp("lowest") / baked.path.name
    shutil.copytree(baked.path, folder)
    return install(Project(folder, baked.package_name), LOWEST, "--no-dev", "--all-extras")


@pytest.fixture(scope="module")
def server(lowest: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    with running(lowest, home, **UNLIMITED, API_BASE_URL="example") as started:
        yield started


@pytest.mark.matrix
def test_the_lowest_installed_versions_are_the_declared_lower_bounds(lowest: Project) -> None:
    """A lower bound below that of another dependency could never be installed."""
    installed = installed_versions(lowest)
    assert {
        name: installed[name] for name, floor in floors(lowest).items() if Version(installed[name]) != floor
    } == {}


@pytest.mark.matrix
@pytest.mark.parametrize("era", ERAS)
def test_each_tool_answers_over_http_with_the_lowest_versions(server: Running, era: str) -> None:
    async def call_each() -> None:
        for tool, arguments in CALLS.items():
            reply = await server.call(era, tool, arguments)
            assert reply.status == 200, reply
            assert not reply.result.get("isError"), reply

    asyncio.run(call_each())


@pytest.mark.parametrize("workflow", ["ci", "nightly"])
def test_each_workflow_names_every_python(workflow: str) -> None:
    text = (TEMPLATE / ".github" / "workflows" / f"{workflow}.yml").read_text(encoding="utf-8")
    assert f"python: {json.dumps(PYTHONS)}\n" in text


@pytest.mark.matrix
def test_the_lowest_version_of_the_postgresql_driver_can_be_imported(lowest: Project) -> None:
    assert_passed(lowest.run("-c", "import asyncpg, sqlalchemy.dialects.postgresql.asyncpg"))


@pytest.mark.bounds
@pytest.mark.parametrize(("python", "resolution", "name"), SUITES)
def test_a_whole_suite_passes_within_the_bounds(python: str, resolution: str, name: str, bake: Bake) -> None:
    if uv("python", "find", "--no-project", python, cwd=TEMPLATE).returncode:
        missing = f"This test needs Python {python}."
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    project = bake(**PROJECTS[name])
    extras = ["--all-extras"] if "postgres = " in project.text("pyproject.toml") else []
    project = install(project, resolution, *extras, python=python)
    assert_passed(project.run("-m", "pytest", "-q", "-p", "anyio", "-p", "no:cacheprovider"))
    assert_passed(project.run("-m", "mypy"))
    assert project.lint() == ""
