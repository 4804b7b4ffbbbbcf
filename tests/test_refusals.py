"""Answers from which no working project can be made are refused: a sentence for each, and no project is left behind.

How to go on then is tested in `test_continuing.py`.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.exceptions import FailedHookException
from cookiecutter.generate import generate_context
from cookiecutter.main import cookiecutter
from cookiecutter.prompt import prompt_for_config
from cookiecutter.utils import create_env_with_context

from .combinations import ALL, PATTERNS, PROMPTS, TEMPLATE, answers, quoted
from .conftest import Bake
from .hooks import HOOKS, hook_constant
from .user import User

SAVED = "cookiecutter-answers.json"
Refused = Callable[..., str]

NAMES = {
    "class": "is a keyword of Python",
    "match": "is a keyword of Python",
    "True": "is a keyword of Python",
    "json": "is a module of Python's standard library",
    "mcp": "is a package that the project itself uses",
    "fastmcp": "is a package that the project itself uses",
    "pydantic": "is a package that the project itself uses",
    "httpx2": "is a package that the project itself uses",
    "server": "is a package that the project itself uses",
    "tests": "is a package that the project itself uses",
    "con": "is reserved by Windows",
    "lpt1": "is reserved by Windows",
    "a" * 65: "is longer than 64 characters",
    "../evil": "is a path",
    "nested/name": "is a path",
    "back\\slash": "is a path",
    ".hidden": "is a path",
}
BAD_SLUGS = [
    *("Weather", "weather_server", "weather--server", "-weather", "weather-", "wetter-s\u00fcd", "two words"),
    *("line\nbreak", "weather-server\n", "\N{ROCKET}", "weather.server", "weather;rm"),
]
BAD_PACKAGES = [
    "Weather",
    "weather-server",
    "2fast",
    "_weather",
    "wetter_s\u00fcd",
    "two words",
    "a.b",
    "a\nb",
]
SLUGS = NAMES | dict.fromkeys(BAD_SLUGS, "may hold only lower-case letters, digits and single hyphens")
PACKAGES = {
    **NAMES,
    **dict.fromkeys(BAD_PACKAGES, "is no identifier of lower-case letters, digits and underscores"),
    "": "is empty",
}
EMAILS = [
    *("", "you", "you@", "@example.com", "you@localhost", "you@@example.com", "a@b@example.com"),
    *("you me@example.com", "you@example.com ", "you@exa mple.com", "you@example.com\n", "a@b.c\nx = 1"),
    *('you"@example.com', 'you@example.com" }, { name = "x', "you\\@example.com", "you@example..com"),
]
CONTROL_CHARACTERS = ["\0", "\a", "\b", "\f", "\v", "\x1b[31m", "\x7f", "\ud800"]
GOOD: list[dict[str, Any]] = [
    {"project_slug": "a", "package_name": "a"},
    {"project_slug": "a" * 64, "package_name": "a" * 64},
    {"project_slug": "2fast-4-you", "package_name": "fast4you_"},
    {"project_slug": "json-server", "package_name": "json_server"},
    {"project_slug": "weather", "package_name": "something_else"},
    {"author_email": "ada.lovelace+mcp@mail.example.co.uk"},
    {"author_email": "o'brien_1@xn--mnchen-3ya.example"},
    {"description": "Tabs\tand\r\nline ends", "author_name": "\u5c71\u7530 \u592a\u90ce"},
    {"retry": "no", "self_contained": "on"},
]


def sentences(said: str) -> str:
    """Return what is said of the answers, without how to go on."""
    return said.partition("\n\n")[0].rstrip("\n") + "\n"


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Return what is said of the answers when they are refused."""
    configuration = tmp_path / "configuration"
    configuration.write_text(f"replay_dir: '{tmp_path / 'replay'}'\n", encoding="utf-8")
    output = tmp_path / "outside" / "output"
    output.mkdir(parents=True)

    def sentence(**given: str) -> str:
        with pytest.raises(FailedHookException):
            cookiecutter(
                str(TEMPLATE),
                no_input=True,
                extra_context={name: quoted(answer) for name, answer in given.items()},
                output_dir=str(output),
                config_file=str(configuration),
            )
        assert [path for path in output.parent.rglob("*") if path.is_file()] == [output / SAVED]
        (output / SAVED).unlink()
        return sentences(capfd.readouterr().err)

    return sentence


@pytest.mark.parametrize(("slug", "problem"), SLUGS.items())
def test_a_slug_that_cannot_work_is_refused(slug: str, problem: str, refused: Refused) -> None:
    advice = "choose another name, such as weather-server."
    assert (
        refused(project_slug=slug, package_name="weather") == f"project_slug {slug!r} {problem}: {advice}\n"
    )


@pytest.mark.parametrize(("name", "problem"), PACKAGES.items())
def test_a_package_name_that_cannot_work_is_refused(name: str, problem: str, refused: Refused) -> None:
    advice = "choose another name, such as weather_server."
    assert refused(package_name=name) == f"package_name {name!r} {problem}: {advice}\n"


@pytest.mark.parametrize("name", ["JSON", "Class", "FastMCP"])
def test_a_derived_name_that_cannot_work_is_refused_too(name: str, refused: Refused) -> None:
    assert refused(project_name=name).startswith(f"project_slug {name.lower()!r} is a ")


def test_every_bad_answer_is_reported_at_once(refused: Refused) -> None:
    said = refused(
        project_name="a\ab", project_slug="con", package_name="a-b", author_email="you", author_name="\b"
    )
    named = [sentence.partition(" ")[0] for sentence in said.splitlines()]
    assert sorted(named) == ["author_email", "author_name", "package_name", "project_name", "project_slug"]


def test_a_long_answer_is_cut_in_the_sentence(refused: Refused) -> None:
    cut = "a" * 80 + "..."
    assert refused(project_slug="a" * 200).startswith(f"project_slug {cut!r} is longer than 64 characters: ")


@pytest.mark.parametrize("email", EMAILS)
def test_an_email_address_that_is_none_is_refused(email: str, refused: Refused) -> None:
    advice = "is no e-mail address: write one such as you@example.com."
    assert refused(author_email=email) == f"author_email {email!r} {advice}\n"


@pytest.mark.parametrize("character", CONTROL_CHARACTERS, ids=ascii)
@pytest.mark.parametrize("variable", ["project_name", "description", "author_name"])
def test_a_control_character_is_refused(variable: str, character: str, refused: Refused) -> None:
    bad = character[0]
    sentence = f"{variable} holds the control character {bad!r}: leave it out.\n"
    assert refused(**{variable: f"before{character}after"}) == sentence


@pytest.mark.parametrize("good", GOOD, ids=",".join)
def test_everything_else_is_accepted(good: dict[str, Any], bake: Bake) -> None:
    project = bake(**good)
    assert project.path.name == good.get("project_slug", "my-mcp-server")
    assert project.package.is_dir()


@pytest.mark.parametrize(
    "bad",
    [
        {"project_slug": "class"},
        {"project_slug": "../evil"},
        {"project_slug": "{output}/../absolute"},
        {"package_name": "mcp"},
        {"author_email": "nobody"},
        {"description": "bell\a"},
    ],
    ids=str,
)
def test_the_command_says_one_sentence_and_leaves_the_other_answers_only(
    bad: dict[str, str], user: User, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    output.mkdir()
    words = [f"{name}={value.format(output=output)}" for name, value in bad.items()]
    run = user.run(["cookiecutter", str(TEMPLATE), "--no-input", *words], cwd=output)
    assert run.returncode == 1
    assert sentences(run.stderr).count("\n") == 1
    assert next(iter(bad)) in sentences(run.stderr)
    assert list(tmp_path.rglob("*")) == [output, output / SAVED]


@pytest.mark.parametrize("slug", ["", ".", "..", "a" * 300])
def test_a_slug_that_names_no_new_folder_stops_cookiecutter_itself(
    slug: str, user: User, tmp_path: Path
) -> None:
    """Cookiecutter makes the folder before it asks the hook."""
    output = tmp_path / "output"
    output.mkdir()
    run = user.run(["cookiecutter", str(TEMPLATE), "--no-input", f"project_slug={slug}"], cwd=output)
    assert run.returncode == 1
    assert "already exists" in run.stderr + run.stdout or "File name too long" in run.stderr
    assert list(tmp_path.rglob("*")) == [output]


def test_an_empty_slug_is_refused_where_the_folder_may_exist(user: User, tmp_path: Path) -> None:
    words = ["--no-input", "--overwrite-if-exists", "project_slug="]
    run = user.run(["cookiecutter", str(TEMPLATE), *words], cwd=tmp_path)
    said = "project_slug '' is empty: choose another name, such as weather-server.\n"
    assert sentences(run.stderr) == said
    assert list(tmp_path.iterdir()) == [tmp_path / SAVED]


def sentence_for(answer: dict[str, str], folder: Path) -> str:
    """Run the hook with an answer that the Cookiecutter of today would not let through; return what it says."""
    context = generate_context(str(TEMPLATE / "cookiecutter.json"))
    context["cookiecutter"] = {**prompt_for_config(context, no_input=True), **answer}
    source = (TEMPLATE / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    hook = folder / "hook.py"
    hook.write_text(create_env_with_context(context).from_string(source).render(**context), encoding="utf-8")
    run = subprocess.run([sys.executable, hook], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    return run.stderr


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_answer_that_is_no_boolean_asks_for_a_newer_cookiecutter(pattern: str, tmp_path: Path) -> None:
    """Cookiecutter before 2.7 passes `retry=no` as a text, which is true."""
    assert sentence_for({pattern: "no"}, tmp_path) == (
        f"{pattern} came as the text 'no', not as yes or no:"
        " this template needs Cookiecutter 2.7 or newer, and in a replay file true or false.\n"
    )


def test_an_answer_that_is_no_choice_is_refused(tmp_path: Path) -> None:
    """Cookiecutter does not hold a replay file to the list."""
    assert sentence_for({"http_client": "aiohttp"}, tmp_path) == (
        "http_client 'aiohttp' is no choice: choose one of httpx2, httpx.\n"
    )
    assert "choose one of MIT, Apache-2.0" in sentence_for({"license": "GPL"}, tmp_path)


@pytest.mark.parametrize("name", ["license", "http_client"])
def test_the_hook_knows_the_choices_of_the_prompts(name: str) -> None:
    assert ast.literal_eval(hook_constant("pre_gen_project", "CHOICES"))[name] == tuple(PROMPTS[name])


@pytest.mark.parametrize(("hook", "patterns"), [(HOOKS[0], PATTERNS), (HOOKS[1], PATTERNS[1:])])
def test_the_hooks_know_the_patterns_of_the_prompts_in_their_order(hook: str, patterns: list[str]) -> None:
    """The layout `self_contained` has no section in the file that it makes."""
    assert ast.literal_eval(hook_constant(hook, "PATTERNS")) == tuple(patterns)
    assert PATTERNS[0] == "self_contained"


@pytest.mark.parametrize("http_client", ["httpx2", "httpx"])
def test_no_project_can_have_the_name_of_something_it_imports_or_installs(
    http_client: str, bake_once: Bake
) -> None:
    project = bake_once(http_client=http_client, **answers(ALL))
    metadata = tomllib.loads(project.text("pyproject.toml"))
    used = set()
    for requirements in (
        metadata["build-system"]["requires"],
        metadata["project"]["dependencies"],
        *metadata["project"]["optional-dependencies"].values(),
        *metadata["dependency-groups"].values(),
    ):
        used |= {re.split(r"[^\w-]", name)[0].replace("-", "_") for name in requirements}
    for path in project.path.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                used |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                used.add(str(node.module).split(".")[0])
    reserved = ast.literal_eval(hook_constant("pre_gen_project", "DEPENDENCIES"))
    assert used - sys.stdlib_module_names - {project.package_name} <= set(reserved)
