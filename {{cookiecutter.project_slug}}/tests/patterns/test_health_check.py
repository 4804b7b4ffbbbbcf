"""Alive and fit for traffic are two questions; the host's figures answer neither."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from fastmcp import Client, FastMCP
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier
from fastmcp.utilities.tests import asgi_server

from {{ cookiecutter.package_name }}.patterns.health_check import (
    add_probes,
    describe_health,
)
from {{ cookiecutter.package_name }}.runtime.errors import (
    ToolFailure,
)
from {{ cookiecutter.package_name }}.runtime.readiness import (
    Readiness,
    Report,
    Status,
    readiness,
)
from {{ cookiecutter.package_name }}.tools.health_check import (
    health_status,
)


async def passing() -> None:
    """A check that passes."""


async def crashing() -> None:
    raise ConnectionRefusedError("postgres://admin:hunter2@10.0.0.1")


async def refusing() -> None:
    raise ToolFailure("API_BASE_URL is not set.")


async def probe(path: str, registry: Readiness) -> tuple[int, Any]:
    """Return the status and the body of a probe's answer."""
    server = FastMCP[Any]("test")
    add_probes(server, registry)
    async with asgi_server(server, stateless_http=True) as http, http.http_client() as client:
        response = await client.get(path)
    return response.status_code, response.json()


async def test_a_process_is_alive_while_its_checks_fail() -> None:
    registry = Readiness()
    registry.register("database", crashing)
    with registry.serving():
        assert await probe("/livez", registry) == (200, {"status": "alive"})


async def test_liveness_runs_no_check() -> None:
    runs: list[str] = []

    async def check() -> None:
        runs.append("database")

    registry = Readiness()
    registry.register("database", check)
    with registry.serving():
        await probe("/livez", registry)
        assert runs == []
        await probe("/readyz", registry)
        assert runs == ["database"]


async def test_a_process_whose_checks_pass_gets_traffic() -> None:
    registry = Readiness()
    registry.register("database", passing)
    with registry.serving():
        status, body = await probe("/readyz", registry)
    assert (status, body) == (200, {"status": "ready", "checks": {"database": "ok"}})


async def test_one_failing_check_ends_the_traffic_and_is_named_without_secrets() -> None:
    registry = Readiness()
    registry.register("api", refusing)
    registry.register("cache", passing)
    registry.register("database", crashing)
    with registry.serving():
        status, body = await probe("/readyz", registry)
    assert status == 503
    assert body == {
        "status": "unready",
        "checks": {
            "api": "API_BASE_URL is not set.",
            "cache": "ok",
            "database": "ConnectionRefusedError",
        },
    }


async def test_a_process_that_starts_or_drains_is_alive_and_gets_no_traffic() -> None:
    registry = Readiness()
    assert await probe("/readyz", registry) == (503, {"status": "starting", "checks": {}})
    assert (await probe("/livez", registry))[0] == 200
    registry.drain()
    with registry.serving():
        assert await probe("/readyz", registry) == (503, {"status": "draining", "checks": {}})
        assert (await probe("/livez", registry))[0] == 200


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


async def test_a_server_answers_for_the_whole_process_unless_told_otherwise() -> None:
    server = FastMCP[Any]("test")
    add_probes(server)
    with readiness.serving(), readiness.reporting("database", crashing):
        async with asgi_server(server) as http, http.http_client() as client:
            response = await client.get("/readyz")
    assert response.json()["checks"]["database"] == "ConnectionRefusedError"


async def test_the_resource_shows_people_the_verdict_and_the_process() -> None:
    server = FastMCP[Any]("test")
    server.add_resource(health_status)
    with readiness.serving(), readiness.reporting("database", crashing):
        async with Client(server) as client:
            (content,) = await client.read_resource("health://status")
    assert content.mime_type == "application/json"
    health = json.loads(content.text)
    assert health["status"] == "unready"
    assert health["checks"]["database"] == "ConnectionRefusedError"
    assert health["process"].keys() == {"uptime_seconds", "memory_mib", "cpu_seconds", "threads"}
    assert all(figure > 0 for figure in health["process"].values())
    assert "hunter2" not in content.text


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
def test_a_busy_process_is_no_ill_process(status: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "Process", BusyProcess)
    health = describe_health(Report(status, {"database": "ok"}))
    assert health.process.memory_mib == 2**30
    assert health.process.cpu_seconds == 2 * 10**9
    assert (health.status, health.checks) == (status, {"database": "ok"})
