"""`cruft update` adds and removes patterns in a project that a user has edited.

Every round starts from an edited project. Afterwards, the project must be the same as if it had been generated
with the new answers and then edited in the same way.
"""

import ast
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from .combinations import PACKAGE, PATTERNS, PROMPTS, SKELETON, TEMPLATE
from .conftest import Bake
from .hooks import HOOKS
from .project import Project, assert_passed
from .user import User

# Pure computation and the file system: no clock, randomness, processes or network.
HARMLESS = {
    "ast",
    "collections",
    "contextlib",
    "functools",
    "itertools",
    "json",
    "keyword",
    "pathlib",
    "re",
    "shlex",
    "shutil",
    "sys",
    "typing",
}

TOOL = '''"""A tool written by the user."""

from typing import Annotated

from fastmcp.tools import tool
from pydantic import BaseModel, Field


class Answer(BaseModel):
    text: str


@tool(
    title="NAME",
    annotations={
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": False,
    },
)
async def NAME(
    text: Annotated[str, Field(description="The text to put in quotes.", max_length=1000)],
) -> Answer:
    """Put a text in quotes."""
    return Answer(text=f"'{text}'")
'''
TEST = '''"""A test written by the user."""

from ..client import McpClient


async def test_a_text_is_put_in_quotes(client: McpClient) -> None:
    assert await client.call("NAME", text="tea") == {"text": "'tea'"}
'''
PROCESS_DATA = "from .tools.process_data import process_data\n"
UNMERGED = "<<<<<<< "
# The layout, the pattern whose neighbouring lines a user has edited, and one other pattern.
QUICK = ("self_contained", "retry", "caching")

Content = dict[str, bytes]


@dataclass(frozen=True)
class Round:
    """A project in which the answer to one prompt was changed, and then changed back."""

    pattern: str
    before: Content
    switched: Project
    restored: Project


def content(project: Project) -> Content:
    """Return the files of a project, except those of Git."""
    return {name: text for name, text in project.files().items() if not name.startswith(".git/")}


def replace(path: Path, old: str, new: str) -> None:
    """Replace text that occurs exactly once in a file."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {path}"
    path.write_text(text.replace(old, new), encoding="utf-8", newline="\n")


def change_default(project: Project, module: str, field: str, old: str, new: str) -> None:
    """Change a default in the code and in the README table."""
    replace(project.package / module, f"{field} = Field({old},", f"{field} = Field({new},")
    variable = field.partition(":")[0].upper()
    replace(project.path / "README.md", f"| `{variable}` | `{old}` |", f"| `{variable}` | `{new}` |")


def grow(project: Project, pattern: str) -> None:
    """Edit lines that do not belong to `pattern`: a tool, its registration and test, a default, the README.

    An import directly next to a line of the pattern would conflict with it, as in any merge.
    """
    tool = "plan" if pattern == "retry" else "quote"
    imports = f"from .tools.{tool} import {tool}\n"
    (project.package / "tools" / f"{tool}.py").write_text(TOOL.replace("NAME", tool), encoding="utf-8")
    server = project.package / "server.py"
    replace(server, PROCESS_DATA, imports + PROCESS_DATA if tool == "plan" else PROCESS_DATA + imports)
    replace(server, "    tools=[\n", f"    tools=[\n        {tool},\n")
    test = project.path / "tests" / "tools" / f"test_{tool}.py"
    test.write_text(TEST.replace("NAME", tool), encoding="utf-8")
    replace(project.path / "README.md", f"\n{PROMPTS['description']}\n", "\nIt quotes.\n\nAsk Ada.\n")
    if pattern == "self_contained":
        change_default(project, "runtime/api_client.py", "api_timeout_seconds: float", "10", "15")
    elif pattern == "rate_limiting":
        change_default(project, "patterns/retry.py", "retry_longest_pause_seconds: float", "10", "20")
    else:
        change_default(project, "patterns/rate_limiting.py", "rate_limit_burst: int", "100", "200")


def copy(project: Project, folder: Path) -> Project:
    shutil.copytree(project.path, folder)
    return Project(folder, project.package_name)


@pytest.fixture(scope="module")
def created(user: User, published: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Create a project with every default, and commit it."""
    folder = tmp_path_factory.mktemp("created")
    assert_passed(user.run(["cruft", "create", str(published), "--no-input"], cwd=folder))
    project = Project(folder / "my-mcp-server", "my_mcp_server")
    user.commit(project.path, "Create")
    return project


@pytest.fixture(scope="module")
def update(user: User) -> Callable[..., None]:
    """Return a function that commits a project and updates it with other answers."""

    def updated(project: Project, *flags: str, **answers: bool) -> None:
        user.commit(project.path, "Edit")
        variables = ["--variables-to-update", json.dumps(answers)] if answers else []
        command = ["cruft", "update", "--skip-apply-ask", *flags, *variables]
        assert_passed(user.run(command, cwd=project.path))

    return updated


@pytest.fixture(scope="module")
def rounds(
    request: pytest.FixtureRequest,
    created: Project,
    update: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Round]]:
    """Prepare every round that a selected test needs, in parallel."""

    def make(pattern: str, folder: Path) -> Round:
        switched = copy(created, folder / "switched")
        grow(switched, pattern)
        before = content(switched)
        update(switched, **{pattern: not PROMPTS[pattern]})
        restored = copy(switched, folder / "restored")
        update(restored, **{pattern: PROMPTS[pattern]})
        return Round(pattern, before, switched, restored)

    calls = filter(None, (getattr(item, "callspec", None) for item in request.session.items))
    asked = dict.fromkeys(call.params["there_and_back"] for call in calls if "there_and_back" in call.params)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = {pattern: pool.submit(make, pattern, tmp_path_factory.mktemp(pattern)) for pattern in asked}
        yield lambda pattern: made[pattern].result()


@pytest.fixture(
    params=[
        pytest.param(pattern, marks=[] if pattern in QUICK else pytest.mark.matrix) for pattern in PATTERNS
    ]
)
def there_and_back(request: pytest.FixtureRequest, rounds: Callable[[str], Round]) -> Round:
    return rounds(request.param)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_cannot_depend_on_anything_but_the_answers(hook: str) -> None:
    tree = ast.parse((TEMPLATE / "hooks" / f"{hook}.py").read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported <= HARMLESS
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & {"__import__", "eval", "exec", "input", "id", "hash"}


def test_cruft_and_cookiecutter_give_the_same_project(created: Project, bake: Bake) -> None:
    assert content(created) == bake().files()


def test_switching_a_pattern_gives_the_project_generated_with_it_plus_every_edit(
    there_and_back: Round, bake: Bake
) -> None:
    pattern = there_and_back.pattern
    expected = bake(**{pattern: not PROMPTS[pattern]})
    grow(expected, pattern)
    assert content(there_and_back.switched) == content(expected)


def test_switching_a_pattern_back_restores_the_edited_project(there_and_back: Round) -> None:
    assert content(there_and_back.restored) == there_and_back.before


def test_a_switched_project_is_valid_python(there_and_back: Round) -> None:
    for path in there_and_back.switched.path.rglob("*.py"):
        compile(path.read_text(encoding="utf-8"), path, "exec")


def test_a_switched_project_is_clean(there_and_back: Round) -> None:
    assert there_and_back.switched.lint() == ""


@pytest.mark.matrix
@pytest.mark.parametrize("there_and_back", ["self_contained"], indirect=True)
def test_a_switched_project_passes_its_own_tests(there_and_back: Round, tmp_path: Path) -> None:
    project = copy(there_and_back.switched, tmp_path / "project")
    assert_passed(project.run_tests("tests/test_surface.py", "--update-surface"))  # includes the user's tool
    assert_passed(project.run_tests("--ignore=tests/production"))


def test_the_command_in_a_projects_readme_switches_the_pattern_that_it_names(
    created: Project, user: User, bake: Bake, tmp_path: Path
) -> None:
    project = copy(created, tmp_path / "project")
    commands = re.findall(r"^cruft update .*$", project.text("README.md"), flags=re.MULTILINE)
    assert len(commands) == 1
    assert_passed(user.run(commands[0], cwd=project.path))
    answers = json.loads(shlex.split(commands[0])[-1])
    assert len(answers) == 1
    assert content(project) == bake(**answers).files()


def test_only_a_line_next_to_one_of_the_pattern_is_a_merge_conflict(
    created: Project, update: Callable[..., None], bake: Bake, tmp_path: Path
) -> None:
    project, expected = copy(created, tmp_path / "project"), bake(retry=False)
    for each in (project, expected):
        grow(each, "caching")
    update(project, retry=False)
    actual = content(project)
    server = "src/my_mcp_server/server.py"
    assert {name for name, text in content(expected).items() if actual[name] != text} == {server}
    assert project.text(server).count(UNMERGED) == 1
    assert "from .tools.quote import quote\n" in project.text(server)


def test_an_edited_file_of_a_removed_pattern_is_kept(
    created: Project, update: Callable[..., None], bake: Bake, tmp_path: Path
) -> None:
    project = copy(created, tmp_path / "project")
    tool = "src/my_mcp_server/tools/retry.py"
    replace(project.path / tool, "Send an API request with retries", "Ask again")
    edited = project.text(tool)
    update(project, retry=False)
    assert content(project) == {**bake(retry=False).files(), tool: edited.encode()}


def test_a_user_file_is_kept_when_the_layout_changes(
    created: Project, update: Callable[..., None], tmp_path: Path
) -> None:
    project = copy(created, tmp_path / "project")
    own = project.package / "patterns" / "own.py"
    own.write_text('"""Mine."""\n', encoding="utf-8")
    update(project, self_contained=True)
    assert own.read_text(encoding="utf-8") == '"""Mine."""\n'
    assert (project.package / "utils.py").is_file()


def test_an_update_applies_template_changes_and_keeps_every_edit(
    created: Project, update: Callable[..., None], user: User, published: Path, tmp_path: Path
) -> None:
    newer = tmp_path / "newer"
    user.git("clone", "--quiet", str(published), str(newer), cwd=tmp_path)
    improved = f"{SKELETON.name}/{PACKAGE}/runtime/__init__.py"
    (newer / improved).write_text('"""Improved."""\n', encoding="utf-8")
    user.commit(newer, "Improve")
    project = copy(created, tmp_path / "project")
    grow(project, "caching")
    before = content(project)
    update(project, "--template-path", str(newer))
    assert content(project) == {
        **before,
        "src/my_mcp_server/runtime/__init__.py": b'"""Improved."""\n',
    }
