"""The linear design: none, all, only each, all but each; 26 projects from the real Cookiecutter, proven in full.

With three settings or more it covers every triple of settings, and a failing name says which pattern it was.
"""

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from os import cpu_count, pathsep
from subprocess import CompletedProcess

import pytest

from .combinations import LINEAR, PATTERNS, expected_files, expected_resources, expected_tools
from .conftest import Projects
from .project import assert_passed

EACH = pytest.mark.parametrize("name", LINEAR)


LIST_EVERYTHING = """
import anyio, importlib, json, sys
async def listing(package):
    mcp = importlib.import_module(f"{package}.server").mcp
    tools, resources = await mcp.list_tools(), await mcp.list_resources()
    return [tool.name for tool in tools], [str(resource.uri) for resource in resources]
packages = json.loads(sys.argv[1])
print(json.dumps({name: anyio.run(listing, package) for name, package in packages.items()}))
"""


@pytest.fixture(scope="session")
def suites(projects: Projects) -> Iterator[Mapping[str, Future[CompletedProcess[str]]]]:
    """Run the generated suites in the background; they wait a lot, so one more than there are processors."""
    every = {name: projects(name) for name in LINEAR}
    with ThreadPoolExecutor((cpu_count() or 1) + 1) as pool:
        yield {name: pool.submit(project.run_tests) for name, project in every.items()}
        pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session", autouse=True)
def _suites_begin_early(request: pytest.FixtureRequest) -> None:
    if any("suites" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("suites")


@pytest.fixture(scope="session")
def type_report(projects: Projects, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Check the types of all projects in one strict run; return what it has to say."""
    every = [projects(name) for name in LINEAR]
    tests = tmp_path_factory.mktemp("types")
    for project in every:
        (tests / f"tests_{project.package_name}").symlink_to(project.path / "tests")
    run = every[0].run(
        *("-m", "mypy", "--config-file", "pyproject.toml", "--cache-dir", str(tests / "cache")),
        "--explicit-package-bases",
        *(str(project.package) for project in every),
        *(str(tests / f"tests_{project.package_name}") for project in every),
        MYPYPATH=pathsep.join([*(str(project.path / "src") for project in every), str(tests)]),
    )
    assert run.returncode in (0, 1), run.stderr
    return run.stdout


@pytest.fixture(scope="session")
def listings(projects: Projects) -> Mapping[str, list[list[str]]]:
    """Load every server in one process; return the names of its tools and of its resources."""
    every = {name: projects(name) for name in LINEAR}
    packages = {name: project.package_name for name, project in every.items()}
    run = every["none"].run(
        *("-c", LIST_EVERYTHING, json.dumps(packages)),
        PYTHONPATH=pathsep.join(str(project.path / "src") for project in every.values()),
    )
    assert_passed(run)
    listed: dict[str, list[list[str]]] = json.loads(run.stdout)
    return listed


def test_the_design_covers_every_triple_of_settings() -> None:
    rows = [tuple(name in chosen for name in PATTERNS) for chosen in LINEAR.values()]
    indices = range(len(PATTERNS))
    for a in indices:
        for b in indices[a + 1 :]:
            for c in indices[b + 1 :]:
                assert len({(row[a], row[b], row[c]) for row in rows}) == 8


@EACH
def test_a_project_has_exactly_the_files_of_its_patterns(name: str, projects: Projects) -> None:
    project = projects(name)
    assert set(project.files()) == expected_files(LINEAR[name], project.package_name)


@EACH
def test_a_server_has_exactly_the_tools_and_resources_of_its_patterns(
    name: str, listings: Mapping[str, list[list[str]]]
) -> None:
    assert listings[name] == [expected_tools(LINEAR[name]), expected_resources(LINEAR[name])]


@EACH
def test_a_project_is_clean_under_its_own_lint_rules(name: str, projects: Projects) -> None:
    assert projects(name).lint() == ""


@EACH
def test_a_project_is_strictly_typed(name: str, projects: Projects, type_report: str) -> None:
    project = projects(name)
    places = (f"{project.package_name}/", f"tests_{project.package_name}/", str(project.path))
    assert [line for line in type_report.splitlines() if any(place in line for place in places)] == []


def test_the_type_checker_has_read_every_project(type_report: str) -> None:
    assert type_report.startswith("Success: no issues found"), type_report[-3000:]


@EACH
def test_the_generated_suite_passes(name: str, suites: Mapping[str, Future[CompletedProcess[str]]]) -> None:
    assert_passed(suites[name].result())
