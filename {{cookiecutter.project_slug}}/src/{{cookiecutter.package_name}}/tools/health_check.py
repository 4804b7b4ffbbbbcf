"""Example of a health check: a resource that shows the state of the process."""

from typing import Any

from fastmcp.resources import resource

from ..patterns.health_check import (
    describe_health,
)
from ..runtime.readiness import readiness


@resource("health://status", title="Health", mime_type="application/json")
async def health_status() -> dict[str, Any]:
    """Readiness with its checks, and the process's memory, CPU time and threads."""
    return describe_health(await readiness.report()).model_dump()
