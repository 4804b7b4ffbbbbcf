"""The surface snapshot of a project: its test reports changes, and the documented command accepts them."""

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
    """Run the surface test, which must fail unless it updates the snapshot, and return its output."""
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


def test_the_command_does_not_change_the_files_of_a_new_project(project: Project) -> None:
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
    report = surface_test(project)
    for line in (
        'breaking     batch_process: field of the result `succeeded`: type is now "string", it was "integer"',
        "breaking     batch_process: parameter `items` is now called `texts`",
        "behavioural  batch_process: annotation idempotentHint is now false, it was true",
        'wording      batch_process: title is now "Process many", it was "Process a batch"',
    ):
        assert line in report
    assert ACCEPT in report
    surface_test(project, UPDATE)
    assert_passed(project.run_tests("tests/test_surface.py"))


@pytest.mark.matrix
def test_a_new_tool_gets_a_file_and_a_deleted_tool_loses_it(project: Project) -> None:
    (project.package / "tools" / "weather.py").write_text(TOOL, encoding="utf-8")
    server = project.package / "server.py"
    replace(server, "from .tools.caching import cached_fetch", "from .tools.weather import forecast")
    replace(server, "        cached_fetch,\n", "        forecast,\n")
    report = surface_test(project)
    assert "breaking     cached_fetch: is gone" in report
    assert "behavioural  forecast: is new" in report
    surface_test(project, UPDATE)
    files = project.files()
    assert "tests/surface/weather.json" in files
    assert "tests/surface/caching.json" not in files


@pytest.mark.matrix
def test_a_tool_with_a_long_description_is_refused_with_its_token_count(project: Project) -> None:
    tool = project.package / "tools" / "process_data.py"
    replace(tool, "Count the words, lines and characters of a text.", "Count the words. " * 80)
    assert "process_data takes about 394 tokens" in surface_test(project, "-k", "tokens")
