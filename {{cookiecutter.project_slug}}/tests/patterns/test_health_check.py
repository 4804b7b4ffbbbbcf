"""Liveness and readiness are separate probes."""

from typing import Any

from fastmcp import FastMCP
from fastmcp.utilities.tests import asgi_server

from {{ cookiecutter.package_name }}.patterns.health_check import (
    add_probes,
)
from {{ cookiecutter.package_name }}.runtime.errors import (
    ToolFailure,
)
from {{ cookiecutter.package_name }}.runtime.readiness import (
    Readiness,
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


async def test_a_process_is_ready_while_its_checks_pass() -> None:
    registry = Readiness()
    registry.register("database", passing)
    with registry.serving():
        status, body = await probe("/readyz", registry)
    assert (status, body) == (200, {"status": "ready", "checks": {"database": "ok"}})


async def test_a_failing_check_makes_the_server_unready_and_is_named_without_secrets() -> None:
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


async def test_a_starting_or_draining_process_is_alive_but_not_ready() -> None:
    registry = Readiness()
    assert await probe("/readyz", registry) == (503, {"status": "starting", "checks": {}})
    assert (await probe("/livez", registry))[0] == 200
    registry.drain()
    with registry.serving():
        assert await probe("/readyz", registry) == (503, {"status": "draining", "checks": {}})
        assert (await probe("/livez", registry))[0] == 200
