"""A project declares exactly the packages that it imports, each with an upper bound.

All combinations are tested in one environment, so their tests would not detect a missing dependency.
"""

import ast
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from .combinations import LINEAR, TEMPLATE, answers
from .conftest import Bake, Projects
from .project import Project

# Dependencies that are needed but not imported: database drivers, command line tools and type stubs.
NOT_IMPORTED = {"aiosqlite", "asyncpg", "mypy", "ruff", "types-psutil"}
# Parts of the package `opentelemetry`, which several distributions share.
NOT_IMPORTED |= {
    *("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "opentelemetry-exporter-prometheus")
}
SHARED = {"opentelemetry": "opentelemetry-api"}
# Packages that another package pins to exactly one version.
INSTALLED_BY = {"fastmcp-slim": "fastmcp", "mcp-types": "mcp", "pydantic-core": "pydantic"}
# Dependencies of the extra `fastmcp[tasks]`.
REFUSED = {"fastmcp-tasks", "docket", "pydocket"}
distributions = cache(packages_distributions)


def imported(files: Iterable[Path]) -> set[str]:
    """Return the distributions of the packages that the files import."""
    roots = set().union(*(imported_roots(path.read_text(encoding="utf-8")) for path in files))
    foreign = roots - sys.stdlib_module_names
    return {canonicalize_name(distribution_of(root)) for root in foreign}


@cache
def imported_roots(source: str) -> frozenset[str]:
    roots = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            roots.add(str(node.module).split(".")[0])
    return frozenset(roots)


def distribution_of(root: str) -> str:
    provider = SHARED.get(root) or canonicalize_name(distributions().get(root, [root])[0])
    return INSTALLED_BY.get(provider, provider)


def declared(requirements: Iterable[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


def undeclared(project: Project) -> set[str]:
    """Return the distributions that the package or its tests import without a declaration in pyproject.toml."""
    metadata = tomllib.loads(project.text("pyproject.toml"))
    own = {canonicalize_name(project.package_name)}
    runtime = declared(metadata["project"]["dependencies"])
    development = runtime | declared(metadata["dependency-groups"]["dev"])
    extras = metadata["project"].get("optional-dependencies", {}).values()
    optional = set().union(*map(declared, extras))
    in_package = imported(project.package.rglob("*.py")) - runtime - optional
    in_tests = imported((project.path / "tests").rglob("*.py")) - development
    return (in_package | in_tests) - own


def unused(project: Project) -> set[str]:
    """Return the distributions that are declared in pyproject.toml but never imported."""
    metadata = tomllib.loads(project.text("pyproject.toml"))
    runtime = declared(metadata["project"]["dependencies"]) - imported(project.package.rglob("*.py"))
    development = declared(metadata["dependency-groups"]["dev"])
    development -= imported(project.path.rglob("*.py"))
    return (runtime | development) - NOT_IMPORTED


@pytest.fixture(params=[*LINEAR, "httpx", "httpx without patterns"])
def project(request: pytest.FixtureRequest, bake: Bake, projects: Projects) -> Project:
    if request.param in LINEAR:
        return projects(request.param)
    return bake(http_client="httpx", **answers(LINEAR["all" if request.param == "httpx" else "none"]))


def test_every_import_is_declared_and_every_dependency_is_imported(project: Project) -> None:
    assert undeclared(project) == set()
    assert unused(project) == set()


def test_every_dependency_has_an_upper_bound(project: Project) -> None:
    metadata = tomllib.loads(project.text("pyproject.toml"))
    groups = [
        metadata["build-system"]["requires"],
        metadata["project"]["dependencies"],
        metadata["dependency-groups"]["dev"],
        *metadata["project"].get("optional-dependencies", {}).values(),
    ]
    for line in (line for group in groups for line in group):
        assert any(part.operator == "<" for part in Requirement(line).specifier), line


def test_no_fastmcp_extra_pins_an_older_version(project: Project) -> None:
    """`fastmcp[tasks]` makes uv choose FastMCP 4.1.4."""
    metadata = tomllib.loads(project.text("pyproject.toml"))
    lines = metadata["project"]["dependencies"] + metadata["dependency-groups"]["dev"]
    assert not REFUSED & declared(lines)
    assert [line for line in lines if line.startswith("fastmcp")] == ["fastmcp>=4.2.3,<5"]


def test_the_lock_has_the_fastmcp_of_the_projects_without_its_tasks_extra() -> None:
    locked = tomllib.loads((TEMPLATE / "uv.lock").read_text(encoding="utf-8"))["package"]
    versions = {package["name"]: package["version"] for package in locked if "version" in package}
    assert not REFUSED & versions.keys()
    assert Version("4.2.3") <= Version(versions["fastmcp"]) < Version("5")


@pytest.mark.parametrize("place", ["src/my_mcp_server/tools/process_data.py", "tests/test_server.py"])
def test_an_import_that_is_not_declared_is_found(place: str, bake: Bake) -> None:
    project = bake()
    path = project.path / place
    path.write_text("import cookiecutter\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert undeclared(project) == {"cookiecutter"}


def test_a_dependency_that_is_not_imported_is_found(bake: Bake) -> None:
    project = bake()
    (project.package / "patterns" / "health_check.py").write_text("", encoding="utf-8")
    assert unused(project) == {"psutil"}
