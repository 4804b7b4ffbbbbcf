"""The option and the fixtures of the production checklist."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest

import {{ cookiecutter.package_name }} as package

from . import wire
from .process import ServerProcess, bare_environment, http_server
from .report import Report

# On Windows a process can be sent no signal but Ctrl-Break, which is not known elsewhere.
collect_ignore = ["test_signals.py" if sys.platform == "win32" else "test_windows.py"]

TOKEN = "CHECKLIST_TOKEN"
NO_PROXY = os.environ.get("NO_PROXY", "")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("production checklist").addoption(
        "--checklist-url",
        metavar="URL",
        default="",
        help=f"check the MCP server at URL, with the bearer token of ${TOKEN} where it wants one",
    )


def pytest_configure(config: pytest.Config) -> None:
    url = config.getoption("--checklist-url", "")
    token = os.environ.get(TOKEN, "").strip() if url else ""
    if url and not (urlsplit(url).scheme in {"http", "https"} and urlsplit(url).hostname):
        raise pytest.UsageError(f"{url} is no URL: write it whole, as https://host/mcp")
    if not (token.isascii() and token.isprintable()):
        raise pytest.UsageError(f"{TOKEN} holds characters that no token has")
    config.pluginmanager.register(Report(config, url, token, collect_ignore), "checklist")


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    found = request.config.pluginmanager.get_plugin("checklist")
    assert isinstance(found, Report)
    return found


@pytest.fixture(scope="session")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Serve the project as it is, with nothing set, once for all tests that change nothing."""
    environment = bare_environment(tmp_path_factory.mktemp("home"))
    with http_server(environment, program=("-m", package.__name__)) as server:
        yield server


@pytest.fixture
async def deployed(
    request: pytest.FixtureRequest, report: Report, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[wire.Server]:
    """Return the server at `--checklist-url`, else one of this project: a URL is enough."""
    if report.url:
        monkeypatch.setenv("NO_PROXY", NO_PROXY)
        url = report.url
    else:
        url = f"{request.getfixturevalue('plain_server').url}/mcp"
    async with wire.client(report.token) as http:
        yield wire.Server(url, http, report.token)
