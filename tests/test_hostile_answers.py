"""Answers are data: for any text, the project is valid, and no answer is lost or executed."""

import os
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from .combinations import ALL, PROMPTS, TEMPLATE, answers, quoted
from .conftest import Bake
from .project import Project, assert_passed
from .user import User

FREE_TEXT = ("project_name", "description", "author_name")
# The only files that contain free text. All others are the same as with harmless answers.
WITH_TEXT = {"Dockerfile", "README.md", "pyproject.toml", "LICENSE"}
BRACES = "{{ 1+1 }} {% if oops %} {# gone? #} {{ cookiecutter.update(license='none') }} ${HOME} {0} {{ oops"
TEXTS = {
    "quotes": """He said "hi", she said 'hello', both `wrote` it down""",
    "backslashes": "C:\\new\\table\\x41\\u0041\\",
    "triple quotes": '"""a"""b\'\'\'c"""',
    "braces": BRACES,
    "emoji": "fast \N{ROCKET}, \N{WOMAN}\N{ZERO WIDTH JOINER}\N{MICROSCOPE} and \u65e5\u672c\u8a9e",
    "several lines": 'The first line.\n\nThe third, with "quotes".\n    The fourth, indented.\n',
    "300 characters": ("a word and " * 30)[:300],
    "one word of 300 characters": "x" * 300,
    "HTML": "<script>alert('hi')</script> <b>&amp;</b> -->",
    "TOML": '"\n]\n[tool.ruff]\nline-length = 1 # "',
    "Python": 'x"); raise SystemExit("executed") #',
    "odd spaces": "a\tb\u00a0c\u2028d\u0085e",
    "options": "--help -rf",
    "shell": "$(exit 9) `id` 100% %PATH% %s ; & | > ~ * ! ^",
}
WORST = " ".join(TEXTS.values()) + "\n" + TEXTS["several lines"]

# Project names, and the names derived from them.
NAMES = {
    "\N{ROCKET}\N{SLICE OF PIZZA}": ("mcp-server", "mcp_server"),
    "--- !? ---": ("mcp-server", "mcp_server"),
    "": ("mcp-server", "mcp_server"),
    "a" * 300: ("a" * 64, "a" * 64),
    "seven77 " * 40: (("seven77-" * 8)[:63], ("seven77_" * 8)[:63]),
    "3" * 300: ("3" * 64, "mcp_" + "3" * 60),
    "\u00dcn\u00efcode": ("unicode", "unicode"),
    "\u65e5\u672c\u8a9e": ("ri-ben-yu", "ri_ben_yu"),
    "2fast": ("2fast", "mcp_2fast"),
    "-_. Weather! ._-": ("weather", "weather"),
    "../../evil": ("evil", "evil"),
    "Don't {{ 1+1 }}": ("don-t-1-1", "don_t_1_1"),
}


def joined(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def with_text(bake_once: Bake) -> Callable[[str], Project]:
    """Return a function that generates a project with a text as the answer to every free-text prompt, once."""

    def project(text: str) -> Project:
        return bake_once(
            project_slug="my-mcp-server",
            package_name="my_mcp_server",
            **dict.fromkeys(FREE_TEXT, quoted(text)),
        )

    return project


@pytest.fixture(scope="module")
def harmless(bake_once: Bake) -> Project:
    return bake_once()


@pytest.fixture(scope="module")
def named(bake_once: Bake) -> Callable[[str], Project]:
    return lambda name: bake_once(project_name=quoted(name))


@pytest.fixture
def worst(bake: Bake) -> Project:
    return bake(**dict.fromkeys(FREE_TEXT, quoted(WORST)), **answers(ALL))


def changed_files(project: Project, other: Project) -> set[str]:
    """Return the files whose contents differ. Both projects must have the same files."""
    files, others = project.files(), other.files()
    assert files.keys() == others.keys()
    return {name for name, content in files.items() if content != others[name]}


def assert_has_texts(project: Project, *, name: str, description: str, author: str) -> None:
    """Check that the metadata is valid and contains all texts, and that the README contains their characters."""
    files = project.files()
    metadata = tomllib.loads(project.text("pyproject.toml"))["project"]
    assert metadata["description"] == joined(description)
    assert [person["name"] for person in metadata["authors"]] == [joined(author)]
    readme = files["README.md"].decode("utf-8")
    assert readme.startswith(f"# {name}\n\n{description}\n")
    assert f"Copyright (c) {joined(author)}\n" in files["LICENSE"].decode("utf-8")


@pytest.mark.parametrize("kind", TEXTS)
def test_no_answer_breaks_the_metadata_or_is_lost(kind: str, with_text: Callable[[str], Project]) -> None:
    text = TEXTS[kind]
    assert_has_texts(with_text(text), name=text, description=text, author=text)


@pytest.mark.parametrize("kind", TEXTS)
def test_no_answer_reaches_a_file_that_runs(
    kind: str, with_text: Callable[[str], Project], harmless: Project
) -> None:
    assert changed_files(with_text(TEXTS[kind]), harmless) == WITH_TEXT


@pytest.mark.parametrize("kind", TEXTS)
def test_no_answer_changes_the_settings_of_a_tool(
    kind: str, with_text: Callable[[str], Project], harmless: Project
) -> None:
    expected, actual = (
        tomllib.loads(project.text("pyproject.toml")) for project in (harmless, with_text(TEXTS[kind]))
    )
    for table in (expected, actual):
        del table["project"]["description"], table["project"]["authors"]
    assert actual == expected


def test_typed_answers_are_never_executed(user: User, harmless: Project, tmp_path: Path) -> None:
    typed = {
        "project_name": f"{BRACES} 1",
        "project_slug": "my-mcp-server",
        "package_name": "my_mcp_server",
        "description": f"{BRACES} 2",
        "author_name": f"{BRACES} 3",
    }
    lines = [typed.get(name, "") for name in PROMPTS if not name.startswith("_")]
    run = user.run(["cookiecutter", str(TEMPLATE)], cwd=tmp_path, typed="\n".join(lines) + "\n")
    assert_passed(run)
    project = Project(tmp_path / "my-mcp-server", "my_mcp_server")
    assert_has_texts(
        project,
        name=typed["project_name"],
        description=typed["description"],
        author=typed["author_name"],
    )
    assert changed_files(project, harmless) == WITH_TEXT


def test_a_project_with_all_hostile_texts_at_once_is_clean(worst: Project) -> None:
    assert_has_texts(worst, name=WORST, description=WORST, author=WORST)
    assert worst.lint() == ""


@pytest.mark.matrix
def test_a_project_with_all_hostile_texts_at_once_passes_its_own_tests(worst: Project) -> None:
    assert_passed(worst.run_tests("-k", "not production or nothing_but_protocol"))


@pytest.mark.parametrize("name", ["a" * 64, "Customer Support Ticket Search Tool"])
def test_a_project_with_a_long_name_is_clean(name: str, named: Callable[[str], Project]) -> None:
    assert named(name).lint() == ""


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name[:20] or "empty")
def test_every_project_name_gives_usable_names(name: str, named: Callable[[str], Project]) -> None:
    project = named(name)
    assert (project.path.name, project.package_name) == NAMES[name]
    assert project.text("README.md").startswith(f"# {name}\n" if name else "# mcp-server\n")


@pytest.mark.parametrize("name", ["", " ", "\n"])
def test_the_heading_of_a_project_without_a_name_is_its_slug(name: str, bake: Bake) -> None:
    project = bake(project_name=quoted(name), project_slug="weather")
    assert project.text("README.md").startswith("# weather\n")


def test_the_server_of_every_project_name_can_be_imported(named: Callable[[str], Project]) -> None:
    projects = {named(name).package_name: named(name) for name in NAMES}
    script = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    print(importlib.import_module(f'{name}.server').mcp.name)\n"
    )
    path = os.pathsep.join(str(project.path / "src") for project in projects.values())
    run = projects["unicode"].run("-c", script, *projects, PYTHONPATH=path)
    assert_passed(run)
    assert run.stdout.splitlines() == [project.path.name for project in projects.values()]
