{% set uses_api = cookiecutter.connection_pooling or cookiecutter.retry or cookiecutter.caching %}
"""The option of the production checklist, and the servers for its tests."""

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest

from . import wire
{% if cookiecutter.authentication %}
from .authentication import Issuer, running_issuer
{% endif %}
from .process import TOKEN as OWN_TOKEN
from .process import ServerProcess
from .report import Observe, Report
from .servers import Servers, starts
{% if cookiecutter.telemetry %}
from .telemetry import Collector, running_collector
{% endif %}
{% if uses_api %}
from .upstream import Api, running_api
{% endif %}

# On Windows the only signal for a process is Ctrl-Break, which other systems do not have.
collect_ignore = ["test_signals.py" if sys.platform == "win32" else "test_windows.py"]

TOKEN = "CHECKLIST_TOKEN"
NO_PROXY = os.environ.get("NO_PROXY", "")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("production checklist").addoption(
        "--checklist-url",
        metavar="URL",
        default="",
        help=f"check the MCP server at URL, with the bearer token of ${TOKEN} if it requires one",
    )


def pytest_configure(config: pytest.Config) -> None:
    url = config.getoption("--checklist-url", "")
    token = os.environ.get(TOKEN, "").strip() if url else ""
    if url and not (urlsplit(url).scheme in {"http", "https"} and urlsplit(url).hostname):
        raise pytest.UsageError(f"{url} is not a URL: write it in full, such as https://host/mcp")
    if not (token.isascii() and token.isprintable()):
        raise pytest.UsageError(f"{TOKEN} contains characters that a token cannot have")
    config.pluginmanager.register(Report(config, url, token, collect_ignore), "checklist")


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    found = request.config.pluginmanager.get_plugin("checklist")
    assert isinstance(found, Report)
    return found


@pytest.fixture
def observe(record_property: Callable[[str, object], None]) -> Observe:
    """Report what a test observed."""
    return lambda text: record_property("observed", text)


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    with closing(Servers(request)) as all_servers:
        yield all_servers


@pytest.fixture
def server(request: pytest.FixtureRequest, servers: Servers) -> Iterator[ServerProcess]:
    """Serve HTTP with probes, as the mark `serving` specifies."""
    with servers.share(starts(request.node)["server"]) as shared:
        yield shared


@pytest.fixture
def stdio_server(request: pytest.FixtureRequest, servers: Servers) -> Iterator[ServerProcess]:
    """Serve stdio with probes, for one test; the server has answered once."""
    with closing(servers.take(starts(request.node)["stdio_server"])) as own:
        yield own


@pytest.fixture
def plain_server(request: pytest.FixtureRequest, servers: Servers) -> Iterator[ServerProcess]:
    """Serve the project without any settings."""
    with servers.share(starts(request.node)["plain_server"]) as shared:
        yield shared
{% if uses_api %}


@pytest.fixture(scope="session")
def api() -> Iterator[Api]:
    """Run the API for tests with the mark `calls_api`."""
    with running_api() as running:
        yield running
{% endif %}
{% if cookiecutter.authentication %}


@pytest.fixture(scope="session")
def login() -> Iterator[Issuer]:
    """Run an identity provider, for servers that require its tokens."""
    with running_issuer() as running:
        yield running
{% endif %}
{% if cookiecutter.telemetry %}


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Run a collector, to which the servers of tests with the mark `traced` send."""
    with running_collector() as running:
        yield running
{% endif %}


@pytest.fixture
async def deployed(
    request: pytest.FixtureRequest, report: Report, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[wire.Server]:
    """Return the server at `--checklist-url`, or one of this project: tests only need a URL."""
    if report.url:
        monkeypatch.setenv("NO_PROXY", NO_PROXY)
        url, token = report.url, report.token
    else:
        url, token = f"{request.getfixturevalue('plain_server').url}/mcp", OWN_TOKEN
    async with wire.client(token) as http:
        yield wire.Server(url, http, token)
