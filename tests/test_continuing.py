"""If an answer is rejected, the other answers are saved, and the printed command continues with them."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from .combinations import PROMPTS, SKELETON, TEMPLATE, quoted
from .conftest import Bake
from .hooks import load_hook
from .project import Project, assert_passed
from .test_hostile_answers import FREE_TEXT, TEXTS, WORST
from .test_refusals import SAVED
from .user import User

PRE = load_hook("pre_gen_project")
BAD = {"project_slug": "json", "package_name": "a-b", "author_email": "nobody"}
GOOD = {"project_slug": "weather", "package_name": "the_weather", "author_email": "ada@example.com"}
OTHERS = {"license": "Apache-2.0", "http_client": "httpx", "retry": False, "self_contained": True}
ODD_FOLDER = 'Ada\'s "new" $HOME `id` 100% %PATH% \N{ROCKET} \\ & ; #'
QUESTIONS = [name for name in PROMPTS if name[0] != "_"]


@pytest.fixture(scope="module")
def repository(user: User, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository that contains the template."""
    folder = tmp_path_factory.mktemp("repository")
    for path in (TEMPLATE / "hooks", SKELETON):
        shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TEMPLATE / "cookiecutter.json", folder)
    user.commit(folder, "Template")
    return folder


def words(answers: dict[str, Any]) -> list[str]:
    """Return answers as command line arguments, with texts quoted as templates."""
    return [
        f"{name}={quoted(str(value))}" if name in PRE.TEXTS else f"{name}={value}"
        for name, value in answers.items()
    ]


def command_in(message: str) -> str:
    """Return the only command in a message: the indented line, possibly with line breaks from a path."""
    found = re.findall(r"^    (\S.*?)\n\n", message, flags=re.MULTILINE | re.DOTALL)
    assert len(found) == 1, message
    return str(found[0])


def refused(user: User, folder: Path, *arguments: str, typed: str = "") -> str:
    """Generate with answers that are rejected, and return the message."""
    run = user.run(["cookiecutter", str(TEMPLATE), *arguments], cwd=folder, typed=typed)
    assert run.returncode == 1, run.stdout
    return run.stderr


@pytest.mark.parametrize("kind", TEXTS)
def test_the_command_continues_with_every_other_answer(
    kind: str, user: User, bake_once: Bake, tmp_path: Path
) -> None:
    texts = dict.fromkeys(FREE_TEXT, TEXTS[kind])
    message = refused(user, tmp_path, "--no-input", *words({**texts, **BAD, **OTHERS}))
    run = user.run(command_in(message), cwd=tmp_path, typed="\n".join([*GOOD.values(), ""]))
    assert_passed(run)
    expected = bake_once(**dict.fromkeys(FREE_TEXT, quoted(TEXTS[kind])), **GOOD, **OTHERS)
    assert Project(tmp_path / "weather", "the_weather").files() == expected.files()
    assert [path.name for path in tmp_path.iterdir()] == ["weather"]


def test_the_command_continues_with_typed_answers_in_an_odd_folder(
    user: User, bake_once: Bake, tmp_path: Path
) -> None:
    folder = tmp_path / ODD_FOLDER
    folder.mkdir()
    typed = {
        "project_name": "--help \\ 'a' \"b\" {{ 1+1 }}",
        "description": "-rf 100% %s %PATH% $HOME `id`",
        "author_name": "\N{ROCKET} [bold]Ada[/]",
        **BAD,
        "license": "2",
        "retry": "n",
    }
    message = refused(user, folder, typed="\n".join(typed.get(name, "") for name in QUESTIONS) + "\n")
    assert_passed(user.run(command_in(message), cwd=folder, typed="\n".join([*GOOD.values(), ""])))
    texts = {name: quoted(typed[name]) for name in FREE_TEXT}
    expected = bake_once(**texts, **GOOD, license="Apache-2.0", retry=False)
    assert Project(folder / "weather", "the_weather").files() == expected.files()
    assert [path.name for path in folder.iterdir()] == ["weather"]


@pytest.mark.parametrize(
    ("bad", "asked"),
    [
        ({"project_slug": "json", "package_name": "weather"}, ["project_slug"]),
        ({"project_slug": "json"}, ["project_slug", "package_name"]),
        ({"package_name": "json"}, ["package_name"]),
        ({"author_email": "nobody"}, ["author_email"]),
        ({"description": "bell\a"}, ["description"]),
        ({"repository": "git@github.com:owner/name.git"}, ["repository"]),
        ({"project_name": "JSON"}, ["project_slug", "package_name"]),
    ],
    ids=str,
)
def test_only_the_bad_answers_are_asked_for_again_and_their_defaults_are_valid(
    bad: dict[str, str], asked: list[str], user: User, tmp_path: Path
) -> None:
    run = user.run(
        command_in(refused(user, tmp_path, "--no-input", *words(bad))), cwd=tmp_path, typed="\n" * 9
    )
    assert_passed(run)
    printed = " ".join(run.stdout.split())  # a long question is on two lines
    questions = [name for name in QUESTIONS if f"] {PROMPTS['__prompts__'][name]} (" in printed]
    assert questions == asked
    assert f"/{len(asked)}]" in run.stdout


def test_a_second_refusal_continues_from_the_first(user: User, bake_once: Bake, tmp_path: Path) -> None:
    message = refused(user, tmp_path, "--no-input", *words({**BAD, **OTHERS}))
    again = {**GOOD, "package_name": "class"}
    run = user.run(command_in(message), cwd=tmp_path, typed="\n".join([*again.values(), ""]))
    assert run.returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == [SAVED]
    assert command_in(run.stderr) == command_in(message)
    assert_passed(user.run(command_in(run.stderr), cwd=tmp_path, typed="the_weather\n"))
    project = Project(tmp_path / "weather", "the_weather")
    assert project.files() == bake_once(**GOOD, **OTHERS).files()


def test_the_answers_of_another_refusal_are_not_lost(user: User, tmp_path: Path) -> None:
    first, second = (
        refused(user, tmp_path, "--no-input", *words({"description": text, "author_email": "x"}))
        for text in ("The first.", "The second.")
    )
    for message, text in ((first, "The first."), (second, "The second.")):
        assert_passed(user.run(command_in(message), cwd=tmp_path, typed="\n"))
        assert f"\n{text}\n" in (tmp_path / "my-mcp-server" / "README.md").read_text(encoding="utf-8")
        shutil.rmtree(tmp_path / "my-mcp-server")
    assert list(tmp_path.iterdir()) == []


def test_a_user_file_with_that_name_is_not_overwritten(user: User, tmp_path: Path) -> None:
    (tmp_path / SAVED).write_text("mine", encoding="utf-8")
    message = refused(user, tmp_path, "--no-input", "author_email=x")
    assert_passed(user.run(command_in(message), cwd=tmp_path, typed="\n"))
    assert (tmp_path / SAVED).read_text(encoding="utf-8") == "mine"


def test_the_command_uses_the_same_commit_and_no_network(
    user: User, repository: Path, tmp_path: Path
) -> None:
    remote = tmp_path / "repository.git"
    user.git("clone", "--quiet", "--bare", str(repository), str(remote), cwd=tmp_path)
    command = ["cookiecutter", f"git+{remote.as_uri()}", "--no-input", "author_email=x"]
    run = user.run(command, cwd=tmp_path)
    shutil.rmtree(remote)
    assert_passed(user.run(command_in(run.stderr), cwd=tmp_path, typed="\n"))
    assert (tmp_path / "my-mcp-server").is_dir()


def test_an_existing_folder_needs_the_flags_again(user: User, bake: Bake) -> None:
    project = bake()
    utils = project.package / "utils.py"
    utils.write_text("MINE = 1\n", encoding="utf-8")
    flags = ["--no-input", "-f", "self_contained=yes"]
    message = refused(user, project.path.parent, *flags, *words({"description": "It continues."}))
    assert "\nYour answers are saved. Once that is fixed, continue with this command:\n" in message
    assert "\nAdd the options -f or -f -s again: " in message
    utils.unlink()
    assert_passed(user.run(f"{command_in(message)} -f", cwd=project.path.parent))
    assert project.files() == bake(self_contained=True, description="It continues.").files()


def test_the_traceback_is_announced(user: User, tmp_path: Path) -> None:
    assert refused(user, tmp_path, "--no-input", "author_email=x").endswith(
        "\n\nNext, Cookiecutter prints a traceback. It only reports that this check failed.\n"
    )


def test_if_the_file_cannot_be_written_the_message_names_cookiecutters_copy(
    user: User, tmp_path: Path
) -> None:
    answers = {"_output_dir": str(tmp_path / "gone"), "_repo_dir": "."}
    message = "\n".join(PRE.how_to_continue(answers, ["retry"], tmp_path))
    assert message.startswith("Your answers could not be saved: ")
    assert "~/.cookiecutter_replay" in message
    refused(user, tmp_path, "--no-input", "author_email=x", "description=It is kept.")
    replay = (user.home / ".cookiecutter_replay" / f"{TEMPLATE.name}.json").read_text(encoding="utf-8")
    assert json.loads(replay)["cookiecutter"]["description"] == "It is kept."


def test_cruft_continues_with_every_other_answer_as_the_default(
    user: User, repository: Path, bake_once: Bake, tmp_path: Path
) -> None:
    texts = dict.fromkeys(FREE_TEXT, quoted(WORST))
    context = json.dumps({**texts, **BAD, **OTHERS})
    run = user.run(
        ["cruft", "create", str(repository), "--no-input", "--extra-context", context], cwd=tmp_path
    )
    assert run.returncode == 1
    typed = "\n".join(GOOD.get(name, "") for name in QUESTIONS) + "\n"
    assert_passed(user.run(command_in(run.stderr), cwd=tmp_path, typed=typed))
    files = Project(tmp_path / "weather", "the_weather").files()
    assert files == bake_once(**texts, **GOOD, **OTHERS).files()


def test_a_refused_update_names_no_command_since_cruft_has_the_answers(
    user: User, repository: Path, tmp_path: Path
) -> None:
    assert_passed(user.run(["cruft", "create", str(repository), "--no-input"], cwd=tmp_path))
    project = tmp_path / "my-mcp-server"
    user.commit(project, "Create")
    run = user.run(
        ["cruft", "update", "--skip-apply-ask", "--variables-to-update", '{"author_email": "x"}'], cwd=project
    )
    assert run.returncode == 1
    assert "author_email 'x' is not a valid e-mail address" in run.stderr
    assert "The answers of the project are still in .cruft.json." in run.stderr
    assert user.git("status", "--porcelain", cwd=project) == ""


@pytest.mark.parametrize(
    ("word", "posix", "windows"),
    [
        ("weather", "weather", "weather"),
        ("C:\\new\\it.json", "'C:\\new\\it.json'", "C:\\new\\it.json"),
        ("two words", "'two words'", '"two words"'),
        ("Ada's", "'Ada'\"'\"'s'", '"Ada\'s"'),
        ("100% & (^)", "'100% & (^)'", '"100% & (^)"'),
        ("it's $x", "'it'\"'\"'s $x'", "'it''s $x'"),
        ("`\N{RIGHT SINGLE QUOTATION MARK}", "'`\u2019'", "'`\u2019\u2019'"),
        ("\N{ROCKET}", "'\N{ROCKET}'", '"\N{ROCKET}"'),
        ("", "''", '""'),
    ],
)
def test_a_word_is_quoted_for_the_shell_of_the_platform(
    word: str, posix: str, windows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PRE, "WINDOWS", False)
    assert PRE.shell_quoted(word) == posix
    monkeypatch.setattr(PRE, "WINDOWS", True)
    assert PRE.shell_quoted(word) == windows


def test_a_quoted_program_is_called_in_powershell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PRE, "WINDOWS", True)
    monkeypatch.setattr(PRE.sys, "executable", "C:\\Users\\Ada L\\python.exe")
    assert PRE.command(["-m", "x"]) == '& "C:\\Users\\Ada L\\python.exe" -m x'


def test_a_template_whose_name_begins_with_a_dash_is_not_parsed_as_an_option() -> None:
    assert PRE.within("-f") == "./-f"
    assert PRE.within("/a/-f") == "/a/-f"
