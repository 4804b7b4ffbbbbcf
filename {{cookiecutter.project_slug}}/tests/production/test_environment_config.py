"""The profile of `ENVIRONMENT` configures the server."""

import pytest

from .process import ServerProcess, call
from .report import Observe


@pytest.mark.serving(ENVIRONMENT="production", SHUTDOWN_GRACE_SECONDS="5")
@pytest.mark.checklist("environment-configuration")
def test_a_profile_takes_effect_and_a_variable_overrides_it(
    stdio_server: ServerProcess, observe: Observe
) -> None:
    stdio_server.greet()
    stdio_server.send(call("probe_settings"))
    settings = stdio_server.receive()["result"]["structuredContent"]
    assert settings["TOOL_DEADLINE_SECONDS"] == 30
    assert settings["SHUTDOWN_GRACE_SECONDS"] == 5
    observe("production: TOOL_DEADLINE_SECONDS is 30")
