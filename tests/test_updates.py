"""`update.py` adds and removes patterns, and takes a newer template, in a project that a user has edited.

The result must be the same as if the project had been generated with the new answers and then edited in the same way.
"""

import ast
import errno
import json
import os
import random
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import update as updater

from .combinations import PACKAGE, PATTERNS, PROMPTS, REPOSITORY, SKELETON, TEMPLATE
from .conftest import Bake
from .hooks import HOOKS
from .images import IS_ROOT
from .project import RECORD, Project, assert_passed
from .test_recipe import ACCEPT, follow, remove
from .user import User

# Modules for computation and the file system, without clock, randomness, processes or network.
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
CONFLICT = "CONFLICT: you and the template have changed the same lines, between <<<<<<< and >>>>>>>: "
KEPT = "Kept, because it is yours or you have edited it: "

NONE = {**dict.fromkeys(PATTERNS, False), "container": False, "ci": "none", "license": "Proprietary"}
# The answers of a project, and the one that changes: every pattern off and on, and every choice.
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    **{f"from-all-{name}": ({}, {name: not PROMPTS[name]}) for name in PATTERNS},
    **{f"from-none-{name}": (NONE, {name: True}) for name in PATTERNS},
    **{
        f"{name}-{value}": ({}, {name: value})
        for name in ("license", "http_client", "ci")
        for value in PROMPTS[name][1:]
    },
    "from-httpx": ({"http_client": "httpx"}, {"http_client": "httpx2"}),
    "container-no": ({}, {"container": False}),
    "container-yes": (NONE, {"container": True}),
    "ci-github": (NONE, {"ci": "github"}),
    "license-MIT": (NONE, {"license": "MIT"}),
    "published": ({}, {"repository": "https://github.com/ada/quotes"}),
    "description": ({}, {"description": 'It quotes "texts".'}),
    "several": ({}, {"retry": False, "caching": False, "self_contained": True}),
}
# Remove a pattern next to the removed example, the pattern of that example and the layout, and add a pattern to a
# project without patterns.
QUICK = ("from-all-connection_pooling", "from-all-caching", "from-all-self_contained", "from-none-telemetry")
SELECTED = [name if name in QUICK else pytest.param(name, marks=pytest.mark.matrix) for name in CHANGES]


def replace(path: Path, old: str, new: str) -> None:
    """Replace text that occurs exactly once in a file."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {path}"
    path.write_text(text.replace(old, new), encoding="utf-8", newline="\n")


def edit(project: Project, recipe: Project | None = None) -> None:
    """Edit a project as its README shows: add tools, remove examples, change a setting, describe the server.

    Also add a pattern of the user, with a setting, a tool and a test. `recipe` is the project with the README.
    """
    readme = project.path / "README.md"
    text = readme.read_bytes()
    readme.write_bytes(((recipe or project).path / "README.md").read_bytes())
    follow(project)
    readme.write_bytes(text)
    canary = project.path / "scripts" / "canary.py"
    unedited = canary.read_bytes() if canary.exists() else b""
    for example in ("caching", "process_data"):
        if all((each.package / "tools" / f"{example}.py").exists() for each in (project, recipe or project)):
            remove(project, example)
            (project.path / "tests" / "surface" / f"{example}.json").unlink()
    if unedited and recipe and not (recipe.path / "scripts" / "canary.py").exists():
        canary.write_bytes(unedited)  # it comes with the update
    own = project.package / "patterns"
    own.mkdir(exist_ok=True)
    (own / "__init__.py").touch()
    (own / "own.py").write_text(PATTERN, encoding="utf-8")
    (project.package / "tools" / "quote.py").write_text(TOOL, encoding="utf-8")
    (project.path / "tests" / "tools" / "test_quote.py").write_text(TEST, encoding="utf-8")
    server = project.package / "server.py"
    replace(server, "from .tools.issues", "from .tools.quote import quote\nfrom .tools.issues")
    replace(server, "    ],\n    mask_error_details", "        quote,\n    ],\n    mask_error_details")
    replace(readme, "\n## Configure it\n", "\n## Configure it\n\nAsk Ada.\n")
    row = "| `QUOTE_MARK` | `'` | Mark before and after a text |\n"
    replace(readme, "| `TOOL_DEADLINE_SECONDS` | `50` |", f"{row}| `TOOL_DEADLINE_SECONDS` | `40` |")
    env_example = project.path / ".env.example"
    replace(env_example, "# TOOL_DEADLINE_SECONDS=50\n", "# QUOTE_MARK='\n# TOOL_DEADLINE_SECONDS=40\n")
    replace(
        project.package / "runtime" / "deadlines.py",
        "seconds: float = Field(50,",
        "seconds: float = Field(40,",
    )
    tidy(project)


def tidy(project: Project) -> None:
    """Sort the imports, as the README instructs."""
    project.run("-m", "ruff", "check", "--no-cache", "--fix", "--quiet", ".")


def content(project: Project) -> dict[str, bytes]:
    """Return the files of a project, except those of Git."""
    return {name: text for name, text in project.files().items() if not name.startswith(".git/")}


def answers_of(project: Project) -> dict[str, Any]:
    state = json.loads(project.text(RECORD))
    return {name: value for name, value in state["context"]["cookiecutter"].items() if name[0] != "_"}


def committed(user: User, project: Project, repository: Path) -> Project:
    """Commit a project as if it had been generated from a repository."""
    state = json.loads(project.text(RECORD))
    state["template"] = str(repository)
    state["commit"] = user.git("rev-parse", "HEAD", cwd=repository).strip()
    (project.path / RECORD).write_text(json.dumps(state), encoding="utf-8")
    user.commit(project.path, "Create")
    return project


@pytest.fixture(scope="module", autouse=True)
def _render_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Cache the rendered projects by answers and commit."""
    known: dict[str, dict[str, Path]] = {}
    render = updater.rendered

    def once(template: Path, context: dict[str, Any], _folder: Path) -> dict[str, Path]:
        key = json.dumps(context)
        if key not in known:
            known[key] = render(template, context, tmp_path_factory.mktemp("rendered"))
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(updater, "rendered", once)
        yield


@pytest.fixture(scope="session")
def repository(user: User, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository that contains the template. Tests must not change it."""
    folder = tmp_path_factory.mktemp("template") / "mcp-server-template"
    copy_template(folder)
    user.commit(folder, "Template")
    return folder


def copy_template(folder: Path) -> None:
    for path in (TEMPLATE / "hooks", SKELETON):
        shutil.copytree(
            path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
    shutil.copy(TEMPLATE / "cookiecutter.json", folder)


@pytest.fixture
def edited(user: User, repository: Path, bake: Bake) -> Callable[..., Project]:
    """Return a function that creates a project, edits and commits it."""

    def made(**answers: Any) -> Project:
        project = bake(**answers)
        edit(project)
        return committed(user, project, repository)

    return made


@pytest.fixture
def plain(user: User, repository: Path, bake: Bake) -> Project:
    """Return a committed project without edits."""
    return committed(user, bake(), repository)


def update(project: Project, checkout: str | None = None, moved: str | None = None, **changes: Any) -> int:
    given = {name: {True: "yes", False: "no"}.get(value, value) for name, value in changes.items()}
    return updater.update(project.path, given, checkout, moved)


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_cannot_depend_on_anything_but_the_answers_and_the_template(hook: str) -> None:
    tree = ast.parse((TEMPLATE / "hooks" / f"{hook}.py").read_text(encoding="utf-8"))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
            assert "os" not in [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
            # The hook reads `environ` only to find the template.
            assert node.module != "os" or [alias.name for alias in node.names] == ["environ"]
    assert imported <= HARMLESS
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not names & {"__import__", "eval", "exec", "input", "id", "hash"}


@pytest.mark.parametrize("change", SELECTED)
def test_an_update_gives_the_project_generated_with_the_new_answers_plus_every_edit(
    change: str, edited: Callable[..., Project], bake: Bake, capsys: pytest.CaptureFixture[str]
) -> None:
    before, changes = CHANGES[change]
    project, expected = edited(**before), bake(**{**before, **changes})
    edit(expected, recipe=bake(**before))
    assert update(project, **changes) == 0
    printed = capsys.readouterr().out
    assert CONFLICT not in printed
    tidy(project)
    found = content(project)
    if change == "ci-none":
        # The removal of CI leaves the edited canary.
        assert f"{KEPT}scripts/canary.py" in printed
        del found["scripts/canary.py"]
    assert found == content(expected)
    assert project.lint() == ""
    assert answers_of(project) == answers_of(expected)


@pytest.mark.parametrize(
    "change", ["from-all-retry", pytest.param("from-none-caching", marks=pytest.mark.matrix)]
)
def test_another_developer_can_change_it_back(
    change: str, edited: Callable[..., Project], user: User, tmp_path: Path
) -> None:
    """Their clone does not have the objects that Git created during the first update."""
    before, changes = CHANGES[change]
    project = edited(**before)
    original = content(project)
    assert update(project, **changes) == 0
    tidy(project)
    user.commit(project.path, "Update")
    user.git("clone", "--quiet", project.path.as_uri(), str(tmp_path / "clone"), cwd=tmp_path)
    clone = Project(tmp_path / "clone", project.package_name)
    assert update(clone, **{name: before.get(name, PROMPTS[name]) for name in changes}) == 0
    tidy(clone)
    assert content(clone) == original


@pytest.mark.matrix
@pytest.mark.parametrize("change", ["from-all-self_contained", "from-none-retry"])
def test_an_updated_project_passes_its_own_tests(change: str, edited: Callable[..., Project]) -> None:
    before, changes = CHANGES[change]
    project = edited(**before)
    assert update(project, **changes) == 0
    tidy(project)
    assert project.lint() == ""
    assert_passed(project.run("-m", "mypy"))
    assert_passed(project.run_tests(*ACCEPT))
    assert_passed(project.run_tests("--ignore=tests/production"))


def improve(template: Path) -> None:
    """Change the template: change, add and remove files, and change the server next to the user's lines."""
    skeleton = template / SKELETON.name
    (skeleton / PACKAGE / "runtime" / "__init__.py").write_text('"""Improved."""\n', encoding="utf-8")
    (skeleton / PACKAGE / "runtime" / "added.py").write_text('"""Added."""\n', encoding="utf-8")
    (skeleton / "tests" / "changes.py").unlink()
    replace(
        skeleton / PACKAGE / "server.py", "    mask_error_details=True,\n", "    mask_error_details=False,\n"
    )
    prompts = json.loads((template / "cookiecutter.json").read_text(encoding="utf-8"))
    (template / "cookiecutter.json").write_text(
        json.dumps({**prompts, "greeting": "Hello"}), encoding="utf-8"
    )


def test_a_newer_template_is_applied_beside_every_edit(
    edited: Callable[..., Project],
    user: User,
    repository: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = edited()
    expected = content(project)
    newer = tmp_path / "newer"
    user.git("clone", "--quiet", str(repository), str(newer), cwd=tmp_path)
    improve(newer)
    user.commit(newer, "Improve")
    assert update(project, moved=os.path.relpath(newer, project.path)) == 0
    expected["src/my_mcp_server/runtime/__init__.py"] = b'"""Improved."""\n'
    expected["src/my_mcp_server/runtime/added.py"] = b'"""Added."""\n'
    expected[SERVER] = expected[SERVER].replace(b"details=True", b"details=False")
    del expected["tests/changes.py"]
    assert content(project) == expected
    assert 'New question, answered with its default: greeting="Hello"' in capsys.readouterr().out
    state = json.loads(project.text(RECORD))
    assert Path(state["template"]).samefile(newer)
    assert state["commit"] == user.git("rev-parse", "HEAD", cwd=newer).strip()


@pytest.mark.matrix
def test_an_edited_project_of_the_last_template_commit_becomes_one_of_this_template(
    user: User, bake: Bake, tmp_path: Path
) -> None:
    parts = ("hooks", "cookiecutter.json", SKELETON.name)
    run = user.run(["git", "log", "--max-count=2", "--format=%H", "--", *parts], cwd=TEMPLATE)
    commits = run.stdout.split()
    if len(commits) < 2:
        pytest.skip("needs the history of the template")
    template = tmp_path / "mcp-server-template"
    template.mkdir()
    archive = tmp_path / "last.tar"
    user.git("archive", "--output", str(archive), commits[1], "--", *parts, cwd=TEMPLATE)
    shutil.unpack_archive(archive, template)
    user.commit(template, "Last")
    assert_passed(user.run(["cookiecutter", str(template), "--no-input"], cwd=tmp_path))
    project = Project(tmp_path / "my-mcp-server", "my_mcp_server")
    last = user.git("rev-parse", "HEAD", cwd=template).strip()
    if not (project.path / RECORD).exists():  # the last commit is older than the record
        context = {name: value[0] if isinstance(value, list) else value for name, value in PROMPTS.items()}
        context |= {"project_slug": "my-mcp-server", "package_name": "my_mcp_server"}
        state = {"template": str(template), "commit": last, "context": {"cookiecutter": context}}
        (project.path / RECORD).write_text(json.dumps(state), encoding="utf-8")
    edit(project)
    user.commit(project.path, "Edit")
    for part in parts[:-1:2]:
        shutil.rmtree(template / part)
    shutil.rmtree(template / SKELETON.name)
    copy_template(template)
    user.commit(template, "This")
    assert update(project) == 0
    tidy(project)
    expected = bake()
    edit(expected)
    assert content(project) == content(expected)


def test_a_line_that_both_sides_have_changed_is_a_conflict_with_a_name(
    edited: Callable[..., Project], user: User, bake: Bake, capsys: pytest.CaptureFixture[str]
) -> None:
    project, expected = edited(), bake(lazy_initialization=False)
    edit(expected)
    replace(project.path / SERVER, "lifespan=runtime", "lifespan=mine | runtime")
    user.commit(project.path, "Edit")
    assert update(project, lazy_initialization=False) == 1
    tidy(project)
    assert f"{CONFLICT}{SERVER}\n" in capsys.readouterr().out
    text = project.text(SERVER)
    conflict = re.findall(r"<<<<<<< yours\n(.+)\n=======\n(.+)\n>>>>>>> template\n", text)
    assert [(["mine" in side for side in sides]) for sides in conflict] == [[True, False]]
    resolved = re.sub(r"<<<<<<< yours\n.+\n=======\n(.+\n)>>>>>>> template\n", r"\1", text)
    (project.path / SERVER).write_text(resolved, encoding="utf-8", newline="\n")
    tidy(project)
    assert content(project) == content(expected)
    assert answers_of(project)["lazy_initialization"] is False


def test_an_edited_file_of_a_removed_pattern_is_kept_and_named(
    edited: Callable[..., Project], user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    project = edited()
    tool = "src/my_mcp_server/tools/retry.py"
    replace(project.path / tool, "Send an API request with retries", "Ask again")
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


# Settings of git that convert line endings. The first is the default of Git for Windows.
CONVERTING = {
    "autocrlf": "[core]\n\tautocrlf = true\n",
    "eol": "[core]\n\teol = crlf\n\tattributesFile = ~/attributes\n",
}


def converting_user(home: Path, setting: str) -> User:
    """Return a user whose git converts line endings."""
    home.mkdir()
    (home / ".gitconfig").write_text(CONVERTING[setting], encoding="utf-8")
    (home / "attributes").write_text("* text\n", encoding="utf-8")
    return User(home)


def run_update(user: User, project: Project, *words: str) -> "subprocess.CompletedProcess[str]":
    return user.run([sys.executable, str(TEMPLATE / "update.py"), *words], cwd=project.path)


def to_windows(content: bytes) -> bytes:
    return content.replace(b"\n", b"\r\n")


@pytest.fixture
def own_template(user: User, repository: Path, tmp_path: Path) -> Path:
    """Return a clone of the template that the test may change."""
    folder = tmp_path / "template"
    user.git("clone", "--quiet", str(repository), str(folder), cwd=tmp_path)
    return folder


@pytest.mark.parametrize(
    ("setting", "endings"), [("autocrlf", "windows"), ("autocrlf", "unix"), ("eol", "windows")]
)
def test_line_endings_stay_whatever_git_is_set_to(
    setting: str, endings: str, bake: Bake, own_template: Path, tmp_path: Path
) -> None:
    """The template has no `.gitattributes` here, as its first commits had none."""
    (own_template / SKELETON.name / ".gitattributes").unlink()
    User(tmp_path).commit(own_template, "Remove attributes")
    project, expected = bake(), bake(caching=False)
    for each in (project, expected):
        replace(each.path / "README.md", "\n## Configure it\n", "\n## Configure it\n\nAsk Ada.\n")
        (each.path / ".gitattributes").unlink()
        if endings == "windows":
            for path in each.path.rglob("*"):
                if path.is_file():
                    path.write_bytes(to_windows(path.read_bytes()))
    windows = converting_user(tmp_path / "home", setting)
    committed(windows, project, own_template)
    run = run_update(windows, project, "caching=no")
    assert run.returncode == 0, run.stderr
    assert KEPT not in run.stdout
    assert content(project) == expected.files()


@pytest.mark.parametrize("setting", CONVERTING)
def test_the_template_is_checked_out_as_it_was_committed(
    setting: str, own_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converting_user(tmp_path / "home", setting)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    template = updater.cloned(str(own_template), tmp_path / "clone")
    updater.check_out(template, "HEAD")
    hook = Path("hooks", "pre_gen_project.py")
    assert (template / hook).read_bytes() == (TEMPLATE / hook).read_bytes()


def test_a_clone_of_the_template_on_windows_gives_a_project_that_can_be_updated(
    published: Path, bake: Bake, tmp_path: Path
) -> None:
    windows = converting_user(tmp_path / "home", "autocrlf")
    clone = tmp_path / "mcp-server-template"
    windows.git("clone", "--quiet", str(published), str(clone), cwd=tmp_path)
    assert_passed(windows.run(["cookiecutter", str(clone), "--no-input"], cwd=tmp_path))
    project = Project(tmp_path / "my-mcp-server", "my_mcp_server")
    assert project.files() == bake().files()
    windows.commit(project.path, "Create")
    assert_passed(run_update(windows, project, "caching=no"))
    assert content(project) == bake(caching=False).files()
    windows.commit(project.path, "Update")
    again = tmp_path / "again"
    windows.git("clone", "--quiet", str(project.path), str(again), cwd=tmp_path)
    assert content(Project(again, "my_mcp_server")) == bake(caching=False).files()


def test_each_line_keeps_its_ending_and_a_byte_order_mark_stays(
    plain: Project, user: User, bake: Bake
) -> None:
    """An editor on Windows has added a line with its own ending, and a byte order mark."""
    readme, server = plain.path / "README.md", plain.path / SERVER
    readme.write_bytes(b"\xef\xbb\xbfMine.\r\n" + readme.read_bytes())
    server.write_bytes(b"\xef\xbb\xbf" + to_windows(server.read_bytes()))
    unedited = plain.path / "tests" / "tools" / "test_caching.py"
    unedited.write_bytes(b"\xef\xbb\xbf" + to_windows(unedited.read_bytes()))
    user.commit(plain.path, "Edit")
    assert update(plain, caching=False) == 0
    expected = bake(caching=False)
    assert readme.read_bytes() == b"\xef\xbb\xbfMine.\r\n" + (expected.path / "README.md").read_bytes()
    assert server.read_bytes() == b"\xef\xbb\xbf" + to_windows((expected.path / SERVER).read_bytes())
    assert not unedited.exists()


def test_a_new_file_has_the_line_endings_of_the_project(bake: Bake, user: User, repository: Path) -> None:
    project = bake(caching=False)
    for path in project.path.rglob("*.*"):
        if path.is_file():
            path.write_bytes(to_windows(path.read_bytes()))
    committed(user, project, repository)
    assert update(project, caching=True) == 0
    tool = "src/my_mcp_server/tools/caching.py"
    assert (project.path / tool).read_bytes() == to_windows((bake().path / tool).read_bytes())


def test_an_edited_binary_file_is_kept_and_an_unedited_one_is_replaced(
    plain: Project, user: User, own_template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its bytes are not line endings."""
    old, new, mine = b"\x00\r\nold\n", b"\x00\n\r\nnew\r\n", b"\x00\nmine\r\n"
    names = [own_template / SKELETON.name / name for name in ("a.bin", "b.bin")]
    for path in names:
        path.write_bytes(old)
    user.commit(own_template, "Add")
    (plain.path / "a.bin").write_bytes(old)
    (plain.path / "b.bin").write_bytes(mine)
    committed(user, plain, own_template)
    for path in names:
        path.write_bytes(new)
    user.commit(own_template, "Change")
    assert update(plain) == 0
    assert (plain.path / "a.bin").read_bytes() == new
    assert (plain.path / "b.bin").read_bytes() == mine
    assert f"{KEPT}b.bin\n" in capsys.readouterr().out


def script(path: Path) -> None:
    path.write_text("deploy\n", encoding="utf-8")


def folder_with_file(path: Path) -> None:
    path.mkdir()
    (path / "notes").touch()


def link_to_file(path: Path) -> None:
    (path.parent.parent / "file").write_text("elsewhere\n", encoding="utf-8")
    path.symlink_to(Path("..", "file"))


def link_to_folder(path: Path) -> None:
    (path.parent.parent / "folder").mkdir()
    path.symlink_to(Path("..", "folder"), target_is_directory=True)


def broken_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("name", ["Dockerfile", "deploy"])
@pytest.mark.parametrize("create", [script, folder_with_file, link_to_file, link_to_folder, broken_link])
def test_whatever_the_user_has_at_a_path_of_the_template_is_kept_and_named(
    create: Callable[[Path], None],
    name: str,
    bake: Bake,
    repository: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project, expected = bake(container=False), bake()
    create(project.path / name)
    committed(User(project.path.parent), project, repository)
    before, outside = content(project), files_in(project.path.parent)
    assert update(project, container=True) == 0
    theirs = {path: text for path, text in before.items() if path.split("/")[0] == name}
    kept = [path for path in expected.files() if path.split("/")[0] == name]
    if name == "deploy" and create is folder_with_file:
        kept = []  # the template's files fit into the folder of the user
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line.startswith(KEPT)] == [KEPT + path for path in kept]
    after = content(project)
    assert after.keys() == {path for path in expected.files() if path not in kept} | theirs.keys()
    assert {path: after[path] for path in theirs} == theirs
    assert files_in(project.path.parent) == outside
    assert answers_of(project)["container"] is True


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the files beside a project, and in the folder that a test has linked."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for pattern in ("*", "folder/*")
        for path in folder.glob(pattern)
        if path.is_file()
    }


def test_a_linked_file_of_the_template_is_kept(
    plain: Project, user: User, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = plain.path.parent / "README.md"
    shutil.move(plain.path / "README.md", outside)
    (plain.path / "README.md").symlink_to(outside)
    before = outside.read_bytes()
    user.commit(plain.path, "Link")
    assert update(plain, caching=False) == 0
    assert f"{KEPT}README.md\n" in capsys.readouterr().out
    assert outside.read_bytes() == before
    assert (plain.path / "README.md").is_symlink()


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be read-only there")
@pytest.mark.parametrize(
    "name", [RECORD, "README.md", "src/my_mcp_server/tools", "src/my_mcp_server/tools/caching.py"]
)
def test_a_read_only_file_stops_an_update_before_anything_is_written(
    name: str, plain: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    if IS_ROOT:  # root may write everywhere: judge by the permissions of the owner
        monkeypatch.setattr(os, "access", lambda path, _: bool(Path(path).stat().st_mode & stat.S_IWUSR))
    before = content(plain)
    mode = (plain.path / name).stat().st_mode
    (plain.path / name).chmod(mode & ~0o222)
    try:
        with pytest.raises(updater.UpdateError, match="read-only"):
            update(plain, caching=False)
    finally:
        (plain.path / name).chmod(mode)
    assert content(plain) == before


def test_a_full_disk_is_named_with_the_command_that_undoes_the_update(
    plain: Project,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = content(plain)
    record = plain.text(RECORD)
    write = Path.write_bytes

    def fail(path: Path, data: bytes) -> int:
        if path == plain.path / SERVER:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.chdir(plain.path)
    monkeypatch.setattr(Path, "write_bytes", fail)
    assert updater.main(["caching=no"]) == 1
    printed = capsys.readouterr().err
    undo = "git checkout . && git clean -fd"
    assert printed == (
        f"{SERVER} cannot be written: No space left on device. The update is not finished. To undo it: {undo}\n"
    )
    assert content(plain) != before
    assert plain.text(RECORD) == record
    assert_passed(user.run(undo, cwd=plain.path))
    assert content(plain) == before


def test_a_full_temporary_folder_changes_nothing(
    plain: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(plain)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.chdir(plain.path)
    monkeypatch.setattr(Path, "write_bytes", fail)
    replace(plain.path / "README.md", "## Configure it", "## Set it up")
    User(plain.path.parent).commit(plain.path, "Edit")
    assert updater.main(["caching=no"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "The update cannot be prepared: [Errno 28] No space left on device.",
        "Nothing has been changed.",
    ]
    assert content(plain).keys() == before.keys()


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
    without_git(project)
    (project.path / RECORD).unlink()


def with_record(text: str) -> Callable[[Project], None]:
    def write(project: Project) -> None:
        (project.path / RECORD).write_text(text, encoding="utf-8")
        User(project.path.parent).commit(project.path, "Edit")

    return write


def recorded(**changes: Any) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        with_record(json.dumps({**json.loads(project.text(RECORD)), **changes}))(project)

    return change


def answered(**changes: Any) -> Callable[[Project], None]:
    def change(project: Project) -> None:
        answers = json.loads(project.text(RECORD))["context"]["cookiecutter"]
        recorded(context={"cookiecutter": {**answers, **changes}})(project)

    return change


NOTHING = "Nothing has been changed."
AGAIN = "Run the update again with other answers. Those of the project are in .cruft.json."
SPACES = "Separate several answers with spaces."


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        (
            "cacheing=no",
            "cacheing is not a question of this template. Did you mean caching? Choose from: project_name, ",
        ),
        ("CI=gitlab", "CI is not a question of this template. Did you mean ci? Choose from: project_name, "),
        ("=no", " is not a question of this template. Choose from: project_name, "),
        ("retry=", f"retry cannot be ''. Choose from: yes, no. {SPACES}"),
        ("retry=no,caching=no", f"retry cannot be 'no,caching=no'. Choose from: yes, no. {SPACES}"),
        ("ci=jenkins", f"ci cannot be 'jenkins'. Choose from: github, gitlab, none. {SPACES}"),
        (
            "ci=GitLab",
            f"ci cannot be 'GitLab'. Did you mean gitlab? Choose from: github, gitlab, none. {SPACES}",
        ),
        ("project_slug=x", "project_slug cannot be changed by an update. Choose from: project_name, "),
        (
            "repository=nowhere",
            "repository 'nowhere' does not start with https://. Use the address of its page, ",
        ),
    ],
)
def test_a_refused_answer_is_explained_in_three_lines_and_changes_nothing(
    word: str, problem: str, plain: Project, user: User
) -> None:
    before = content(plain)
    run = run_update(user, plain, word)
    first, *others = run.stderr.splitlines()
    assert first.startswith(problem)
    assert others == [NOTHING, AGAIN]
    assert run.returncode == 1
    assert run.stdout == ""
    assert content(plain) == before


@pytest.mark.parametrize(
    ("prepare", "words", "problem"),
    [
        (None, ["caching"], "'caching' is not an answer. Write one as NAME=VALUE, such as caching=no."),
        (None, ["--checkout", "v9"], "The template has no commit v9"),
        (None, ["--template", "/nowhere"], "If it has moved, add --template and its address."),
        (None, ["--template", "."], " has no valid cookiecutter.json in commit "),
        (dirty, [], "The project has uncommitted changes. Commit them, so that you can undo the update."),
        (without_git, [], "is not in a git repository. Commit it to one, so that you can undo the update."),
        (without_record, [], "Run this in the folder of the project."),
        (recorded(commit=None), [], "does not name the template's commit, because the template was not in"),
        (recorded(commit="0" * 40), [], f"The template has no commit {'0' * 40}"),
        (with_record("{"), [], ".cruft.json is not valid JSON: "),
        (with_record("\x00"), [], ".cruft.json is not valid JSON: "),
        (with_record("[" * 100_000), [], ".cruft.json is not valid JSON: "),
        (with_record("[]"), [], ".cruft.json is not valid: it must be an object. "),
        (with_record("{}"), [], ".cruft.json is not valid: `template` must be the address of the template. "),
        (
            recorded(template=1),
            [],
            ".cruft.json is not valid: `template` must be the address of the template. ",
        ),
        (recorded(commit=1), [], ".cruft.json is not valid: `commit` must be a commit of the template. "),
        (recorded(commit=""), [], ".cruft.json is not valid: `commit` must be a commit of the template. "),
        (recorded(context=1), [], ".cruft.json is not valid: `context` must contain `cookiecutter` with the"),
        (recorded(context={"cookiecutter": []}), [], ".cruft.json is not valid: `context` must contain "),
        (answered(project_slug=None), [], ".cruft.json is not valid: the answer `project_slug` is missing. "),
        (answered(retry="no"), [], "the answer `retry` must be true or false, not 'no'."),
        (answered(ci=False), [], "the answer `ci` must be a text, not False."),
        (answered(description=5), [], "the answer `description` must be a text, not 5."),
        (recorded(skip="README.md"), [], '`skip` must be a list of patterns, such as ["README.md"]. '),
        (recorded(skip=[1]), [], '`skip` must be a list of patterns, such as ["README.md"]. '),
        (recorded(skip=None), [], '`skip` must be a list of patterns, such as ["README.md"]. '),
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
    before = project.files()
    run = run_update(user, project, *words)
    assert run.returncode == 1
    first, second = run.stderr.splitlines()
    assert problem in first
    assert second == NOTHING
    assert project.files() == before


def test_a_missing_git_is_named(plain: Project, tmp_path: Path) -> None:
    script = [sys.executable, str(TEMPLATE / "update.py")]
    run = subprocess.run(
        script, cwd=plain.path, env={"PATH": str(tmp_path)}, capture_output=True, check=False, text=True
    )
    assert run.stderr.splitlines() == [
        "git cannot be started: No such file or directory. Install it, and add it to PATH: https://git-scm.com",
        NOTHING,
    ]
    assert run.returncode == 1


@pytest.mark.parametrize("committed_too", [False, True])
def test_a_deleted_record_is_restored_by_the_command_that_is_printed(
    committed_too: bool, plain: Project, user: User
) -> None:
    record = plain.text(RECORD)
    (plain.path / RECORD).unlink()
    if committed_too:
        user.commit(plain.path, "Delete")
        (plain.path / "notes").touch()
        user.commit(plain.path, "Add notes")
    first, second = run_update(user, plain, "caching=no").stderr.splitlines()
    found = re.fullmatch(r"There is no \.cruft\.json in \S+\. Restore it: (git checkout .+)", first)
    assert found
    assert second == NOTHING
    assert_passed(user.run(found[1], cwd=plain.path))
    assert plain.text(RECORD) == record


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
