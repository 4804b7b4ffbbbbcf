"""Refuse answers from which no working project can be made, before Cookiecutter writes a file.

All bad answers are reported at once. The others are saved, in a file from which one command goes on.
The answers enter as JSON inside a raw string, so none of them can become code.
"""

import json
import keyword
import re
import shlex
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

ANSWERS: dict[str, Any] = json.loads(r"""{{ cookiecutter | tojson }}""")

PATTERNS = (
    "self_contained",
    "lazy_initialization",
    "connection_pooling",
    "retry",
    "caching",
    "structured_errors",
    "environment_config",
    "health_check",
    "parallel_processing",
    "state_management",
    "rate_limiting",
    "structured_logging",
)
TEXTS = ("project_name", "project_slug", "package_name", "description", "author_name", "author_email")
CHOICES = {
    "license": ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary"),
    "http_client": ("httpx2", "httpx"),
}
MAX_NAME_LENGTH = 64
MAX_SHOWN_LENGTH = 80
# What a project imports or installs, with underscores; its own package would hide it.
DEPENDENCIES = (
    "aiosqlite",
    "anyio",
    "async_lru",
    "asyncpg",
    "cachetools",
    "cookiecutter",
    "dotenv",
    "fastmcp",
    "greenlet",
    "httpx",
    "httpx2",
    "jinja2",
    "key_value",
    "mcp",
    "mcp_types",
    "mypy",
    "opentelemetry",
    "platformdirs",
    "psutil",
    "py_key_value_aio",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "pytest",
    "python_dotenv",
    "ruff",
    "sqlalchemy",
    "sse_starlette",
    "starlette",
    "tenacity",
    "throttled",
    "throttled_py",
    "types_psutil",
    "uv_build",
    "uvicorn",
)
WINDOWS_RESERVED = frozenset(
    ["con", "prn", "aux", "nul"]
    + [f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10)]
)
WINDOWS = sys.platform == "win32"
# Folders beside the package and names inside it that imports of the tests would meet first.
OWN_NAMES = frozenset({"server", "src", "tests", "test"})

# Here and in the other hook: the list of the files that are there before, and how the file of all patterns begins.
KEPT = ".cookiecutter-kept.json"
HEADER = '"""Every pattern of this server in one file, each under its name."""\n'
# For the other hook: the project was there before.
EXISTED = ".cookiecutter-existed"
# Where the file with the saved answers is. Cookiecutter passes it on, so that the other hook can remove the file.
SAVED = "_answers_file"

# What is wrong with an answer, by its prompt.
Problem = tuple[str, str]


def shown(value: str) -> str:
    """Quote an answer for a message, on one line and not too long."""
    return repr(value if len(value) <= MAX_SHOWN_LENGTH else f"{value[:MAX_SHOWN_LENGTH]}...")


def name_problem(name: str, shape: str, rule: str) -> str | None:
    """Say what is wrong with a name, or None."""
    module = name.replace("-", "_").lower()
    problem = None
    if not name:
        problem = "is empty"
    elif len(name) > MAX_NAME_LENGTH:
        problem = f"is longer than {MAX_NAME_LENGTH} characters"
    elif "/" in name or "\\" in name or name.startswith("."):
        problem = "is a path"
    elif keyword.iskeyword(module) or keyword.issoftkeyword(module) or module in ("true", "false", "none"):
        problem = "is a keyword of Python"
    elif module in sys.stdlib_module_names:
        problem = "is a module of Python's standard library"
    elif module in DEPENDENCIES or module in OWN_NAMES:
        problem = "is a package that the project itself uses"
    elif module in WINDOWS_RESERVED:
        problem = "is reserved by Windows"
    elif not re.fullmatch(shape, name):
        problem = rule
    return problem


def slug_problem(answers: dict[str, Any]) -> str | None:
    """Check the name of the folder, the distribution and the command."""
    slug = answers["project_slug"]
    problem = name_problem(
        slug, r"[a-z0-9]+(-[a-z0-9]+)*", "may hold only lower-case letters, digits and single hyphens"
    )
    return problem and f"project_slug {shown(slug)} {problem}: choose another name, such as weather-server."


def package_problem(answers: dict[str, Any]) -> str | None:
    """Check the name that is imported."""
    package = answers["package_name"]
    problem = name_problem(
        package, r"[a-z][a-z0-9_]*", "is no identifier of lower-case letters, digits and underscores"
    )
    return (
        problem and f"package_name {shown(package)} {problem}: choose another name, such as weather_server."
    )


def pattern_problems(answers: dict[str, Any]) -> Iterator[Problem]:
    """Check that every pattern is a real boolean; Cookiecutter before 2.7 passes the text "no", which is true."""
    for pattern in PATTERNS:
        if not isinstance(answers[pattern], bool):
            yield (
                pattern,
                f"{pattern} came as the text {shown(str(answers[pattern]))}, not as yes or no:"
                " this template needs Cookiecutter 2.7 or newer, and in a replay file true or false.",
            )


def choice_problems(answers: dict[str, Any]) -> Iterator[Problem]:
    """Check the choices: a replay file is not held to the list."""
    for variable, choices in CHOICES.items():
        if answers[variable] not in choices:
            yield (
                variable,
                f"{variable} {shown(str(answers[variable]))} is no choice: choose one of {', '.join(choices)}.",
            )


def email_problem(answers: dict[str, Any]) -> str | None:
    """Check that the author's e-mail is an address that package metadata can hold."""
    email = answers["author_email"]
    if re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", email):
        return None
    return f"author_email {shown(email)} is no e-mail address: write one such as you@example.com."


def text_problems(answers: dict[str, Any]) -> Iterator[Problem]:
    """Check that free text holds no control characters but line ends and tabs, which TOML cannot carry."""
    for variable in ("project_name", "description", "author_name"):
        bad = re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", answers[variable])
        if bad:
            yield variable, f"{variable} holds the control character {bad[0]!r}: leave it out."


def problems(answers: dict[str, Any]) -> Iterator[Problem]:
    """Return all that is wrong with the answers."""
    yield from pattern_problems(answers)
    yield from choice_problems(answers)
    single = (
        ("project_slug", slug_problem),
        ("package_name", package_problem),
        ("author_email", email_problem),
    )
    for variable, check in single:
        if problem := check(answers):
            yield variable, problem
    yield from text_problems(answers)


def overwriting_problem(answers: dict[str, Any]) -> str | None:
    """Check that the file of all patterns would not replace a module of the user's own."""
    utils = Path("src", answers["package_name"], "utils.py")
    for path in (utils, utils.with_suffix("")) if answers["self_contained"] else ():
        generated = path.is_file() and path.read_bytes().startswith(HEADER.strip().encode())
        if path.is_symlink() or (path.exists() and not generated):
            return (
                f"{path.as_posix()} is your own, and self_contained puts the patterns into a module of"
                " that name: rename yours first."
            )
    return None


def list_files(project: Path, package: str) -> None:
    """List the files that are there, for the other hook: it cannot see which of them Cookiecutter has kept."""
    folders = (project / "src" / package, project / "tests")
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    if paths:
        names = sorted(path.relative_to(project).as_posix() for path in paths)
        (project / KEPT).write_text(json.dumps(names), encoding="utf-8")
        (project / EXISTED).touch()


def how_to_continue(answers: dict[str, Any], bad: list[str], project: Path) -> list[str]:
    """Save the answers that are not bad, and say with which command to go on."""
    if "_output_dir" in answers:
        return continue_with_cookiecutter(answers, bad, project)
    if "_commit" not in answers:  # neither Cookiecutter nor cruft
        return []
    if is_compared(project, answers):
        return ["Run cruft again with another answer. It still has all the others, in .cruft.json."]
    return continue_with_cruft(answers, bad, project)


def continue_with_cookiecutter(answers: dict[str, Any], bad: list[str], project: Path) -> list[str]:
    """Go on with a replay file: Cookiecutter asks for what is missing in it, and takes all texts as they are."""
    output = Path(answers["_output_dir"])
    good = good_answers(answers, bad)
    try:
        file = replay_file(answers, output)
        file.write_text(
            json.dumps({"cookiecutter": {**good, SAVED: str(file)}}, indent=4) + "\n", encoding="utf-8"
        )
    except OSError as error:
        return [
            f"Your answers could not be saved: {error}",
            "Cookiecutter has them all in its replay folder, which is ~/.cookiecutter_replay unless you have changed it.",
        ]
    # The clone, where the template is not a local one: no network, no question, and the same commit.
    template = str(answers["_repo_dir"])
    words = ["-m", "cookiecutter", within(template), "--replay-file", str(file), "--output-dir", str(output)]
    if bad:
        lines = [f"Your other answers are saved. To go on, run this. It asks only for {listed(bad)}:"]
    else:
        lines = ["Your answers are saved. Once that is done, run this to go on:"]
    lines += ["", f"    {command(words)}", ""]
    if "project_slug" not in bad and any(project.iterdir()):
        lines.append("Add -f, or -f -s, as you did before: the folder of the project already exists.")
    lines.append("A traceback of Cookiecutter follows. It says only that the answers were refused.")
    return lines


def replay_file(answers: dict[str, Any], folder: Path) -> Path:
    """Return where to save the answers: where those came from that have been saved before, or a free place."""
    before = Path(str(answers.get(SAVED, "")))
    if is_saved(before):
        return before
    return free_place(folder)


def free_place(folder: Path) -> Path:
    """Return a file that does not exist: one that does may have the answers of another project."""
    names = (f"cookiecutter-answers{f'-{number}' if number > 1 else ''}.json" for number in count(1))
    return next(path for path in map(folder.joinpath, names) if not path.exists() and not path.is_symlink())


def is_saved(path: Path) -> bool:
    """Whether a file is one that this hook has written."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return bool(saved["cookiecutter"][SAVED] == str(path))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def continue_with_cruft(answers: dict[str, Any], bad: list[str], project: Path) -> list[str]:
    """Go on with a file of defaults: cruft cannot replay. It reads texts as templates, so they are quoted."""
    good = good_answers(answers, bad)
    given = {name: as_template(value) if name in TEXTS else value for name, value in good.items()}
    folder = project.parent
    try:
        file = free_place(folder)
        file.write_text(json.dumps(given, indent=4) + "\n", encoding="utf-8")
    except OSError as error:
        return [f"Your answers could not be saved: {error}"]
    words = [
        "-m",
        "cruft",
        "create",
        within(str(answers["_template"])),
        "--checkout",
        str(answers["_commit"]),
    ]
    words += ["--extra-context-file", str(file), "--output-dir", str(folder)]
    return [
        "Your other answers are saved. To go on, run this. It asks every question again, with your answers",
        f"as the defaults: press Enter for those, and answer {listed(bad)}."
        if bad
        else "as the defaults: press Enter for each.",
        "",
        f"    {command(words)}",
        "",
        "A traceback follows. It says only that the answers were refused.",
    ]


def is_compared(project: Path, answers: dict[str, Any]) -> bool:
    """Whether this is one of the projects that cruft makes, to compare them, in a temporary folder."""
    return "_commit" in answers and re.fullmatch(r"tmp\w{8}", project.parent.name) is not None


def good_answers(answers: dict[str, Any], bad: list[str]) -> dict[str, Any]:
    """Return the answers to ask for no more, without what Cookiecutter adds to them."""
    return {name: value for name, value in answers.items() if name[0] != "_" and name not in bad}


def as_template(text: str) -> str:
    """Return a template that is rendered as `text`. This hook is a template too, hence no braces as such."""
    return f"{2 * chr(123)} {json.dumps(text, ensure_ascii=False)} {2 * chr(125)}"


def listed(names: list[str]) -> str:
    """Join names for a sentence."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def within(path: str) -> str:
    """Return a path that no program takes for an option."""
    return f"./{path}" if path.startswith("-") else path


def command(words: list[str]) -> str:
    """Return the command line for this Python, the one that has Cookiecutter, with `words` as its arguments."""
    program = shell_quoted(sys.executable or "python")
    call = "& " if program[0] in "\"'" and WINDOWS else ""
    return call + " ".join([program, *map(shell_quoted, words)])


def shell_quoted(text: str) -> str:
    """Quote a word for the shell: on Windows for PowerShell, and for cmd as well where one form does for both."""
    if not WINDOWS:
        return shlex.quote(text)
    if re.fullmatch(r"[\w.:\\/~+-]+", text):
        return text
    if re.search("[$`\u201c-\u201e]", text):
        return "'" + re.sub("(['\u2018-\u201b])", r"\1\1", text) + "'"
    return f'"{text}"'


def main() -> int:
    project = Path.cwd()
    found = list(problems(ANSWERS))
    bad = list(dict.fromkeys(variable for variable, _ in found))
    sentences = [sentence for _, sentence in found]
    if not {"package_name", "self_contained"} & set(bad):
        sentences += filter(None, [overwriting_problem(ANSWERS)])
    if not sentences:
        list_files(project, ANSWERS["package_name"])
        return 0
    sys.stderr.write("\n".join([*sentences, "", *how_to_continue(ANSWERS, bad, project)]).rstrip() + "\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
