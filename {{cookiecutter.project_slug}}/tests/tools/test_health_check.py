"""The example resource `health://status`."""

import json

from {{ cookiecutter.package_name }}.runtime.readiness import (
    readiness,
)

from ..client import McpClient


async def crashing() -> None:
    raise ConnectionRefusedError("postgres://admin:hunter2@10.0.0.1")


async def test_a_healthy_server_reports_its_process(client: McpClient) -> None:
    health = json.loads(await client.read("health://status"))
    assert health["status"] == "ready"
    assert health["process"].keys() == {"uptime_seconds", "memory_mib", "cpu_seconds", "threads"}
    assert all(figure > 0 for figure in health["process"].values())


async def test_a_failed_check_is_named_without_secrets(client: McpClient) -> None:
    with readiness.reporting("mail", crashing):
        text = await client.read("health://status")
    health = json.loads(text)
    assert health["status"] == "unready"
    assert health["checks"]["mail"] == "ConnectionRefusedError"
    assert "hunter2" not in text
