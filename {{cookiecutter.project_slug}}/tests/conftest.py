"""Isolate every test from the developer's settings and files."""

import logging
import os
from collections.abc import Iterator
from unittest.mock import patch

import pytest

# Tests may see these variables. Any other could be a setting of the server or of a library, and
# lead to a real system.
KEPT = {
    *("PATH", "PATHEXT", "SYSTEMROOT", "SYSTEMDRIVE", "WINDIR", "COMSPEC"),
    *("TMPDIR", "TEMP", "TMP", "LANG", "TERM", "COLUMNS", "NO_COLOR", "CI", "VIRTUAL_ENV"),
    # For `--checklist-url`.
    *("CHECKLIST_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"),
}
KEPT_FAMILIES = ("PYTHON", "PYTEST_", "COV", "LC_")

# At import, because FastMCP reads its settings when a test module imports it.
for variable in [*os.environ]:
    if variable.upper() not in KEPT and not variable.startswith(KEPT_FAMILIES):
        del os.environ[variable]
os.environ["FASTMCP_ENV_FILE"] = os.devnull


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-surface",
        action="store_true",
        help="accept the current tools, resources and prompts: write tests/surface",
    )


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True, scope="session")
def _plain_log() -> None:
    """Leave FastMCP's log to pytest: rendering it in colour takes longer than most tests."""
    log = logging.getLogger("fastmcp")
    log.handlers.clear()
    log.propagate = True


@pytest.fixture(autouse=True, scope="session")
def _no_files_of_the_developer(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Use a temporary home: the user's data folder has the default database."""
    home = str(tmp_path_factory.mktemp("home"))
    os.environ |= {"HOME": home, "LOCALAPPDATA": home, "WIN_PD_OVERRIDE_LOCAL_APPDATA": home}
{% if cookiecutter.environment_config %}
    os.environ |= {"ENV_FILE": os.devnull, "SECRETS_DIR": str(tmp_path_factory.mktemp("secrets"))}
{% endif %}


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Undo what a test sets."""
    with patch.dict(os.environ, NO_PROXY="127.0.0.1"):
        yield
