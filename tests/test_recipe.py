"""The README of a project works when followed literally: add tools, and remove the examples."""

import os
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from .combinations import ALL, LINEAR, NONE, TOOLS, answers
from .conftest import Bake, Projects
from .project import Project, assert_passed

PROJECTS = {"none": NONE, "all": ALL - {"self_contained"}, "self_contained": ALL}
ACCEPT = ("tests/test_surface.py", "--update-surface")
COMMANDS = """\
uv run ruff check --fix
uv run ruff format
uv run mypy
uv run pytest tests/test_surface.py --update-surface
uv run pytest
"""
ADD = "## Add a tool"


class Block(NamedTuple):
    """A code block of the README, and the last file name above it."""

    language: str
    code: str
    path: str


def blocks(project: Project, heading: str) -> Iterator[Block]:
    """Return the code blocks of a section."""
    section = project.text("README.md").split(f"\n{heading}\n")[1].partition("\n## ")[0]
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE):
        paths = re.findall(r"`([\w/]+\.py)`", section[: found.start()])
        yield Block(found[1], found[2], paths[-1])


def follow(project: Project) -> None:
    """Follow the recipe, and add its tools."""
    tool, line, registration, test, commands, *_ = blocks(project, ADD)
    assert commands.code == COMMANDS
    for block in (tool, test):
        path = project.path / block.path
        assert not path.exists()
        path.write_text(block.code, encoding="utf-8")
    assert {line.path, registration.path} == {f"src/{project.package_name}/server.py"}
    (names,) = re.findall(
        r"^Add `(\w+)` and `(\w+)` to the list `tools`", project.text("README.md"), re.MULTILINE
    )
    entries = "".join(f"        {name},\n" for name in names)
    path = project.path / line.path
    text = path.read_text(encoding="utf-8")
    *_, last = re.finditer(r"^from \.tools\.\w+ import \w+\n", text, flags=re.MULTILINE)
    text = text[: last.end()] + line.code + text[last.end() :]
    text = text.replace("    ],\n    mask_error_details", entries + "    ],\n    mask_error_details")
    path.write_text(text + registration.code, encoding="utf-8")


def lines_of_test(project: Project) -> int:
    test = next(block for block in blocks(project, ADD) if "def test_" in block.code)
    return len([line for line in test.code.splitlines() if line.strip()])


def remove(project: Project, module: str) -> None:
    """Remove a module of `tools/` in the three steps of the recipe."""
    (project.package / "tools" / f"{module}.py").unlink()
    (project.path / "tests" / "tools" / f"test_{module}.py").unlink()
    path = project.package / "server.py"
    text = path.read_text(encoding="utf-8")
    (imported,) = re.findall(rf"^from \.tools\.{module} import ([\w, ]+)\n", text, flags=re.MULTILINE)
    names = "|".join(imported.split(", "))
    kept = [
        line
        for line in text.splitlines(keepends=True)
        if not line.startswith(f"from .tools.{module} import")
        and not re.fullmatch(rf"( +({names}),|mcp\.add_\w+\(({names})\))\n", line)
    ]
    path.write_text("".join(kept), encoding="utf-8")
    called = rf"^uv run fastmcp call \S+ (?:{TOOLS.get(module, module)})\b.*\n"
    readme = re.sub(called, "", project.text("README.md"), flags=re.MULTILINE)
    (project.path / "README.md").write_text(readme, encoding="utf-8")
    canary = project.path / "scripts" / "canary.py"
    if canary.exists() and f'TOOL = "{module}"' in canary.read_text(encoding="utf-8"):
        assert "`TOOL` in `scripts/canary.py`" in project.text(".agents/skills/add-a-tool/SKILL.md")
        name_tool_of_canary(project, "", {})


def name_tool_of_canary(project: Project, tool: str, arguments: dict[str, object]) -> None:
    """Change the constants at the top of the canary."""
    path = project.path / "scripts" / "canary.py"
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"^TOOL = .+$", f'TOOL = "{tool}"', text, flags=re.MULTILINE)
    text = re.sub(r"^ARGUMENTS = .+$", f"ARGUMENTS = {arguments!r}", text, flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")


def check(project: Project, *tests: str) -> None:
    """Run the checks at the end of the recipe."""
    project.run("-m", "ruff", "check", "--no-cache", "--fix", "--quiet", ".")
    assert_passed(project.run("-m", "ruff", "format", "--no-cache", "."))
    assert project.lint() == ""
    assert_passed(project.run("-m", "mypy"))
    assert_passed(project.run_tests(*ACCEPT))
    run = project.run_tests(*tests)
    assert_passed(run)
    assert " skipped" not in run.stdout


@pytest.fixture(params=PROJECTS)
def project(request: pytest.FixtureRequest, bake: Bake) -> Project:
    return bake(**answers(PROJECTS[request.param]))


@pytest.mark.matrix
def test_tools_are_added_and_every_example_is_removed_with_all_tests_green(project: Project) -> None:
    follow(project)
    check(project, "tests", "--ignore=tests/production")
    examples = sorted(path.stem for path in (project.path / "tests" / "surface").glob("*.json"))
    examples.remove("issues")
    remove(project, examples[0])
    check(project, "tests", "--ignore=tests/production")
    for module in examples[1:]:
        remove(project, module)
    check(project, "tests")
    assert [path.name for path in (project.path / "tests" / "surface").iterdir()] == ["issues.json"]


@pytest.mark.matrix
def test_a_server_without_any_tool_passes_its_tests(project: Project) -> None:
    for path in sorted((project.path / "tests" / "surface").glob("*.json")):
        remove(project, path.stem)
    check(project, "tests")


def test_a_call_of_a_removed_tool_in_the_readme_is_named_with_the_fix(bake: Bake) -> None:
    project = bake()
    before = project.text("README.md")
    remove(project, "process_data")
    assert_passed(project.run_tests("tests/test_server.py", "-k", "readme_calls"))
    assert "process_data" not in project.text("AGENTS.md")
    (project.path / "README.md").write_text(before, encoding="utf-8")
    run = project.run_tests("tests/test_server.py", "-k", "readme_calls")
    assert run.returncode == 1
    assert "README.md: `fastmcp call` names `process_data`, which is not a tool." in run.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="replaces the installed command with a shell script")
@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("", {}, "mode auto: 7 tools"),
        ("batch_process", {"items": ["tea"]}, "batch_process, mode legacy: "),
        ("process_data", {}, "There is no tool process_data. Name one in "),
    ],
    ids=["no tool", "another tool", "forgotten"],
)
def test_the_canary_runs_after_the_example_tool_is_removed(
    tool: str, arguments: dict[str, object], expected: str, bake: Bake, tmp_path: Path
) -> None:
    project = bake()
    remove(project, "process_data")
    name_tool_of_canary(project, tool, arguments)
    command = tmp_path / "my-mcp-server"
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH={project.path}/src exec {project.python} -m my_mcp_server "$@"\n',
        encoding="utf-8",
    )
    command.chmod(0o755)
    run = project.run("scripts/canary.py", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert (run.returncode == 0) == (tool != "process_data"), run.stderr
    assert expected in run.stderr


def test_the_recipe_adds_four_components_with_less_than_ten_lines_of_test_code(bake: Bake) -> None:
    project = bake()
    before = project.files()
    follow(project)
    changed = {path for path, content in project.files().items() if before.get(path) != content}
    assert changed & before.keys() == {"src/my_mcp_server/server.py"}
    assert changed - before.keys() == {"src/my_mcp_server/tools/issues.py", "tests/tools/test_issues.py"}
    assert lines_of_test(project) < 10


@pytest.mark.parametrize("name", LINEAR)
def test_every_readme_shows_the_recipe_with_valid_python(name: str, projects: Projects) -> None:
    project = projects(name)
    shown = [block for block in blocks(project, ADD) if block.language == "python"]
    assert len(shown) >= 4
    for block in shown:
        compile(textwrap.dedent(block.code), "README.md", "exec", dont_inherit=True)


@dataclass(frozen=True)
class Mistake:
    """A change to the recipe's code, and the message of the project's tests."""

    old: str
    new: str
    report: str
    path: str = "tools/issues.py"


SERVER = "server.py"
MISTAKES = {
    "a tool that is not registered": Mistake(
        "        create_issue,\n",
        "",
        "tools/issues.py: `create_issue` is not registered. In server.py, import it and add it to `tools`",
        SERVER,
    ),
    "a resource that is not registered": Mistake(
        "mcp.add_resource(issue)\n", "", "add a line `mcp.add_resource(issue)`", SERVER
    ),
    "a prompt that is not registered": Mistake(
        "mcp.add_prompt(triage_issue)\n", "", "add a line `mcp.add_prompt(triage_issue)`", SERVER
    ),
    "a tool without a title": Mistake(
        '    title="Read an issue",\n', "", "read_issue has no title: add `title=`"
    ),
    "a tool without a description": Mistake(
        '    description="Read one issue.",\n', "", "read_issue has no description: add `description=`"
    ),
    "a long description": Mistake(
        '"Read one issue."', '"One. Two. Three. Four."', "read_issue: shorten its description"
    ),
    "a tool without an annotation": Mistake(
        '        "readOnlyHint": True,\n', "", "read_issue: add readOnlyHint to its annotations"
    ),
    "a parameter without a description": Mistake(
        'description="Number of the issue.", ge=1',
        "ge=1",
        "`Field(description=...)` to its parameter `number`",
    ),
    "a number without a bound": Mistake(
        ", ge=1, le=1_000_000", "", "read_issue: bound `number`, for example with `Field(ge=0, le=1000)`"
    ),
    "a text without a bound": Mistake(
        ", min_length=1, max_length=200",
        "",
        "create_issue: bound `title`, for example with `Field(max_length",
    ),
    "a parameter that may be absent": Mistake(
        "Annotated[int, Field(",
        "Annotated[int | None, Field(",
        "read_issue: give `number` one type, not a union",
    ),
    "a parameter of any type": Mistake(
        "Annotated[int, Field(", "Annotated[object, Field(", "annotate `number` with a type that JSON has"
    ),
    "a tool that returns a bare list": Mistake(
        '(number: Number, api: Api) -> Issue:\n    return (await api.get(f"issues/{number}")).parse(Issue)',
        "(number: Number, api: Api) -> list[Issue]:\n    return []",
        "read_issue: annotate its result with a pydantic model",
    ),
    "a resource without a description": Mistake(
        '    """One issue as JSON."""\n', "", "issue:// has no description: write a docstring"
    ),
    "a prompt without a description": Mistake(
        '    """Suggest a priority and the next step for an issue."""\n',
        "",
        "triage_issue has no description",
    ),
    "a prompt with a number": Mistake(
        'triage_issue(number: Annotated[str, Field(description="Number of the issue.")])',
        "triage_issue(number: int)",
        "triage_issue: annotate `number` with `str`",
    ),
    "a prompt whose argument is not described": Mistake(
        'triage_issue(number: Annotated[str, Field(description="Number of the issue.")])',
        "triage_issue(number: str)",
        "triage_issue: add `Field(description=...)` to its argument `number`",
    ),
    "a dependency that is not declared": Mistake(
        "from typing import Annotated\n",
        "from typing import Annotated\n\nimport pandas\n",
        "tools/issues.py imports pandas, which pyproject.toml does not declare: run `uv add pandas`",
    ),
    "a dependency that another brings": Mistake(
        "from typing import Annotated\n",
        "from typing import Annotated\n\nimport yaml\n",
        "tools/issues.py imports yaml, which pyproject.toml does not declare: run `uv add PyYAML`",
    ),
    "a tool without a test": Mistake(
        '    assert await client.call("read_issue", number=issue["id"]) == issue\n',
        "",
        "tools/issues.py: no test uses `read_issue`. Call it in tests/tools/test_issues.py",
        "tests/tools/test_issues.py",
    ),
    "a surface that was not accepted": Mistake(
        "", "", "uv run pytest tests/test_surface.py --update-surface"
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_report_of_a_mistake_names_the_fix(mistake: str, bake: Bake) -> None:
    wrong = MISTAKES[mistake]
    project = bake()
    follow(project)
    folder = project.path if wrong.path.startswith("tests/") else project.package
    path: Path = folder / wrong.path
    text = path.read_text(encoding="utf-8")
    assert not wrong.old or text.count(wrong.old) == 1
    path.write_text(text.replace(wrong.old, wrong.new) if wrong.old else text, encoding="utf-8")
    run = project.run_tests("tests/test_server.py", "tests/test_architecture.py", "tests/test_surface.py")
    assert run.returncode == 1, run.stdout
    assert wrong.report in run.stdout
