"""Return the effective settings."""

from typing import Any

from {{ cookiecutter.package_name }}.patterns.environment_config import (
    describe_settings,
)


async def probe_settings() -> dict[str, Any]:
    return describe_settings()
