"""`update.py` adds and removes patterns, and takes a newer template, in a project that a user has edited.

The result must be the same as if the project had been generated with the new answers and then edited in the same way.
"""

import ast
import json
import os
import random
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
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
    for example in ("caching", "process_data"):
        if all((each.package / "tools" / f"{example}.py").exists() for each in (project, recipe or project)):
            remove(project, example)
            (project.path / "tests" / "surface" / f"{example}.json").unlink()
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
    assert content(project) == content(expected)
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
        (None, ["repository=nowhere"], "repository 'nowhere' does not start with https://."),
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
