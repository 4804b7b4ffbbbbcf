"""The option and the fixtures of the production checklist."""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest
from anyio.from_thread import start_blocking_portal

import {{ cookiecutter.package_name }} as package

from . import wire
from .process import bare_environment, http_server
from .report import Report

# On Windows a process cannot be sent these signals.
collect_ignore = ["test_signals.py"] if sys.platform == "win32" else []

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
    config.pluginmanager.register(Report(config, url, token), "checklist")


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    found = request.config.pluginmanager.get_plugin("checklist")
    assert isinstance(found, Report)
    return found


@pytest.fixture(scope="session")
def deployed_at(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of `--checklist-url`, else serve the project, once for all tests."""
    if report.url:
        yield report.url
        return
    environment = bare_environment(tmp_path_factory.mktemp("home"))
    server = http_server(environment, program=("-m", package.__name__))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(server) as (_, base):
        yield f"{base}/mcp"


@pytest.fixture
async def deployed(
    report: Report, deployed_at: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[wire.Server]:
    """Return a server of which a test may know no more than the URL."""
    if report.url:
        monkeypatch.setenv("NO_PROXY", NO_PROXY)
    async with wire.client(report.token) as http:
        yield wire.Server(deployed_at, http, report.token)
