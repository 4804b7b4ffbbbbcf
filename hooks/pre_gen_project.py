"""Refuse answers that cannot give a working project, before Cookiecutter writes a file.

The answers arrive as JSON in a raw string, so that none of them is executed.
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
# What a project imports or installs, with underscores. A package with one of these names would hide it.
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
# Names that the tests would import instead of the package.
OWN_NAMES = frozenset({"server", "src", "tests", "test"})

# Also in the other hook: the list of files that existed before, and the first line of the file with all patterns.
KEPT = ".cookiecutter-kept.json"
HEADER = '"""Every pattern of this server in one file, each under its name."""\n'


def shown(value: str) -> str:
    """Quote an answer for a message: on one line, and shortened."""
    return repr(value if len(value) <= MAX_SHOWN_LENGTH else f"{value[:MAX_SHOWN_LENGTH]}...")


def name_problem(name: str, shape: str, rule: str) -> str | None:
    """Return what is wrong with a name, or None."""
    module = name.replace("-", "_").lower()
    problem = None
    if not name:
        problem = "is empty"
    elif len(name) > MAX_NAME_LENGTH:
        problem = f"is longer than {MAX_NAME_LENGTH} characters"
    elif "/" in name or "\\" in name or name.startswith("."):
        problem = "is a path, not a name"
    elif keyword.iskeyword(module) or keyword.issoftkeyword(module) or module in ("true", "false", "none"):
        problem = "is a Python keyword"
    elif module in sys.stdlib_module_names:
        problem = "conflicts with a module of the Python standard library"
    elif module in DEPENDENCIES or module in OWN_NAMES:
        problem = "conflicts with a package that the project uses"
    elif module in WINDOWS_RESERVED:
        problem = "is a reserved name on Windows"
    elif not re.fullmatch(shape, name):
        problem = rule
    return problem


def slug_problem(answers: dict[str, Any]) -> str | None:
    """Check the name of the folder, the distribution and the command."""
    slug = answers["project_slug"]
    problem = name_problem(
        slug, r"[a-z0-9]+(-[a-z0-9]+)*", "may contain only lowercase letters, digits and single hyphens"
    )
    return problem and f"project_slug {shown(slug)} {problem}. Choose another name, such as weather-server."


def package_problem(answers: dict[str, Any]) -> str | None:
    """Check the name that is imported."""
    package = answers["package_name"]
    problem = name_problem(
        package,
        r"[a-z][a-z0-9_]*",
        "may contain only lowercase letters, digits and underscores, and must start with a letter",
    )
    return (
        problem and f"package_name {shown(package)} {problem}. Choose another name, such as weather_server."
    )


def pattern_problem(answers: dict[str, Any]) -> str | None:
    """Check that every pattern is a boolean. Cookiecutter before 2.7 passes the string "no", which is truthy."""
    for pattern in PATTERNS:
        if not isinstance(answers[pattern], bool):
            return (
                f"{pattern} must be true or false, but it is the string {shown(str(answers[pattern]))}."
                " Use Cookiecutter 2.7 or newer, which converts yes and no, and in a replay file write true or false."
            )
    return None


def choice_problem(answers: dict[str, Any]) -> str | None:
    """Check the choices. Cookiecutter does not check them in a replay file."""
    for variable, choices in CHOICES.items():
        if answers[variable] not in choices:
            return f"{variable} {shown(str(answers[variable]))} is not supported. Choose one of: {', '.join(choices)}."
    return None


def email_problem(answers: dict[str, Any]) -> str | None:
    """Check that the author's e-mail address is valid in package metadata."""
    email = answers["author_email"]
    if re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", email):
        return None
    return f"author_email {shown(email)} is not a valid e-mail address. Use one such as you@example.com."


def text_problem(answers: dict[str, Any]) -> str | None:
    """Check that free text has no control characters except line breaks and tabs: TOML does not allow them."""
    for variable in ("project_name", "description", "author_name"):
        bad = re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", answers[variable])
        if bad:
            return f"{variable} contains {bad[0]!r}, a control character that pyproject.toml cannot contain. Remove it."
    return None


def overwriting_problem(answers: dict[str, Any]) -> str | None:
    """Check that the file with all patterns does not replace a module of the user."""
    utils = Path("src", answers["package_name"], "utils.py")
    for path in (utils, utils.with_suffix("")) if answers["self_contained"] else ():
        generated = path.is_file() and path.read_bytes().startswith(HEADER.strip().encode())
        if path.is_symlink() or (path.exists() and not generated):
            return (
                f"{path.as_posix()} is not from this template, and self_contained needs that name for the"
                " patterns. Rename your module first."
            )
    return None


def list_files(project: Path, package: str) -> None:
    """List the existing files for the other hook, which cannot see which of them Cookiecutter has kept."""
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
