"""`update.py` adds and removes patterns, and takes a newer template, in a project that a user has edited.

Afterwards, the project must be the same as if it had been generated with the new answers and then edited in the same way.
"""

import ast
import json
import random
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import update as updater

from .combinations import PACKAGE, PATTERNS, PROMPTS, REPOSITORY, SKELETON, TEMPLATE
from .conftest import Bake
from .hooks import HOOKS
from .project import RECORD, Project, assert_passed
from .test_recipe import ACCEPT, follow, remove
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
    "os",
    "pathlib",
    "re",
    "shlex",
    "shutil",
    "sys",
    "typing",
}

PATTERN = '''"""Put texts in quotes."""

from pydantic import Field

from ..settings import Settings


class QuoteSettings(Settings):
    quote_mark: str = Field("'", min_length=1, max_length=1)


def quoted(text: str) -> str:
    mark = QuoteSettings().quote_mark
    return f"{mark}{text}{mark}"
'''
TOOL = '''"""A tool written by the user."""

from typing import Annotated

from fastmcp.tools import tool
from pydantic import BaseModel, Field

from ..patterns.own import quoted


class Answer(BaseModel):
    text: str


@tool(
    title="Quote",
    annotations={
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": False,
    },
)
async def quote(
    text: Annotated[str, Field(description="The text to put in quotes.", max_length=1000)],
) -> Answer:
    """Put a text in quotes."""
    return Answer(text=quoted(text))
'''
TEST = '''"""A test written by the user."""

from ..client import McpClient


async def test_a_text_is_put_in_quotes(client: McpClient) -> None:
    assert await client.call("quote", text="tea") == {"text": "'tea'"}
'''
SERVER = "src/my_mcp_server/server.py"
CONFLICT = "CONFLICT: you and the template have changed the same lines, between     replace(project.path / tool, "Request the API with retries", "Ask again")
    user.commit(project.path, "Edit")
    assert update(project, retry=False) == 0
    assert f"{KEPT}{tool}\n" in capsys.readouterr().out
    assert "Ask again" in project.text(tool)
    assert not (project.path / "tests" / "tools" / "test_retry.py").exists()


def test_a_file_of_the_user_with_the_name_of_a_new_one_is_kept_and_named(
    edited: Callable[..., Project], user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    project = edited(retry=False)
    tool = "src/my_mcp_server/tools/retry.py"
    (project.path / tool).write_text("MINE = 1\n", encoding="utf-8")
    user.commit(project.path, "Edit")
    assert update(project, retry=True) == 0
    assert f"{KEPT}{tool}\n" in capsys.readouterr().out
    assert project.text(tool) == "MINE = 1\n"


def test_a_project_with_windows_line_endings_keeps_them(bake: Bake, user: User, repository: Path) -> None:
    project, expected = bake(), bake(retry=False)
    for each in (project, expected):
        replace(each.package / "server.py", "lifespan=", "lifespan =")
    for path in project.path.rglob("*.*"):
        if path.is_file() and path.name != RECORD:
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    committed(user, project, repository)
    assert update(project, retry=False) == 0
    assert b"\n" not in (project.path / SERVER).read_bytes().replace(b"\r\n", b"")
    unified = {name: text.replace(b"\r\n", b"\n") for name, text in content(project).items()}
    assert unified == content(expected)


def test_files_to_skip_are_not_changed(bake: Bake, user: User, repository: Path) -> None:
    project = bake()
    state = json.loads(project.text(RECORD))
    (project.path / RECORD).write_text(json.dumps({**state, "skip": ["README.md", "tests/*"]}))
    before = committed(user, project, repository).files()
    assert update(project, retry=False) == 0
    after = project.files()
    assert {name: after.get(name) for name in before if name.startswith(("README.md", "tests/"))} == {
        name: text for name, text in before.items() if name.startswith(("README.md", "tests/"))
    }
    assert "src/my_mcp_server/tools/retry.py" not in after


def dirty(project: Project) -> None:
    (project.path / "notes").touch()


def without_git(project: Project) -> None:
    shutil.rmtree(project.path / ".git")


def without_record(project: Project) -> None:
    (project.path / RECORD).unlink()


def recorded(**changes: Any) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        state = json.loads(project.text(RECORD))
        (project.path / RECORD).write_text(json.dumps({**state, **changes}), encoding="utf-8")
        User(project.path.parent).commit(project.path, "Edit")

    return change


@pytest.mark.parametrize(
    ("prepare", "words", "problem"),
    [
        (None, ["cacheing=no"], "cacheing is not a question of this template. Choose from: project_name, "),
        (None, ["caching"], "'caching' is not an answer. Write one as NAME=VALUE, such as caching=no."),
        (None, ["caching=perhaps"], "perhaps provided for variable caching could not be converted"),
        (None, ["ci=jenkins"], "jenkins provided for choice variable ci, but the choices are"),
        (None, ["project_slug=x"], "project_slug cannot be changed by an update."),
        (None, ["repository=nowhere"], "repository 'nowhere' is not the address of a repository's page."),
        (None, ["--checkout", "v9"], "The template has no commit v9"),
        (None, ["--template", "/nowhere"], "If it has moved, add --template and its address."),
        (dirty, [], "The project has uncommitted changes. Commit them, so that you can undo the update."),
        (without_git, [], "is not in a git repository. Commit it to one, so that you can undo the update."),
        (without_record, [], "There is no .cruft.json in "),
        (recorded(commit=None), [], "does not name the template's commit, because the template was not in"),
        (recorded(commit="0" * 40), [], f"The template has no commit {'0' * 40}"),
        (recorded(context=1), [], ".cruft.json is not valid: "),
    ],
)
def test_what_cannot_be_updated_is_refused_in_a_sentence_and_not_changed(
    prepare: Callable[[Project], None] | None,
    words: list[str],
    problem: str,
    plain: Project,
    user: User,
) -> None:
    project = plain
    if prepare:
        prepare(project)
    before = {path: path.read_bytes() for path in project.path.rglob("*.*") if path.is_file()}
    run = user.run([sys.executable, str(TEMPLATE / "update.py"), *words], cwd=project.path)
    assert run.returncode == 1
    assert problem in run.stderr
    assert "Traceback" not in run.stderr
    assert {path: path.read_bytes() for path in project.path.rglob("*.*") if path.is_file()} == before


def test_the_command_in_a_projects_readme_switches_the_pattern_that_it_names(
    plain: Project, user: User, bake: Bake
) -> None:
    project = plain
    (line,) = re.findall(r"^uv run (https://\S+ .*)$", project.text("README.md"), flags=re.MULTILINE)
    address, *words = shlex.split(line)
    assert address == f"https://raw.githubusercontent.com/{REPOSITORY}/main/update.py"
    assert_passed(user.run([sys.executable, str(TEMPLATE / "update.py"), *words], cwd=project.path))
    (name,) = updater.changes_in(words)
    assert content(project) == bake(**{name: False}).files()


def joined(*lines: str) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged"),
    [
        ("abcd", "acd", "abd", "ad"),  # both delete, side by side
        ("abcd", "abxcd", "acd", "axcd"),  # one adds where the other deletes
        ("abcd", "abcdx", "abcdy", "abcdyx"),  # both add at the end
        ("abcd", "abxd", "abd", "abxd"),  # one has already replaced what the other deletes
        ("abcd", "Abcd", "aBcd", "ABcd"),  # both replace, side by side
        ("a)b)c", "b)c", "a)c", "c"),  # repeated lines
        ("", "x", "", "x"),
        ("abc", "", "abc", ""),
    ],
)
def test_changes_side_by_side_are_merged(base: str, ours: str, theirs: str, merged: str) -> None:
    assert updater.merge(joined(*base), joined(*ours), joined(*theirs)) == (joined(*merged), True)


def test_lines_that_both_sides_have_changed_stay_between_markers() -> None:
    base, ours, theirs = (joined("a", f"limit = {number}", "b") for number in (1, 2, 3))
    merged = joined("a", "<<<<<<< yours", "limit = 2", "=======", "limit = 3", ">>>>>>> template", "b")
    assert updater.merge(base, ours, theirs) == (merged, False)
    assert updater.merge(base, ours, ours) == (ours, True)


@pytest.mark.parametrize("seed", range(60))
def test_no_line_is_lost_and_a_side_without_changes_yields_to_the_other(seed: int) -> None:
    choice = random.Random(seed)
    base = [choice.choice(["alpha", "beta", ")", "", "gamma delta"]) for _ in range(choice.randrange(12))]

    def changed() -> list[str]:
        lines = list(base)
        for _ in range(choice.randrange(4)):
            position = choice.randrange(len(lines) + 1)
            new = [[], [f"new {choice.randrange(99)}"], [*lines[position : position + 1], "twice"]]
            lines[position : position + 1] = choice.choice(new)
        return lines

    ours, theirs = changed(), changed()
    texts = [joined(*lines) for lines in (base, ours, theirs)]
    assert updater.merge(texts[0], texts[1], texts[0]) == (texts[1], True)
    assert updater.merge(texts[0], texts[0], texts[2]) == (texts[2], True)
    assert updater.merge(texts[0], texts[1], texts[1]) == (texts[1], True)
    merged = updater.merge(*texts)[0].decode().splitlines()
    assert ({*ours, *theirs} - {*base}) <= {*merged}
