"""The whole log is JSON lines, with one record per call and no values."""

import json
from typing import Any

import pytest

from .process import STOP, ServerProcess
from .report import Observe
from .wire import MODES


def records(server: ServerProcess) -> list[dict[str, Any]]:
    """Return the log, without what a probe has printed."""
    return [json.loads(line) for line in server.log if not line.startswith("stray output")]


@pytest.mark.checklist("logging")
async def test_every_call_is_one_record_without_its_values(
    server: ServerProcess, observe: Observe
) -> None:
    for mode in MODES:
        async with server.client(mode) as client:
            await client.call_tool("probe_echo", {"text": "a secret"})
            await client.call_tool_mcp("probe_echo", {"text": 7, "token": "a secret"})
    await server.logged('"token"', times=len(MODES))
    calls = [record for record in records(server) if record["message"] == "tool call"]
    own = calls[-2 * len(MODES) :]
    told = [(record["outcome"] == "ok", record["arguments"]) for record in own]
    assert told == [(True, ["text"]), (False, ["text", "token"])] * len(MODES)
    assert "a secret" not in "".join(server.log)
    observe(f"{len(own)} records of {len(own)} calls")


@pytest.mark.ends_server
@pytest.mark.checklist("logging")
async def test_every_line_is_json_from_the_first_to_the_last(
    plain_server: ServerProcess, observe: Observe
) -> None:
    plain_server.process.send_signal(STOP)
    await plain_server.ended()
    await plain_server.logged("Application shutdown complete")
    lines = [json.loads(line) for line in plain_server.log]
    assert {"level", "logger", "message", "timestamp"} <= set.intersection(*map(set, lines))
    assert "uvicorn.error" in {record["logger"] for record in lines}
    observe(f"{len(lines)} lines of JSON")
