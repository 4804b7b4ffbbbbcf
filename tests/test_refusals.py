"""Answers that cannot give a working project are rejected, each with a message, and no project is written.

`test_continuing.py` tests how the user continues.
"""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, entry_points, packages_distributions
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.exceptions import FailedHookException
from cookiecutter.generate import generate_context
from cookiecutter.main import cookiecutter
from cookiecutter.prompt import prompt_for_config
from cookiecutter.utils import create_env_with_context
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .combinations import ALL, PATTERNS, PROMPTS, TEMPLATE, answers, quoted
from .conftest import Bake
from .hooks import HOOKS, hook_constant, load_hook
from .user import User

SAVED = "cookiecutter-answers.json"
Refused = Callable[..., str]

NAMES = {
    "class": "is a Python keyword",
    "match": "is a Python keyword",
    "True": "is a Python keyword",
    "json": "conflicts with a module of the Python standard library",
    "mcp": "conflicts with a package that the project uses",
    "fastmcp": "conflicts with a package that the project uses",
    "pydantic": "conflicts with a package that the project uses",
    "httpx2": "conflicts with a package that the project uses",
    "server": "conflicts with a package that the project uses",
    "tests": "conflicts with a package that the project uses",
    "con": "is a reserved name on Windows",
    "lpt1": "is a reserved name on Windows",
    "a" * 65: "is longer than 64 characters",
    "../evil": "is a path, not a name",
    "nested/name": "is a path, not a name",
    "back\\slash": "is a path, not a name",
    ".hidden": "is a path, not a name",
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
SLUGS = NAMES | dict.fromkeys(BAD_SLUGS, "may contain only lowercase letters, digits and single hyphens")
PACKAGES = {
    **NAMES,
    **dict.fromkeys(
        BAD_PACKAGES,
        "may contain only lowercase letters, digits and underscores, and must start with a letter",
    ),
    "": "is empty",
}
EMAILS = [
    *("", "you", "you@", "@example.com", "you@localhost", "you@@example.com", "a@b@example.com"),
    *("you me@example.com", "you@example.com ", "you@exa mple.com", "you@example.com\n", "a@b.c\nx = 1"),
    *('you"@example.com', 'you@example.com" }, { name = "x', "you\\@example.com", "you@example..com"),
]
ADDRESS = "https://github.com/owner/name"
ADDRESSES = {
    "git@github.com:owner/name": "does not start with https://",
    "git@github.com:owner/name.git": "does not start with https://",
    "ssh://git@github.com/owner/name": "does not start with https://",
    "http://github.com/owner/name": "does not start with https://",
    "HTTPS://github.com/owner/name": "does not start with https://",
    "github.com/owner/name": "does not start with https://",
    "owner/name": "does not start with https://",
    "none": "does not start with https://",
    f"{ADDRESS}.git": "ends with .git",
    f"{ADDRESS}.GIT": "ends with .git",
    f"{ADDRESS}.wiki": "is the address of a wiki",
    "https://gitlab.com/group/sub/name.Wiki": "is the address of a wiki",
    f"{ADDRESS}/": "ends with a slash",
    "https://token@github.com/owner/name": "contains credentials",
    "https://user:token@git.example.com/owner/name": "contains credentials",
    "http://user:secret@github.com/owner/name": "does not start with https://",
    "https://user:p@ss@github.com/owner/name": "contains credentials",
    "https://user:secret@github.com/owner/name ": "contains a space or a character outside ASCII",
    f"https://user:secret@git.example.com/{'a' * 300}/name": "is longer than 200 characters",
    "https://github.com/owner/name?token=secret": "is not the page of a repository",
    "https://github.com/owner/name#access_token=secret": "is not the page of a repository",
    "user:secret@github.com:owner/name.git": "does not start with https://",
    "https://user:://secret@github.com/owner/name": "contains credentials",
    "https://git.example.com:/owner/name": "has an invalid port",
    "https://git.example.com:08443/owner/name": "has an invalid port",
    "https://github.com:443/owner/name": "has a port that its host does not need",
    "https://git.example.com:443/owner/name": "has a port that its host does not need",
    "https://github.com:8443/owner/name": "has a port that its host does not need",
    "https://gitlab.com:80/owner/name": "has a port that its host does not need",
    "https://git.example.com:0/owner/name": "has an invalid port",
    "https://git.example.com:65536/owner/name": "has an invalid port",
    "https://git.example.com:8443:1/owner/name": "has an invalid port",
    "https://git.example.com:https/owner/name": "has an invalid port",
    "https://GitHub.com/owner/name": "has a host name with capital letters",
    "https://www.github.com/owner/name": "has www in its host name",
    "https://www.gitlab.com/owner/name": "has www in its host name",
    "https://gist.github.com/owner/0123456789abcdef": "is on gist.github.com, which has no repositories",
    "https://raw.githubusercontent.com/owner/name": "is on raw.githubusercontent.com, which has no repositories",
    "https://owner.github.io/docs/name": "is on owner.github.io, which has no repositories",
    "https://group.gitlab.io/docs/name": "is on group.gitlab.io, which has no repositories",
    "https://registry.gitlab.com/group/name": "is on registry.gitlab.com, which has no repositories",
    "https:///owner/name": "has an invalid host name",
    "https://localhost/owner/name": "has an invalid host name",
    "https://10.0.0.7/owner/name": "has an invalid host name",
    "https://[::1]/owner/name": "has an invalid host name",
    "https://[2001:db8::1]:8443/owner/name": "has an invalid host name",
    "https://-git.example.com/owner/name": "has an invalid host name",
    "https://git..example.com/owner/name": "has an invalid host name",
    "https://git_hub.example.com/owner/name": "has an invalid host name",
    "https://github.com": "does not name an owner and a repository",
    "https://github.com/": "does not name an owner and a repository",
    "https://github.com/owner": "names an owner, but no repository",
    "https://git.example.com/owner": "names an owner, but no repository",
    f"{ADDRESS}/tree/main": "is not the page of a repository",
    "https://gitlab.com/owner/name/-/tree/main": "is not the page of a repository",
    "https://github.com//name": "is not the page of a repository",
    "https://gitlab.com/owner/../name": "is not the page of a repository",
    f"{ADDRESS}?tab=readme": "is not the page of a repository",
    f"{ADDRESS}#readme": "is not the page of a repository",
    f"{ADDRESS}%20": "is not the page of a repository",
    f'{ADDRESS}"': "is not the page of a repository",
    f"{ADDRESS}\\": "is not the page of a repository",
    "https://github.com/own_er/name": "has an owner that GitHub does not allow",
    "https://github.com/-owner/name": "has an owner that GitHub does not allow",
    f"https://github.com/{'a' * 40}/name": "has an owner that GitHub does not allow",
    f" {ADDRESS}": "contains a space or a character outside ASCII",
    f"{ADDRESS} ": "contains a space or a character outside ASCII",
    f"{ADDRESS}\n": "contains a space or a character outside ASCII",
    "https://github.com/owner/my name": "contains a space or a character outside ASCII",
    "https://g\u00edthub.com/owner/name": "contains a space or a character outside ASCII",
    "https://github.com/owner/n\u00e4me": "contains a space or a character outside ASCII",
    f"https://git.example.com/{'a' * 300}/name": "is longer than 200 characters",
}
# Its modules are only found where it is installed.
ONLY_ON_WINDOWS = {"pywin32"}
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
    {"repository": ADDRESS},
    {"repository": "https://github.com/O-1/na_me.py"},
    {"repository": "https://gitlab.com/a_group/sub.group/name"},
    {"repository": "https://git.example.co.uk:8443/team/name"},
    {"repository": "https://github.com/owner/my.wiki.git-tools"},
    {"repository": "https://gist.example.com/team/name"},
    {"repository": "https://xn--mnchen-3ya.example/a/b"},
    {"repository": f"https://git.example.com/{'a' * 80}/{'b' * 95}"},
]


def problems(message: str) -> str:
    """Return the part of a message that describes the bad answers."""
    return message.partition("\n\n")[0].rstrip("\n") + "\n"


@pytest.fixture
def refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Return a function that generates with bad answers and returns the message on stderr."""
    configuration = tmp_path / "configuration"
    configuration.write_text(f"replay_dir: '{tmp_path / 'replay'}'\n", encoding="utf-8")
    output = tmp_path / "outside" / "output"
    output.mkdir(parents=True)

    def message(**given: str) -> str:
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
        return problems(capfd.readouterr().err)

    return message


@pytest.mark.parametrize(("slug", "problem"), SLUGS.items())
def test_a_slug_that_cannot_work_is_refused(slug: str, problem: str, refused: Refused) -> None:
    advice = "Choose another name, such as weather-server."
    assert (
        refused(project_slug=slug, package_name="weather") == f"project_slug {slug!r} {problem}. {advice}\n"
    )


@pytest.mark.parametrize(("name", "problem"), PACKAGES.items())
def test_a_package_name_that_cannot_work_is_refused(name: str, problem: str, refused: Refused) -> None:
    advice = "Choose another name, such as weather_server."
    assert refused(package_name=name) == f"package_name {name!r} {problem}. {advice}\n"


@pytest.mark.parametrize("name", ["JSON", "Class", "FastMCP"])
def test_a_derived_name_that_cannot_work_is_refused_too(name: str, refused: Refused) -> None:
    slug = name.lower()
    assert refused(project_name=name).startswith(f"project_slug {slug!r} {NAMES[slug]}. ")


def test_every_bad_answer_is_reported_at_once(refused: Refused) -> None:
    message = refused(
        project_name="a\ab", project_slug="con", package_name="a-b", author_email="you", author_name="\b"
    )
    named = [line.partition(" ")[0] for line in message.splitlines()]
    assert sorted(named) == ["author_email", "author_name", "package_name", "project_name", "project_slug"]


def test_a_long_answer_is_shortened_in_the_message(refused: Refused) -> None:
    cut = "a" * 80 + "..."
    assert refused(project_slug="a" * 200).startswith(f"project_slug {cut!r} is longer than 64 characters. ")


@pytest.mark.parametrize("email", EMAILS)
def test_an_invalid_email_address_is_refused(email: str, refused: Refused) -> None:
    problem = "is not a valid e-mail address. Use one such as you@example.com."
    assert refused(author_email=email) == f"author_email {email!r} {problem}\n"


@pytest.mark.parametrize(("address", "problem"), ADDRESSES.items())
def test_what_is_not_the_page_of_a_repository_is_refused(
    address: str, problem: str, refused: Refused
) -> None:
    visible = without_secrets(address)
    shown = visible if len(visible) <= 80 else f"{visible[:80]}..."
    advice = "Use the address of its page, such as https://github.com/owner/name, or leave it empty."
    message = refused(repository=address)
    assert message == f"repository {shown!r} {problem}. {advice}\n"
    assert ".." not in message.replace("...", "").replace(address, "")
    for secret in ("secret", "token@", "p@ss"):
        assert secret not in message


def without_secrets(address: str) -> str:
    """Return an address as a message may show it."""
    for secret in ("user:://secret", "user:secret", "user:token", "user:p@ss"):
        address = address.replace(secret, "***")
    address = address.replace("token@", "***@")
    return re.sub("([?#]).+", r"\1***", address)


@pytest.mark.parametrize("character", CONTROL_CHARACTERS, ids=ascii)
@pytest.mark.parametrize("variable", ["project_name", "description", "author_name"])
def test_a_control_character_is_refused(variable: str, character: str, refused: Refused) -> None:
    bad = character[0]
    message = (
        f"{variable} contains {bad!r}, a control character that pyproject.toml cannot contain. Remove it.\n"
    )
    assert refused(**{variable: f"before{character}after"}) == message


@pytest.mark.parametrize("good", GOOD, ids=",".join)
def test_everything_else_is_accepted(good: dict[str, Any], bake: Bake) -> None:
    project = bake(**good)
    assert project.path.name == good.get("project_slug", "my-mcp-server")
    assert project.package.is_dir()


@pytest.mark.parametrize(
    "bad",
    [
        {"project_slug": "class", "package_name": "weather"},
        {"project_slug": "../evil", "package_name": "weather"},
        {"project_slug": "{output}/../absolute", "package_name": "weather"},
        {"package_name": "mcp"},
        {"author_email": "nobody"},
        {"description": "bell\a"},
        {"repository": "git@github.com:owner/name.git"},
    ],
    ids=str,
)
def test_the_command_prints_one_line_and_writes_only_the_other_answers(
    bad: dict[str, str], user: User, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    output.mkdir()
    words = [f"{name}={value.format(output=output)}" for name, value in bad.items()]
    run = user.run(["cookiecutter", str(TEMPLATE), "--no-input", *words], cwd=output)
    assert run.returncode == 1
    assert problems(run.stderr).count("\n") == 1
    assert next(iter(bad)) in problems(run.stderr)
    assert list(tmp_path.rglob("*")) == [output, output / SAVED]


@pytest.mark.parametrize("slug", ["", ".", "..", "a" * 300])
def test_cookiecutter_itself_rejects_a_slug_that_cannot_be_a_new_folder(
    slug: str, user: User, tmp_path: Path
) -> None:
    """Cookiecutter creates the folder before it runs the hook."""
    output = tmp_path / "output"
    output.mkdir()
    run = user.run(["cookiecutter", str(TEMPLATE), "--no-input", f"project_slug={slug}"], cwd=output)
    assert run.returncode == 1
    assert "already exists" in run.stderr + run.stdout or "File name too long" in run.stderr
    assert list(tmp_path.rglob("*")) == [output]


def test_an_empty_slug_is_refused_when_the_folder_may_exist(user: User, tmp_path: Path) -> None:
    words = ["--no-input", "--overwrite-if-exists", "project_slug=", "package_name=weather"]
    run = user.run(["cookiecutter", str(TEMPLATE), *words], cwd=tmp_path)
    assert problems(run.stderr) == "project_slug '' is empty. Choose another name, such as weather-server.\n"
    assert list(tmp_path.iterdir()) == [tmp_path / SAVED]


def message_for(answer: dict[str, str], folder: Path) -> str:
    """Run the hook with an answer that current Cookiecutter versions never pass, and return its message."""
    context = generate_context(str(TEMPLATE / "cookiecutter.json"))
    context["cookiecutter"] = {**prompt_for_config(context, no_input=True), **answer}
    source = (TEMPLATE / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    hook = folder / "hook.py"
    hook.write_text(create_env_with_context(context).from_string(source).render(**context), encoding="utf-8")
    run = subprocess.run([sys.executable, hook], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    return run.stderr


@pytest.mark.parametrize("pattern", PATTERNS)
def test_an_answer_that_is_not_a_boolean_asks_for_a_newer_cookiecutter(pattern: str, tmp_path: Path) -> None:
    """Cookiecutter before 2.7 passes `retry=no` as a string, which is truthy."""
    assert message_for({pattern: "no"}, tmp_path) == (
        f"{pattern} must be true or false, but it is the string 'no'."
        " Use Cookiecutter 2.7 or newer, which converts yes and no, and in a replay file write true or false.\n"
    )


def test_an_unsupported_choice_is_refused(tmp_path: Path) -> None:
    """Cookiecutter does not check the choices in a replay file."""
    assert message_for({"http_client": "aiohttp"}, tmp_path) == (
        "http_client 'aiohttp' is not supported. Choose one of: httpx2, httpx.\n"
    )
    assert "Choose one of: MIT, Apache-2.0" in message_for({"license": "GPL"}, tmp_path)


@pytest.mark.parametrize("name", ["license", "http_client", "ci"])
def test_the_hook_knows_the_choices_of_the_prompts(name: str) -> None:
    assert ast.literal_eval(hook_constant("pre_gen_project", "CHOICES"))[name] == tuple(PROMPTS[name])


@pytest.mark.parametrize(("hook", "patterns"), [(HOOKS[0], PATTERNS), (HOOKS[1], PATTERNS[1:])])
def test_the_hooks_know_the_patterns_of_the_prompts_in_their_order(hook: str, patterns: list[str]) -> None:
    """`self_contained` is a layout, so utils.py has no section for it."""
    assert ast.literal_eval(hook_constant(hook, "PATTERNS")) == tuple(patterns)
    assert PATTERNS[0] == "self_contained"


def closure(lines: Iterable[str]) -> set[str]:
    """Return the normalized names of all distributions that requirements can install, on any platform.

    A distribution that is only installed on other platforms counts, but without its own dependencies.
    """
    found: set[tuple[str, frozenset[str]]] = set()
    todo = [Requirement(line) for line in lines]
    while todo:
        requirement = todo.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in found:
            continue
        found.add(key)
        with suppress(PackageNotFoundError):
            needed = map(Requirement, distribution(requirement.name).requires or [])
            todo += [one for one in needed if is_requested(one, requirement.extras)]
    return {name for name, _ in found}


def is_requested(needed: Requirement, extras: set[str]) -> bool:
    """Return whether a dependency belongs to no extra or to one of `extras`."""
    if needed.marker is None or "extra" not in str(needed.marker):
        return True
    return any(needed.marker.evaluate({"extra": extra}) for extra in extras)


@pytest.fixture(scope="module", params=["httpx2", "httpx"])
def installed(request: pytest.FixtureRequest, bake_once: Bake) -> set[str]:
    """Return the distributions that a project with every pattern, extra and group can install."""
    project = bake_once(http_client=request.param, **answers(ALL))
    metadata = tomllib.loads(project.text("pyproject.toml"))
    groups = [
        metadata["build-system"]["requires"],
        metadata["project"]["dependencies"],
        *metadata["project"]["optional-dependencies"].values(),
        *metadata["dependency-groups"].values(),
    ]
    return closure(line for group in groups for line in group)


def refused_names(*constants: str) -> set[str]:
    """Return the names in constants of the hook."""
    hook = load_hook("pre_gen_project")
    return {name for one in constants for name in getattr(hook, one)}


def test_no_project_can_have_the_name_of_a_distribution_that_it_installs(installed: set[str]) -> None:
    """uv refuses to install a project whose name is that of a direct or indirect dependency."""
    assert installed >= {"uv-build", "click", "anyio", "pyyaml", "websockets"}
    assert installed - {name.replace("_", "-") for name in refused_names("DISTRIBUTIONS")} == set()


def test_no_package_can_have_the_name_of_a_module_that_is_installed_with_it(installed: set[str]) -> None:
    modules = {
        module
        for module, providers in packages_distributions().items()
        for provider in providers
        if canonicalize_name(provider) in installed - ONLY_ON_WINDOWS
    }
    # Other names are not allowed for a package.
    possible = {name for name in modules if re.fullmatch("[a-z][a-z0-9_]*", name)}
    assert possible >= {"yaml", "attr", "attrs", "click", "mcp", "google"}
    assert possible - refused_names("DISTRIBUTIONS", "MODULES") == set()


def test_no_project_can_replace_a_command_of_its_environment(installed: set[str]) -> None:
    commands = {
        entry.name
        for entry in entry_points(group="console_scripts")
        if entry.dist and canonicalize_name(entry.dist.name) in installed
    }
    possible = {name for name in commands if re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name)}
    assert possible >= {"fastmcp", "dotenv", "pygmentize"}
    assert possible - {name.replace("_", "-") for name in refused_names("DISTRIBUTIONS", "COMMANDS")} == set()


@pytest.mark.parametrize("name", ["Click", "WebSockets", "Rich", "Attrs", "typing_extensions", "Starlette"])
def test_the_name_of_an_indirect_dependency_is_refused(name: str, refused: Refused) -> None:
    first, second = refused(project_name=name).splitlines()
    assert first.startswith("project_slug ")
    assert second.startswith("package_name ")
    problem = " conflicts with a package that the project uses. Choose another name, such as weather"
    assert problem in first
    assert problem in second


@pytest.mark.parametrize(("name", "slug"), [("YAML", "yaml-tools"), ("JWT", "jwt-server")])
def test_a_slug_may_be_the_name_of_a_module_of_a_dependency(name: str, slug: str, refused: Refused) -> None:
    """Only the package would shadow it."""
    message = refused(project_slug=slug, package_name=name.lower())
    assert message.startswith(
        f"package_name {name.lower()!r} conflicts with a package that the project uses."
    )
    assert message.count("\n") == 1


@pytest.mark.parametrize("slug", ["python", "pip", "dotenv", "pygmentize"])
def test_a_slug_that_is_another_command_of_the_environment_is_refused(slug: str, refused: Refused) -> None:
    problem = "is the name of another command in the project's environment"
    advice = "Choose another name, such as weather-server."
    assert (
        refused(project_slug=slug, package_name="weather") == f"project_slug {slug!r} {problem}. {advice}\n"
    )


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u00a0"])
def test_a_blank_author_is_refused(blank: str, refused: Refused) -> None:
    """The copyright line and the metadata need a name."""
    assert refused(author_name=blank) == (
        "author_name is empty. Enter the name of a person or an organization: LICENSE and pyproject.toml contain it.\n"
    )


def test_a_blank_author_is_reported_with_every_other_bad_answer(refused: Refused) -> None:
    message = refused(author_name=" ", author_email=" ", project_slug="click", package_name="weather")
    named = [line.partition(" ")[0] for line in message.splitlines()]
    assert sorted(named) == ["author_email", "author_name", "project_slug"]
