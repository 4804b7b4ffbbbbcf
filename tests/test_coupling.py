"""The prompts that each file reads, according to the Jinja syntax tree, match a table.

The table documents the architecture: only the composition files depend on several patterns.
"""

from itertools import chain
from pathlib import Path

import jinja2
import pytest
from jinja2 import nodes

from .combinations import ALL, API_PATTERNS, AROUND, DATABASE_PATTERNS, PACKAGE, PATTERNS, SKELETON, TEMPLATE

NAMES = {"package_name", "project_slug"}
# The patterns that store data in a database engine.
ENGINES = {"lazy_initialization", "caching", "rate_limiting", "state_management"}
SEES = {
    ".agents/skills/add-a-tool/SKILL.md": {"package_name", "ci", *API_PATTERNS},
    ".claude/skills/add-a-tool/SKILL.md": {"package_name", "ci", *API_PATTERNS},
    ".env.example": ALL - {"self_contained", "structured_errors", "structured_logging"} | {"project_slug"},
    ".github/dependabot.yml": {"container"},
    ".github/workflows/ci.yml": {"project_slug", "container", "repository"},
    ".github/workflows/release.yml": {"container", "repository"},
    ".gitlab-ci.yml": {"project_slug", "container", "repository"},
    "Dockerfile": {
        *("project_slug", "description", "author_name", "author_email", "license", "repository"),
        *("health_check", "telemetry", *ENGINES),
    },
    "AGENTS.md": {"project_slug", "package_name", *ALL},
    "LICENSE": {"license", "author_name"},
    "README.md": {"project_name", "project_slug", "package_name", "description", *ALL, *AROUND},
    "compose.yaml": {
        *("project_slug", "environment_config", "health_check", "authentication"),
        *(*API_PATTERNS, *ENGINES),
    },
    "deploy/kubernetes/config.env": {"authentication", *API_PATTERNS},
    "deploy/kubernetes/deployment.yaml": {
        *("project_slug", "environment_config", "health_check", *ENGINES),
    },
    "deploy/kubernetes/kustomization.yaml": {"project_slug", "repository", "ci"},
    "deploy/kubernetes/network.yaml": {
        *("project_slug", "authentication", "telemetry"),
        *(*API_PATTERNS, *ENGINES),
    },
    "pyproject.toml": {
        *("project_slug", "package_name", "description", "author_name", "author_email", "license"),
        *("http_client", "environment_config", "health_check", "rate_limiting"),
        *("authentication", "telemetry", "repository"),
        *API_PATTERNS,
        *DATABASE_PATTERNS,
    },
    "manifest.json": {
        *("project_name", "project_slug", "description", "author_name", "author_email", "license"),
        *("repository", *API_PATTERNS),
    },
    "server.json": {"project_name", "project_slug", "description", "repository", *API_PATTERNS},
    f"{PACKAGE}/__main__.py": {"project_slug", "environment_config"},
    f"{PACKAGE}/environment_config.toml": {"caching"},
    f"{PACKAGE}/server.py": {"project_slug", *ALL} - {"self_contained"},
    f"{PACKAGE}/settings.py": {"environment_config"},
    f"{PACKAGE}/upstream.py": {"connection_pooling"},
    "tests/conftest.py": {"environment_config"},
    "tests/production/conftest.py": {"authentication", "telemetry", *API_PATTERNS},
    "tests/production/process.py": {"environment_config"},
    "tests/production/test_workers.py": {"rate_limiting", "state_management"},
    "tests/test_metadata.py": {"container"},
    "tests/test_server.py": {"package_name", "environment_config"},
    "tests/tools/conftest.py": {"package_name", "rate_limiting", *API_PATTERNS},
}
FILES = sorted(path for path in SKELETON.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
ENVIRONMENT = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)


def name_of(path: Path) -> str:
    return path.relative_to(SKELETON).as_posix()


def prompts_seen(text: str) -> set[str]:
    """Return the prompts that a template reads."""
    seen = set()
    for node in ENVIRONMENT.parse(text).find_all(nodes.Getattr):
        if isinstance(node.node, nodes.Name) and node.node.name == "cookiecutter":
            seen.add(node.attr)
    return seen


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_uses_only_the_prompts_of_the_table(path: Path) -> None:
    seen = prompts_seen(path.read_text(encoding="utf-8"))
    if name_of(path) in SEES:
        assert seen == SEES[name_of(path)]
    else:
        assert seen <= NAMES


def test_the_table_names_only_files_that_exist() -> None:
    assert SEES.keys() <= {name_of(path) for path in FILES}


def test_no_file_or_folder_name_depends_on_a_pattern() -> None:
    for path in chain(SKELETON.rglob("*"), [SKELETON]):
        assert prompts_seen(path.name) <= NAMES


def test_every_name_can_be_cloned_on_windows() -> None:
    for path in TEMPLATE.rglob("*"):
        if not any(part.startswith(".") for part in path.relative_to(TEMPLATE).parts):
            assert not set(path.name) & set('<>:"|?*\\')


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_pattern_owns_files_by_its_name(pattern: str) -> None:
    owned = {name_of(path) for path in FILES if path.stem.removeprefix("test_") == pattern}
    assert f"tests/patterns/test_{pattern}.py" in owned
    assert pattern == "self_contained" or f"{PACKAGE}/patterns/{pattern}.py" in owned
    others = {name_of(path) for path in FILES} - owned
    assert not [name for name in others if pattern in Path(name).stem]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_is_imported_only_by_its_own_files_and_where_patterns_meet(pattern: str) -> None:
    meeting_places = {"__main__.py", "server.py", "upstream.py"}
    for path in FILES:
        if path.suffix == ".py" and f"patterns.{pattern} import" in path.read_text(encoding="utf-8"):
            assert path.name in meeting_places or path.stem.removeprefix("test_") == pattern
