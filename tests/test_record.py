"""Every project records its template, commit and answers in `.cruft.json`, as `cruft create` does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .combinations import PROMPTS, SKELETON, TEMPLATE
from .hooks import load_hook
from .project import RECORD, assert_passed
from .user import User

POST = load_hook("post_gen_project")
ODD = {"project_name": "Ünïcode \N{ROCKET}", "description": 'He said "no", \\ and {}.'}
ANSWERS = {**ODD, "project_slug": "my-mcp-server", "retry": "no", "license": "Apache-2.0", "ci": "none"}
WORDS = [f"{name}={value}" for name, value in ANSWERS.items()]


@pytest.fixture(scope="module")
def repository(user: User, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository that contains the template. Tests must not change it."""
    folder = tmp_path_factory.mktemp("repository") / "mcp-server-template"
    for path in (TEMPLATE / "hooks", SKELETON):
        shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TEMPLATE / "cookiecutter.json", folder)
    user.commit(folder, "Template")
    return folder


@pytest.fixture
def clone(user: User, repository: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    user.git("clone", "--quiet", str(repository), str(folder), cwd=tmp_path)
    return folder


def generate(user: User, cwd: Path, *words: str) -> None:
    assert_passed(user.run(["cookiecutter", *words, "--no-input"], cwd=cwd))


def head(user: User, folder: Path) -> str:
    return user.git("rev-parse", "HEAD", cwd=folder).strip()


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "my-mcp-server" / RECORD).read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("how", ["absolute", "relative", "in-the-clone"])
def test_a_local_template_is_recorded_as_cruft_does(
    how: str, user: User, clone: Path, tmp_path: Path
) -> None:
    places = {
        "absolute": (str(clone), tmp_path, "one", "two"),
        "relative": ("../clone", tmp_path / "cwd", "one", "two"),
        "in-the-clone": (".", clone, "../one", "../two"),
    }
    template, cwd, one, two = places[how]
    cwd.mkdir(exist_ok=True)
    generate(user, cwd, template, "-o", one, *WORDS)
    extra = ["--extra-context", json.dumps(ANSWERS)]
    assert_passed(user.run(["cruft", "create", template, "--no-input", "--output-dir", two, *extra], cwd=cwd))
    ours, theirs = (cwd / folder / "my-mcp-server" / RECORD for folder in (one, two))
    assert ours.read_bytes() == theirs.read_bytes()


def test_a_cloned_template_is_recorded_with_its_full_address_and_checkout(
    user: User, repository: Path, tmp_path: Path
) -> None:
    home = User(tmp_path / "home")
    github = home.home / "github" / "ada" / "mcp-server-template.git"
    home.home.mkdir()
    home.git("clone", "--quiet", "--bare", str(repository), str(github), cwd=tmp_path)
    home.git("tag", "v1.0.0", cwd=github)
    configuration = f'[url "{(home.home / "github").as_uri()}/"]\n    insteadOf = https://github.com/\n'
    (home.home / ".gitconfig").write_text(configuration, encoding="utf-8")
    generate(home, tmp_path, "gh:ada/mcp-server-template", "--checkout", "v1.0.0", "-o", "one")
    address = "https://github.com/ada/mcp-server-template.git"
    command = ["cruft", "create", address, "--no-input", "--checkout", "v1.0.0", "--output-dir", "two"]
    assert_passed(home.run(command, cwd=tmp_path))
    ours, theirs = (tmp_path / folder / "my-mcp-server" / RECORD for folder in ("one", "two"))
    assert ours.read_bytes() == theirs.read_bytes()
    assert record(tmp_path / "one")["commit"] == head(user, repository)


def branch(_user: User, clone: Path) -> Path:
    return clone


def detached(user: User, clone: Path) -> Path:
    user.git("checkout", "--quiet", "--detach", cwd=clone)
    return clone


def packed(user: User, clone: Path) -> Path:
    user.git("checkout", "--quiet", "-b", "feature/a+b", cwd=clone)
    user.git("pack-refs", "--all", cwd=clone)
    return clone


def worktree(user: User, clone: Path) -> Path:
    user.git("worktree", "add", "--quiet", "-b", "other", "../worktree", cwd=clone)
    user.git("commit", "--quiet", "--allow-empty", "--message", "Other", cwd=clone.parent / "worktree")
    return clone.parent / "worktree"


def submodule(user: User, clone: Path) -> Path:
    parent = clone.parent / "parent"
    parent.mkdir()
    user.git("init", "--quiet", cwd=parent)
    words = ("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(clone), "module")
    user.git(*words, cwd=parent)
    return parent / "module"


@pytest.mark.parametrize("how", [branch, detached, packed, worktree, submodule])
def test_the_commit_is_read_from_the_files_of_git(
    how: Callable[[User, Path], Path], user: User, clone: Path
) -> None:
    folder = how(user, clone)
    assert POST.commit_of(folder) == head(user, folder)


@pytest.mark.parametrize(
    "content", ["", "ref: refs/heads/gone", "ref: refs/heads/.invalid", "\xff", "0" * 39]
)
def test_a_commit_that_cannot_be_read_is_null(content: str, clone: Path) -> None:
    (clone / ".git" / "HEAD").write_bytes(content.encode("latin-1"))
    assert POST.commit_of(clone) is None


@pytest.mark.parametrize(
    ("url", "recorded"),
    [
        ("https://github.com/ada/t.git", "https://github.com/ada/t.git"),
        ("git@github.com:ada/t.git", "git@github.com:ada/t.git"),
        ("ssh://git@host/t.git", "ssh://git@host/t.git"),
        ("https://ada:token@host/t.git", "https://host/t.git"),
        ('/a #b/"t\\', '/a #b/"t\\'),
    ],
)
def test_the_address_is_recorded_as_git_has_it_but_without_a_password(
    url: str, recorded: str, user: User, tmp_path: Path
) -> None:
    user.git("init", "--quiet", cwd=tmp_path)
    user.git("remote", "add", "upstream", "https://host/other.git", cwd=tmp_path)
    user.git("remote", "add", "origin", url, cwd=tmp_path)
    assert POST.origin_of(tmp_path) == recorded


def test_without_git_the_answers_are_recorded_and_the_commit_is_null(
    user: User, clone: Path, tmp_path: Path
) -> None:
    shutil.rmtree(clone / ".git")
    generate(user, tmp_path, "clone", *WORDS)
    found = record(tmp_path)
    assert (found["template"], found["commit"]) == (str(clone), None)
    assert found["context"]["cookiecutter"]["description"] == ODD["description"]


@pytest.mark.usefixtures("clone")
def test_a_replay_file_in_any_order_gives_the_same_record(user: User, tmp_path: Path) -> None:
    generate(user, tmp_path, "clone", "-o", "one", *WORDS)
    known = record(tmp_path / "one")["context"]["cookiecutter"]
    answers = {name: known[name] for name in reversed(PROMPTS) if name[0] != "_"}
    (tmp_path / "answers.json").write_text(json.dumps({"cookiecutter": {**answers, "gone": 1, "_x": 2}}))
    command = ["cookiecutter", "clone", "--replay-file", "answers.json", "-o", "two"]
    assert_passed(user.run(command, cwd=tmp_path))
    ours, theirs = (tmp_path / folder / "my-mcp-server" / RECORD for folder in ("one", "two"))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.usefixtures("clone")
def test_generating_over_a_project_records_the_new_answers_and_keeps_skip(user: User, tmp_path: Path) -> None:
    generate(user, tmp_path, "clone")
    path = tmp_path / "my-mcp-server" / RECORD
    path.write_text(json.dumps({**record(tmp_path), "skip": ["README.md"]}), encoding="utf-8")
    generate(user, tmp_path, "clone", "-f", "retry=no")
    found = record(tmp_path)
    assert found["context"]["cookiecutter"]["retry"] is False
    assert found["skip"] == ["README.md"]


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.usefixtures("clone")
def test_what_keeps_existing_files_records_nothing(is_there: bool, user: User, tmp_path: Path) -> None:
    """The project matches neither the old answers nor the new ones."""
    generate(user, tmp_path, "clone")
    path = tmp_path / "my-mcp-server" / RECORD
    before = path.read_bytes()
    if not is_there:
        path.unlink()
    generate(user, tmp_path, "clone", "-f", "-s", "retry=no")
    assert (path.read_bytes() if path.exists() else None) == (before if is_there else None)


def test_an_answer_that_is_corrected_after_a_refusal_gives_the_same_record(
    user: User, clone: Path, tmp_path: Path
) -> None:
    generate(user, tmp_path, f"git+{clone.as_uri()}", "-o", "one")
    words = [f"git+{clone.as_uri()}", "--no-input", "-o", "two", "author_email=x"]
    (tmp_path / "two").mkdir()
    run = user.run(["cookiecutter", *words], cwd=tmp_path)
    (command,) = (line.strip() for line in run.stderr.splitlines() if line.startswith("    "))
    assert_passed(user.run(command, cwd=tmp_path, typed="\n"))
    ours, theirs = (tmp_path / folder / "my-mcp-server" / RECORD for folder in ("one", "two"))
    assert ours.read_bytes() == theirs.read_bytes()
    assert record(tmp_path / "two")["template"] == clone.as_uri()


@pytest.mark.usefixtures("clone")
def test_cruft_updates_a_project_that_cookiecutter_has_generated(user: User, tmp_path: Path) -> None:
    generate(user, tmp_path, "clone", "retry=no")
    project = tmp_path / "my-mcp-server"
    user.commit(project, "Create")
    command = ["cruft", "update", "--skip-apply-ask", "--variables-to-update", '{"retry": true}']
    assert_passed(user.run(command, cwd=project))
    updated = (project / RECORD).read_bytes()
    shutil.rmtree(project)
    generate(user, tmp_path, "clone")
    assert updated == (project / RECORD).read_bytes()
