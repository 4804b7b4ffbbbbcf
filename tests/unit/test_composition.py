"""The server composes its middleware in the right order, and each failure has the right code."""

from typing import Any

import pytest
from fastmcp import Client

import my_mcp_server.server as composition
from my_mcp_server.runtime.readiness import (
    readiness,
)
from my_mcp_server.server import (
    mcp,
)
from my_mcp_server.settings import (
    Settings,
)

# Outermost first. A project has only those of its patterns.
MIDDLEWARE = [
    *("CallLog", "StructuredErrors", "RateLimiting"),
    *("ReadableArguments", "Failures", "ResultLimit", "Deadlines"),
    *("SendableAnswers", "CurrentCapabilities"),
]
OPTIONAL = {"CallLog", "StructuredErrors", "RateLimiting"}
CODES = {
    "InvalidArguments": "VALIDATION_ERROR",
    "DeadlineExceeded": "TIMEOUT",
    "RequestRefused": "VALIDATION_ERROR",
    "UpstreamBusy": "RATE_LIMITED",
    "UpstreamFailure": "API_ERROR",
    "UpstreamNotConfigured": "API_ERROR",
    "UpstreamNotFound": "NOT_FOUND",
    "UpstreamRejected": "VALIDATION_ERROR",
    "UpstreamTimeout": "TIMEOUT",
    "RetryDeadlineExceeded": "TIMEOUT",
    "DatabaseUnavailable": "API_ERROR",
    "InvalidCursor": "VALIDATION_ERROR",
    "RateLimitExceeded": "RATE_LIMITED",
    "RedisUnavailable": "API_ERROR",
}


def test_the_middleware_is_in_this_order() -> None:
    layers = [layer for chain in mcp.middleware for layer in getattr(chain, "layers", [])]
    names = [type(layer).__name__ for layer in layers]
    own = [name for name in names if name in MIDDLEWARE]
    assert own == [name for name in MIDDLEWARE if name in own]
    assert set(MIDDLEWARE) - set(own) <= OPTIONAL


def test_each_kind_of_failure_has_its_code() -> None:
    codes: dict[type[Exception], Any] = getattr(composition, "CODES", {})
    assert {kind.__name__: str(code) for kind, code in codes.items()} == {
        kind.__name__: CODES[kind.__name__] for kind in codes
    }


async def test_a_readiness_probe_reads_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe comes every second, and reading settings means reading files."""
    nowhere = "postgresql://127.0.0.1:1/none"
    monkeypatch.setenv("DATABASE_URL", nowhere)
    monkeypatch.setenv("STATE_URL", nowhere)
    read: list[str] = []

    def record(settings: Settings, **_: object) -> None:
        read.append(type(settings).__name__)

    async with Client(mcp):
        with monkeypatch.context() as patched:
            patched.setattr(Settings, "__init__", record)
            report = await readiness.report()
    assert "ok" not in report.checks.values()
    assert read == []
