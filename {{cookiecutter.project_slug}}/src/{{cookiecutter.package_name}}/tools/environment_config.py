"""Example of environment configuration: a resource that shows the settings in force."""

from typing import Any

from fastmcp.resources import resource

from ..patterns.environment_config import (
    describe_settings,
)


@resource("config://settings", title="Settings", mime_type="application/json")
async def config_settings() -> dict[str, Any]:
    """Every setting by the name of its variable; secrets are not shown."""
    return describe_settings()
