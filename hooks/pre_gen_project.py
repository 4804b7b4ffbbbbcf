"""Refuse answers from which no working project can be made, before a file is written.

The answers enter as JSON inside a raw string, so none of them can become code.
"""

import json
import keyword
import re
import sys
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
MAX_NAME_LENGTH = 64
# What the generated server imports or installs; a package of the same name would hide it.
DEPENDENCIES = frozenset(
    "aiosqlite anyio async_lru asyncpg cookiecutter fastmcp greenlet httpx httpx2 jinja2 key_value mcp mcp_types"
    " mypy opentelemetry platformdirs psutil pydantic pydantic_core pydantic_settings pytest pythonjsonlogger"
    " ruff sqlalchemy sse_starlette starlette tenacity throttled uvicorn".split()
)
WINDOWS_RESERVED = frozenset(
    ["con", "prn", "aux", "nul"]
    + [f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10)]
)
# Folders beside the package and names inside it that imports of the tests would meet first.
OWN_NAMES = frozenset({"server", "src", "tests", "test"})


def name_problem(variable: str, name: str, shape: str, advice: str) -> str | None:
    """Say what is wrong with a name, or None."""
    module = name.replace("-", "_").lower()
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
        problem = advice
    else:
        return None
    return f"{variable} {name[:80]!r} {problem}; choose another name, such as weather-server or weather_server."


def names_problem(answers: dict[str, Any]) -> str | None:
    """Check the slug and the package name."""
    return name_problem(
        "project_slug",
        answers["project_slug"],
        r"[a-z0-9]+(-[a-z0-9]+)*",
        "may hold only lower-case letters, digits and single hyphens",
    ) or name_problem(
        "package_name",
        answers["package_name"],
        r"[a-z][a-z0-9_]*",
        "is not an identifier of lower-case letters, digits and underscores",
    )


def pattern_problem(answers: dict[str, Any]) -> str | None:
    """Check that every pattern is a real boolean; Cookiecutter before 2.7 passes the text "no", which is true."""
    for pattern in PATTERNS:
        if not isinstance(answers[pattern], bool):
            return (
                f"{pattern} came as the text {answers[pattern]!r}, not as yes or no:"
                ' this template needs Cookiecutter 2.7 or newer (pip install --upgrade "cookiecutter>=2.7").'
            )
    return None


def email_problem(answers: dict[str, Any]) -> str | None:
    """Check that the author's e-mail is an address that package metadata can hold."""
    email = answers["author_email"]
    if re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", email):
        return None
    return f"author_email {email[:80]!r} is no e-mail address; write one such as you@example.com."


def text_problem(answers: dict[str, Any]) -> str | None:
    """Check that free text holds no control characters but line ends and tabs, which TOML cannot carry."""
    for variable in ("project_name", "description", "author_name"):
        bad = re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", answers[variable])
        if bad:
            return f"{variable} holds the control character {bad[0]!r}; leave it out."
    return None


def main() -> int:
    for check in (pattern_problem, names_problem, email_problem, text_problem):
        problem = check(ANSWERS)
        if problem:
            sys.stderr.write(f"{problem}\n")
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
