"""The profile of its environment configures a server."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .process import HANDSHAKE, bare_environment, message, stdio_server


@pytest.mark.checklist("environment-configuration")
async def test_a_profile_takes_effect_and_a_variable_is_stronger(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chosen = {"ENVIRONMENT": "production", "SHUTDOWN_GRACE_SECONDS": "5"}
    with stdio_server(bare_environment(tmp_path, **chosen)) as server:
        server.send(message("initialize", 1, **HANDSHAKE))
        server.receive()
        server.send(message("resources/read", 2, uri="config://settings"))
        (content,) = server.receive()["result"]["contents"]
    settings = json.loads(content["text"])
    assert settings["TOOL_DEADLINE_SECONDS"] == 30
    assert settings["SHUTDOWN_GRACE_SECONDS"] == 5
    record_property("observed", "production: TOOL_DEADLINE_SECONDS is 30")
