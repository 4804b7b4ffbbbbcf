"""Answer probes: is the process alive, and can it serve calls?

A load balancer cannot read an MCP resource. A check that opens connections, or that treats a busy
CPU as a fault, restarts healthy servers. Liveness depends on nothing; readiness runs the checks
of the resources that are open. Process figures are for people and do not affect the verdict.
"""

import time
from functools import lru_cache
from typing import Any

from fastmcp import FastMCP
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..runtime.readiness import Readiness, Report, readiness
from ..settings import Settings

HTTP_OK = 200
HTTP_SERVICE_UNAVAILABLE = 503


class HealthCheckSettings(Settings):
    readiness_strict: bool = False


class ProcessFigures(BaseModel):
    uptime_seconds: float
    memory_mib: float
    cpu_seconds: float
    threads: int


class Health(BaseModel):
    status: str
    checks: dict[str, str]
    process: ProcessFigures


def add_probes(server: FastMCP[Any], registry: Readiness = readiness) -> None:
    """Serve `GET /livez`, always 200, and `GET /readyz`, 200 or 503, without authentication.

    Degraded is 200. With `READINESS_STRICT`, the outage of an engine that calls need is 503.
    """
    settings = lru_cache(HealthCheckSettings)  # read with the first probe

    @server.custom_route("/livez", methods=["GET"])
    async def livez(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    @server.custom_route("/readyz", methods=["GET"])
    async def readyz(_: Request) -> Response:
        report = await registry.report(strict=settings().readiness_strict)
        serves = report.status in ("ready", "degraded")
        return JSONResponse(
            {"status": report.status, "checks": report.checks},
            status_code=HTTP_OK if serves else HTTP_SERVICE_UNAVAILABLE,
        )


def describe_health(report: Report) -> Health:
    """Add the process's own figures to a readiness report."""
    import psutil  # noqa: PLC0415 - only used here

    process = psutil.Process()
    with process.oneshot():
        cpu = process.cpu_times()
        figures = ProcessFigures(
            uptime_seconds=round(time.time() - process.create_time(), 1),
            memory_mib=round(process.memory_info().rss / 2**20, 1),
            cpu_seconds=round(cpu.user + cpu.system, 2),
            threads=process.num_threads(),
        )
    return Health(status=report.status, checks=report.checks, process=figures)
