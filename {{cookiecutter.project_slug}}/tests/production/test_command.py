"""The command: what it says on stdout and at its end, with an empty environment and a bad one."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .process import (
    HANDSHAKE,
    PATIENCE_SECONDS,
    bare_environment,
    call,
    message,
    stdio_server,
)

PACKAGE = "{{ cookiecutter.package_name }}"
TEA = {"text": "tea for two"}
COUNTED = {"words": 3, "lines": 1, "characters": 11}


@pytest.mark.checklist("empty-environment")
@pytest.mark.checklist("pure-stdout")
@pytest.mark.checklist("clean-exit-on-stdio")
@pytest.mark.checklist("cancelled-calls")
async def test_stdout_carries_nothing_but_protocol_and_the_end_of_stdin_ends_the_process(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with stdio_server(bare_environment(tmp_path)) as server:
        process = server.process
        assert process.stdin is not None
        assert process.stdout is not None
        server.send(message("initialize", 1, **HANDSHAKE))
        assert server.receive()["id"] == 1
        server.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        server.send(message("tools/list", 2))
        names = {tool["name"] for tool in server.receive()["result"]["tools"]}
        assert "process_data" in names
        server.send(call("process_data", 3, **TEA))
        assert server.receive()["result"]["structuredContent"] == COUNTED
        server.send(call("wait", 4, seconds=0, label="prints"))
        assert server.receive()["id"] == 4
        server.send(call("wait", 5, seconds=30, label="unwanted"))
        await server.logged("waiting: unwanted")
        cancelled = {"method": "notifications/cancelled", "params": {"requestId": 5}}
        server.send({"jsonrpc": "2.0", **cancelled})
        await server.logged("cancelled: unwanted")
        begin = time.monotonic()
        process.stdin.close()
        rest = process.stdout.read()
        assert await server.ended() == 0
        seconds = time.monotonic() - begin
        assert seconds < 2
        assert "result" not in rest
        await server.logged("resource closed")
    for stray in ("at import", "of a tool", "of a library"):
        assert f"stray output {stray}\n" in server.log
    record_property("clean-exit-on-stdio", f"end of stdin: exit 0 after {seconds:.1f} s")
    record_property("pure-stdout", "five messages, and nothing that was printed")
    record_property("empty-environment", "tools are listed, and answer")
    record_property("cancelled-calls", "cancelled when the client says so")


async def test_a_child_process_takes_no_message_away_and_writes_none(tmp_path: Path) -> None:
    with stdio_server(bare_environment(tmp_path)) as server:
        server.send(message("initialize", 0, **HANDSHAKE))
        server.receive()
        server.send(call("run_child", 1))
        await server.logged("a child\n")
        assert server.receive()["result"].get("structuredContent") == {"result": ""}
        for number in range(2, 10):
            server.send(message("ping", number))
        out, _ = server.process.communicate(timeout=PATIENCE_SECONDS)
        assert {json.loads(line)["id"] for line in out.splitlines()} == set(range(2, 10))


@pytest.mark.checklist("malformed-messages")
async def test_a_piped_script_gets_an_answer_to_every_line(tmp_path: Path) -> None:
    with stdio_server(bare_environment(tmp_path)) as server:
        half_a_character = call("process_data", 2, text="\ud83d")
        for line in (
            call("process_data", 1, **TEA) | {"params": []},
            half_a_character,
            {"jsonrpc": "2.0", "id": 3},
            [message("ping", 4)],
            message("initialize", 5, **HANDSHAKE),
            call("wait", 6, seconds=0.5, label="the last"),
        ):
            server.send(line)
        out, _ = server.process.communicate(timeout=PATIENCE_SECONDS)
        answers = {answer["id"]: answer for answer in map(json.loads, out.splitlines())}
        assert {number for number in answers if "error" in answers[number]} == {1, 2, 3, None}
        assert {number for number in answers if "result" in answers[number]} == {5, 6}
        assert server.process.returncode == 0


@pytest.mark.checklist("environment-configuration")
@pytest.mark.checklist("tool-deadlines")
def test_bad_settings_are_one_line_and_exit_code_2(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    line = refusal(tmp_path, "--transport", "http", "--port", "70000", TOOL_DEADLINE_SECONDS="60")
    assert "HTTP_PORT: " in line
    assert "TOOL_DEADLINE_SECONDS: " in line
    record_property("environment-configuration", "a bad port is one line and exit code 2")
    record_property("tool-deadlines", "60 seconds are refused at the start")


@pytest.mark.checklist("environment-configuration")
def test_a_bad_setting_of_fastmcp_is_one_line_too(tmp_path: Path) -> None:
    assert "FASTMCP_LOG_LEVEL: " in refusal(tmp_path, FASTMCP_LOG_LEVEL="nonsense")


def refusal(folder: Path, *flags: str, **variables: str) -> str:
    """Return the one line of a server that refuses to start, whatever the current folder holds."""
    (folder / ".env").write_bytes("FASTMCP_LOG_LEVEL=trace".encode("utf-16"))
    environment = bare_environment(folder, **variables)
    del environment["FASTMCP_ENV_FILE"]
    ended = subprocess.run(
        [sys.executable, "-m", PACKAGE, *flags],
        cwd=folder,
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr
