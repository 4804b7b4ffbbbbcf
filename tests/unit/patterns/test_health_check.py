"""Probes need no token, use the registry, and ignore process metrics."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from fastmcp import FastMCP
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from fastmcp.utilities.tests import asgi_server

from my_mcp_server.patterns.health_check import (
    add_probes,
    describe_health,
)
from my_mcp_server.runtime.readiness import (
    Readiness,
    Report,
    Status,
    readiness,
)

from ...patterns.test_health_check import crashing


async def test_probes_need_no_token() -> None:
    registry = Readiness()
    server = FastMCP[Any]("test", auth=StaticTokenVerifier({}))
    add_probes(server, registry)
    async with asgi_server(server, stateless_http=True) as http, http.http_client() as client:
        with registry.serving():
            probes = [(await client.get(path)).status_code for path in ("/livez", "/readyz")]
        call = await client.post("/mcp", json={})
    assert probes == [200, 200]
    assert call.status_code == 401


async def test_probes_use_the_registry_of_the_process_by_default() -> None:
    server = FastMCP[Any]("test")
    add_probes(server)
    with readiness.serving(), readiness.reporting("database", crashing):
        async with asgi_server(server) as http, http.http_client() as client:
            response = await client.get("/readyz")
    assert response.json()["checks"]["database"] == "ConnectionRefusedError"


@pytest.mark.parametrize("strict", ["true", "false"])
async def test_an_outage_is_unready_only_where_readiness_is_strict(
    strict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("READINESS_STRICT", strict)
    registry = Readiness()
    server = FastMCP[Any]("test")
    add_probes(server, registry)
    async with asgi_server(server) as http, http.http_client() as client:
        with registry.serving(), registry.reporting("database", crashing, has_passed=True):
            first = await client.get("/readyz")
            monkeypatch.delenv("READINESS_STRICT")  # settings are read once
            second = await client.get("/readyz")
    expected = (503, "unready") if strict == "true" else (200, "degraded")
    for response in (first, second):
        assert (response.status_code, response.json()["status"]) == expected


class BusyProcess(psutil.Process):
    """This process, with sixty years of CPU time and a pebibyte of memory."""

    def memory_info(self) -> Any:
        return SimpleNamespace(rss=2**50)

    def cpu_times(self) -> Any:
        return SimpleNamespace(user=10**9, system=10**9)

    @contextmanager
    def oneshot(self) -> Iterator[None]:
        yield


@pytest.mark.parametrize("status", ["starting", "ready", "unready", "draining"])
def test_a_busy_process_is_not_an_unhealthy_process(
    status: Status, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "Process", BusyProcess)
    health = describe_health(Report(status, {"database": "ok"}))
    assert health.process.memory_mib == 2**30
    assert health.process.cpu_seconds == 2 * 10**9
    assert (health.status, health.checks) == (status, {"database": "ok"})
