"""Refuse answers from which no working project can be made, before Cookiecutter writes a file.

The answers enter as JSON inside a raw string, so none of them can become code.
"""

import json
import keyword
import re
import sys
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
# Folders beside the package and names inside it that imports of the tests would meet first.
OWN_NAMES = frozenset({"server", "src", "tests", "test"})

# Here and in the other hook: the list of the files that are there before, and how the file of all patterns begins.
KEPT = ".cookiecutter-kept.json"
HEADER = '"""Every pattern of this server in one file, each under its name."""\n'


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


def pattern_problem(answers: dict[str, Any]) -> str | None:
    """Check that every pattern is a real boolean; Cookiecutter before 2.7 passes the text "no", which is true."""
    for pattern in PATTERNS:
        if not isinstance(answers[pattern], bool):
            return (
                f"{pattern} came as the text {shown(str(answers[pattern]))}, not as yes or no:"
                " this template needs Cookiecutter 2.7 or newer, and in a replay file true or false."
            )
    return None


def choice_problem(answers: dict[str, Any]) -> str | None:
    """Check the choices: a replay file is not held to the list."""
    for variable, choices in CHOICES.items():
        if answers[variable] not in choices:
            return f"{variable} {shown(str(answers[variable]))} is no choice: choose one of {', '.join(choices)}."
    return None


def email_problem(answers: dict[str, Any]) -> str | None:
    """Check that the author's e-mail is an address that package metadata can hold."""
    email = answers["author_email"]
    if re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", email):
        return None
    return f"author_email {shown(email)} is no e-mail address: write one such as you@example.com."


def text_problem(answers: dict[str, Any]) -> str | None:
    """Check that free text holds no control characters but line ends and tabs, which TOML cannot carry."""
    for variable in ("project_name", "description", "author_name"):
        bad = re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", answers[variable])
        if bad:
            return f"{variable} holds the control character {bad[0]!r}: leave it out."
    return None


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


def main() -> int:
    checks = (
        *(pattern_problem, choice_problem, slug_problem, package_problem, email_problem, text_problem),
        overwriting_problem,
    )
    for check in checks:
        problem = check(ANSWERS)
        if problem:
            sys.stderr.write(f"{problem}\n")
            return 1
    list_files(Path.cwd(), ANSWERS["package_name"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
