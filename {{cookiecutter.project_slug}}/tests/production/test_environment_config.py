"""The profile of its environment configures a server; an environment that is none is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .process import HANDSHAKE, PATIENCE_SECONDS, bare_environment, message, start, stdio_server

PACKAGE = "{{ cookiecutter.package_name }}"


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


@pytest.mark.checklist("environment-configuration")
def test_an_environment_that_is_none_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    environment = bare_environment(tmp_path, ENVIRONMENT="prod")
    with start(environment, program=("-m", PACKAGE)) as process:
        _, log = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2
    assert "ENVIRONMENT: " in log
    assert log.count("\n") == 1
