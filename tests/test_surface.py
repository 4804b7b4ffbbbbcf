"""The lock of the surface, as a user meets it: what it says of a change, and the one command that agrees to it."""

from pathlib import Path

import pytest

from .conftest import Bake
from .project import Project, assert_passed

UPDATE = "--update-surface"
ACCEPT = f"uv run pytest tests/test_surface.py {UPDATE}"
TOOL = """
from fastmcp.tools import tool


@tool(title="Forecast", description="Say what tomorrow is like.")
async def forecast() -> dict[str, str]:
    return {}
"""


def surface_test(project: Project, *arguments: str) -> str:
    """Run the test of the surface, which must fail unless it is told to agree; return what it says."""
    run = project.run_tests("tests/test_surface.py", *arguments)
    assert run.returncode == (0 if UPDATE in arguments else 1), run.stdout + run.stderr
    return run.stdout


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def project(bake: Bake) -> Project:
    return bake()


def test_the_files_of_a_new_project_are_those_that_the_command_writes(project: Project) -> None:
    before = project.files()
    surface_test(project, UPDATE)
    assert project.files() == before


@pytest.mark.matrix
def test_a_changed_tool_is_classified_and_accepted_by_one_command(project: Project) -> None:
    tool = project.package / "tools" / "parallel_processing.py"
    replace(tool, "    items: Annotated[", "    texts: Annotated[")
    replace(tool, "        items,\n        workers", "        texts,\n        workers")
    replace(tool, "    succeeded: int", "    succeeded: str")
    replace(tool, '"idempotentHint": True', '"idempotentHint": False')
    replace(tool, 'title="Process a batch"', 'title="Process many"')
    told = surface_test(project)
    for line in (
        'breaking     batch_process: field of the result `succeeded`: type is now "string", it was "integer"',
        "breaking     batch_process: parameter `items` is now called `texts`",
        "behavioural  batch_process: annotation idempotentHint is now false, it was true",
        'wording      batch_process: title is now "Process many", it was "Process a batch"',
    ):
        assert line in told
    assert ACCEPT in told
    surface_test(project, UPDATE)
    assert_passed(project.run_tests("tests/test_surface.py"))


@pytest.mark.matrix
def test_a_users_own_tool_gets_a_file_and_one_that_is_deleted_loses_its_own(project: Project) -> None:
    (project.package / "tools" / "weather.py").write_text(TOOL, encoding="utf-8")
    server = project.package / "server.py"
    replace(server, "from .tools.caching import cached_fetch", "from .tools.weather import forecast")
    replace(server, "        cached_fetch,\n", "        forecast,\n")
    told = surface_test(project)
    assert "breaking     cached_fetch: is gone" in told
    assert "behavioural  forecast: is new" in told
    surface_test(project, UPDATE)
    files = project.files()
    assert "tests/surface/weather.json" in files
    assert "tests/surface/caching.json" not in files


@pytest.mark.matrix
def test_a_tool_that_says_too_much_is_refused_with_its_cost(project: Project) -> None:
    tool = project.package / "tools" / "process_data.py"
    replace(tool, "Count the words, lines and characters of a text.", "Count the words. " * 80)
    assert "process_data takes about 394 tokens" in surface_test(project, "-k", "tokens")
