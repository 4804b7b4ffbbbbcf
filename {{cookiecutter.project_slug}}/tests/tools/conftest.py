{% set uses_api = cookiecutter.connection_pooling or cookiecutter.retry or cookiecutter.caching %}
"""Fixtures for the tests of tools."""

{% if cookiecutter.rate_limiting %}
import os
{% endif %}
from collections.abc import AsyncIterator

import pytest
from fastmcp import Client

from {{ cookiecutter.package_name }}.server import (
    mcp,
)

from ..client import McpClient
{% if uses_api %}
from ..upstream import Upstream, local_upstream
{% endif %}
{% if cookiecutter.rate_limiting %}

# Do not limit the calls of tests. At import, because the server reads its limit only once, at the
# first call of any test.
os.environ |= {"RATE_LIMIT_PER_MINUTE": "60000", "RATE_LIMIT_BURST": "60000"}
{% endif %}
{% if uses_api %}


@pytest.fixture(autouse=True)
def _example_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tools call the example API, unless a test requests `api`."""
    monkeypatch.setenv("API_BASE_URL", "example")


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Upstream]:
    """Let tools call a fake API, whose answers a test can set."""
    async with local_upstream() as upstream:
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        yield upstream
{% endif %}


@pytest.fixture(params=["auto", "legacy"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[McpClient]:
    """Connect to the server in each protocol era: a test with this fixture runs in each."""
    async with Client(mcp, mode=request.param) as connected:
        yield McpClient(connected)
