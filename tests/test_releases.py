"""Changelog, version and tags match. Pre-commit hooks, workflows, issue forms and documented commands are valid."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest
from packaging.version import Version

from .combinations import REPOSITORY, TEMPLATE
from .project import assert_passed
from .user import User

CONTRIBUTING = (TEMPLATE / "CONTRIBUTING.md").read_text(encoding="utf-8")
CHANGELOG = (TEMPLATE / "CHANGELOG.md").read_text(encoding="utf-8")
FORMS = TEMPLATE / ".github" / "ISSUE_TEMPLATE"
ACTIONS = sorted((TEMPLATE / ".github").rglob("*.yml"))
LOCKED = "uv run --locked "
# Slow hooks, which check the whole template. CI has separate jobs for them.
LONG_HOOKS = {"mypy", "texts"}


def version_in(pyproject: str) -> str:
    return str(tomllib.loads(pyproject)["project"]["version"])


def version_tags(root: Path) -> dict[str, str]:
    """Return the version in `pyproject.toml` at each version tag before HEAD, or nothing without a repository."""
    if not (root / ".git").exists():
        return {}
    names = git(root, "tag", "--merged", "HEAD", "--list", "v[0-9]*").split()
    return {name: version_in(git(root, "show", f"{name}:pyproject.toml")) for name in names}


def git(root: Path, *arguments: str) -> str:
    # The checkout may belong to another user, for example in a CI container.
    command = ["git", "-c", "safe.directory=*", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout


def disagreements(changelog: str, version: str, tags: Mapping[str, str]) -> list[str]:
    """Return the differences between the changelog, the version in `pyproject.toml` and the tags."""
    first, *others = re.findall(r"^## (.+)$", changelog, flags=re.MULTILINE)
    found = [] if first == "[Unreleased]" else ["the first section is not [Unreleased]"]
    wrong = [heading for heading in others if not is_release(heading)]
    found += [f"'{heading}' is not a version and its date" for heading in wrong]
    released = [heading[1:].partition("]")[0] for heading in others if heading not in wrong]
    if released != sorted(set(released), key=Version, reverse=True):
        found.append("the versions are not ordered, newest first")
    if released and version != released[0]:
        found.append(f"pyproject.toml has {version}, and the changelog {released[0]}")
    for tag, tagged in tags.items():
        if tag != f"v{tagged}":
            found.append(f"the commit of {tag} has version {tagged}")
        elif tagged not in released:
            found.append(f"the changelog has no section for {tag}")
    for name in ["Unreleased", *released]:
        if f"\n[{name}]: https://github.com/{REPOSITORY}/" not in changelog:
            found.append(f"[{name}] has no link")
    return found


def is_release(heading: str) -> bool:
    match = re.fullmatch(r"\[\d+\.\d+\.\d+\] - (\S+)", heading)
    return match is not None and is_date(match[1])


def is_date(day: str) -> bool:
    try:
        return date.fromisoformat(day).isoformat() == day
    except ValueError:
        return False


def test_the_changelog_the_version_and_the_tags_agree() -> None:
    version = version_in((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))
    assert disagreements(CHANGELOG, version, version_tags(TEMPLATE)) == []


RELEASED = f"""\
# Changelog

## [Unreleased]

## [1.1.0] - 2027-02-01

## [1.0.0] - 2027-01-04

[Unreleased]: https://github.com/{REPOSITORY}/compare/v1.1.0...HEAD
[1.1.0]: https://github.com/{REPOSITORY}/compare/v1.0.0...v1.1.0
[1.0.0]: https://github.com/{REPOSITORY}/releases/tag/v1.0.0
"""
TAGS = {"v1.0.0": "1.0.0", "v1.1.0": "1.1.0"}


def test_a_version_may_be_tagged_after_its_commit() -> None:
    assert disagreements(RELEASED, "1.1.0", TAGS) == []
    assert disagreements(RELEASED, "1.1.0", {"v1.0.0": "1.0.0"}) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("## [Unreleased]\n\n", "", "the first section is not [Unreleased]"),
        ("2027-02-01", "2027-02-30", "'[1.1.0] - 2027-02-30' is not a version and its date"),
        ("## [1.1.0]", "## [1.1]", "'[1.1] - 2027-02-01' is not a version and its date"),
        ("## [1.1.0]", "## [0.9.0]", "the versions are not ordered, newest first"),
        ("## [1.1.0]", "## [1.2.0]", "pyproject.toml has 1.1.0, and the changelog 1.2.0"),
        ("## [1.0.0]", "## [1.0.1]", "the changelog has no section for v1.0.0"),
        ("\n[1.0.0]: ", "\n1.0.0: ", "[1.0.0] has no link"),
    ],
)
def test_a_mistake_in_the_changelog_is_found(old: str, new: str, problem: str) -> None:
    assert RELEASED.count(old) == 1
    assert problem in disagreements(RELEASED.replace(old, new), "1.1.0", TAGS)


def test_a_tag_on_the_wrong_commit_is_found() -> None:
    wrong = {**TAGS, "v1.1.0": "1.0.0"}
    assert disagreements(RELEASED, "1.1.0", wrong) == ["the commit of v1.1.0 has version 1.0.0"]


# The commands of CONTRIBUTING.md


def commands() -> list[str]:
    blocks = re.findall(r"^ *```sh\n(.+?)^ *```$", CONTRIBUTING, flags=re.MULTILINE | re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines()]


@pytest.fixture
def clone(user: User, published: Path, tmp_path: Path) -> Path:
    """Return a clone of the template. Its `origin` is a bare repository, which accepts pushes."""
    origin = tmp_path / "origin.git"
    user.git("clone", "--quiet", "--bare", str(published), str(origin), cwd=tmp_path)
    folder = tmp_path / "clone"
    user.git("clone", "--quiet", str(origin), str(folder), cwd=tmp_path)
    return folder


def test_every_command_of_the_contributors_is_tested() -> None:
    tested = [*hooks_command(), *pytest_commands(), *release_commands(), *fork_commands()]
    assert sorted(commands()) == sorted(tested)


def hooks_command() -> list[str]:
    return [command for command in commands() if "pre-commit" in command]


def pytest_commands() -> list[str]:
    return [command for command in commands() if command.startswith(f"{LOCKED}pytest")]


def release_commands() -> list[str]:
    return [command for command in commands() if re.match("git (tag|push) ", command)]


def fork_commands() -> list[str]:
    return [command for command in commands() if command.startswith("git grep ")]


def test_the_hooks_can_be_installed(user: User, clone: Path) -> None:
    (command,) = hooks_command()
    assert_passed(user.run(command.removeprefix(LOCKED), cwd=clone))
    assert (clone / ".git" / "hooks" / "pre-commit").exists()


def test_contributors_run_the_tests_as_the_other_documents_do() -> None:
    others = (TEMPLATE / "AGENTS.md").read_text(encoding="utf-8")
    for command in pytest_commands():
        assert f"`{command.replace('--locked ', '')}`" in others, command


def test_the_documented_commands_tag_and_publish_a_version(user: User, clone: Path) -> None:
    pyproject = clone / "pyproject.toml"
    text = re.sub(
        "^version = .*$", 'version = "1.1.0"', pyproject.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    pyproject.write_text(text, encoding="utf-8")
    user.commit(clone, "Release 1.1.0")
    for command in release_commands():
        assert_passed(user.run(command, cwd=clone))
    assert version_tags(clone) == {"v1.1.0": "1.1.0"}
    assert user.git("ls-remote", "--tags", "origin", "v1.1.0", cwd=clone)


@pytest.mark.skipif(not REPOSITORY.startswith("OWNER/"), reason="the owner has been replaced")
@pytest.mark.skipif(sys.platform != "linux", reason="other systems have another sed")
def test_the_owner_can_be_replaced_in_all_files(user: User, clone: Path) -> None:
    (command,) = fork_commands()
    assert_passed(user.run(command, cwd=clone))
    assert user.run(["git", "grep", "--quiet", REPOSITORY], cwd=clone).returncode == 1
    name = REPOSITORY.partition("/")[2]
    assert f'REPOSITORY = "ada/{name}"' in (clone / "tests" / "combinations.py").read_text(encoding="utf-8")


# Hooks, workflows and issue forms


def hooks() -> dict[str, str]:
    """Return the command of each pre-commit hook."""
    text = (TEMPLATE / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    found = re.findall(
        r"^ +- id: (.+)\n +name: .+\n +entry: (.+)\n +language: system$", text, flags=re.MULTILINE
    )
    assert len(found) == text.count("- id: "), "a hook has another form"
    return dict(found)


def test_the_hooks_need_no_other_host_and_no_program_that_is_not_locked() -> None:
    text = (TEMPLATE / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"repo: (.+)", text)) == {"local"}
    group = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"][
        "dev"
    ]
    locked = {re.split("[<>=;[]", requirement)[0] for requirement in group}
    for entry in hooks().values():
        assert entry.startswith(LOCKED)
        assert shlex.split(entry.removeprefix(LOCKED))[0] in locked


def test_pre_commit_accepts_the_configuration() -> None:
    assert_passed(run(["pre-commit", "validate-config"], TEMPLATE))


@pytest.mark.parametrize("hook", sorted(hooks().keys() - LONG_HOOKS))
def test_a_hook_passes(hook: str) -> None:
    files = {
        "issue-forms": [str(path) for path in sorted(FORMS.glob("*.yml")) if path.name != "config.yml"],
        "issue-config": [str(FORMS / "config.yml")],
    }
    assert_passed(run([*shlex.split(hooks()[hook].removeprefix(LOCKED)), *files.get(hook, [])], TEMPLATE))


def run(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a program from the test environment."""
    program = shutil.which(command[0], path=str(Path(sys.executable).parent))
    assert program, f"{command[0]} is not installed: run `uv sync`"
    return subprocess.run(
        [program, *command[1:]], cwd=folder, capture_output=True, check=False, encoding="utf-8"
    )


def test_an_action_is_pinned_by_commit_and_names_its_version() -> None:
    used = [line for path in ACTIONS for line in re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))]
    used += re.findall(r"uses: (.+)", (TEMPLATE / "docs" / "matrix.md").read_text(encoding="utf-8"))
    others = [line for line in used if not line.startswith("./")]
    assert others
    for line in others:
        assert re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_a_workflow_has_the_least_privilege_and_keeps_no_token() -> None:
    for path in (TEMPLATE / ".github" / "workflows").glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"permissions:\n( +.+\n)\n", text) == ["  contents: read\n"], path.name
        assert "secrets." not in text
        assert text.count("persist-credentials: false") == text.count("actions/checkout@")


def test_an_action_has_the_same_version_everywhere() -> None:
    paths = [*ACTIONS, TEMPLATE / "docs" / "matrix.md"]
    texts = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    pinned = set(re.findall(r"uses: (\S+)@(\S+ # \S+)", texts))
    assert len(pinned) == len({action for action, _ in pinned})


@pytest.mark.parametrize(
    ("form", "asked"),
    [
        ("bug", ["happened", "answers", "template", "versions", "log"]),
        ("upgrade", ["command", "answers", "versions", "conflicts"]),
        ("proposal", ["problem", "answers"]),
    ],
)
def test_an_issue_form_requires_what_is_needed_to_reproduce_it(form: str, asked: list[str]) -> None:
    text = (FORMS / f"{form}.yml").read_text(encoding="utf-8")
    fields = [field for field in text.split("  - type: ")[1:] if "required: true" in field]
    assert [re.findall(r"^    id: (\w+)$", field, flags=re.MULTILINE) for field in fields] == [
        [name] for name in asked
    ]


def test_a_bug_report_says_where_the_answers_and_the_versions_are() -> None:
    text = (FORMS / "bug.yml").read_text(encoding="utf-8")
    name = REPOSITORY.partition("/")[2]
    for source in (f"~/.cookiecutter_replay/{name}.json", ".cruft.json", "uv run fastmcp version", "stderr"):
        assert source in text
