"""Answer probes: is the process alive, and is it fit for traffic?

An MCP resource cannot be probed by a load balancer, and a check that opens connections, or that
counts a busy CPU as illness, restarts healthy servers. Liveness touches nothing; readiness runs
the checks of what is open. The host's figures are information for people, and no part of the
verdict.
"""

import time
from typing import Any

from fastmcp import FastMCP
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..runtime.readiness import Readiness, Report, readiness

HTTP_OK = 200
HTTP_SERVICE_UNAVAILABLE = 503


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
    """Serve `GET /livez`, always 200, and `GET /readyz`, 200 or 503, with no need of a token."""

    @server.custom_route("/livez", methods=["GET"])
    async def livez(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    @server.custom_route("/readyz", methods=["GET"])
    async def readyz(_: Request) -> Response:
        report = await registry.report()
        return JSONResponse(
            {"status": report.status, "checks": report.checks},
            status_code=HTTP_OK if report.status == "ready" else HTTP_SERVICE_UNAVAILABLE,
        )


def describe_health(report: Report) -> Health:
    """Add the process's own figures to a readiness report."""
    import psutil  # noqa: PLC0415 - only this is in need of it

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
