"""The whole log is JSON lines, from the first to the last, with one record a call and no values."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fastmcp import Client

from .process import ERAS, bare_environment, http_server

PACKAGE = "{{ cookiecutter.package_name }}"


@pytest.mark.checklist("logging")
async def test_every_line_is_json_and_every_call_is_one_record_without_its_values(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with http_server(bare_environment(tmp_path), program=("-m", PACKAGE)) as server:
        for era in ERAS:
            async with Client(f"{server.url}/mcp", mode=era) as client:
                await client.call_tool("process_data", {"text": "canary"})
                await client.call_tool_mcp("process_data", {"text": 7, "token": "canary"})
        server.process.terminate()
        await server.ended()
    records = [json.loads(line) for line in server.log]
    assert {"level", "logger", "message", "timestamp"} <= set.intersection(*map(set, records))
    assert "uvicorn.error" in {record["logger"] for record in records}
    calls = [record for record in records if record["message"] == "tool call"]
    told = [(record["outcome"] == "ok", record["arguments"]) for record in calls]
    assert told == [(True, ["text"]), (False, ["text", "token"])] * len(ERAS)
    assert "canary" not in "".join(server.log)
    record_property("observed", f"{len(records)} lines of JSON, {len(calls)} calls")
