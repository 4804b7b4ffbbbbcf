"""The command: its output and exit code, with an empty and an invalid environment."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from {{ cookiecutter.package_name }} import (
    __version__,
)
from {{ cookiecutter.package_name }}.__main__ import (
    COMMAND,
)

from .process import PATIENCE_SECONDS, ServerProcess, bare_environment, call, message
from .servers import PLAIN_SERVER


@pytest.mark.checklist("empty-environment")
@pytest.mark.checklist("pure-stdout")
@pytest.mark.checklist("clean-exit-on-stdio")
@pytest.mark.checklist("cancelled-calls")
async def test_stdout_has_only_protocol_messages_and_the_process_ends_with_stdin(
    stdio_server: ServerProcess, record_property: Callable[[str, object], None]
) -> None:
    server = stdio_server
    assert server.process.stdin is not None
    assert server.process.stdout is not None
    server.greet()
    server.send(message("tools/list", 1))
    assert "probe_echo" in {tool["name"] for tool in server.receive()["result"]["tools"]}
    server.send(call("probe_echo", 2, text="tea"))
    assert server.receive()["result"]["structuredContent"] == {"result": "tea"}
    server.send(call("probe_wait", 3, seconds=0, label="prints"))
    assert server.receive()["id"] == 3
    server.send(call("probe_wait", 4, seconds=30, label="unwanted"))
    await server.logged("waiting: unwanted")
    cancelled = {"method": "notifications/cancelled", "params": {"requestId": 4}}
    server.send({"jsonrpc": "2.0", **cancelled})
    await server.logged("cancelled: unwanted")
    begin = time.monotonic()
    server.process.stdin.close()
    rest = server.process.stdout.read()
    assert await server.ended() == 0
    seconds = time.monotonic() - begin
    assert seconds < 2
    assert "result" not in rest
    await server.logged("resource closed")
    for stray in ("at import", "of a tool", "of a library"):
        assert f"stray output {stray}\n" in server.log
    record_property("clean-exit-on-stdio", f"end of stdin: exit 0 after {seconds:.1f} s")
    record_property("pure-stdout", "four messages, and nothing that was printed")
    record_property("empty-environment", "tools are listed, and answer")
    record_property("cancelled-calls", "cancelled when the client says so")


@pytest.mark.serving("--transport", "http", "--port", "70000", TOOL_DEADLINE_SECONDS="60")
@pytest.mark.checklist("environment-configuration")
@pytest.mark.checklist("tool-deadlines")
async def test_invalid_settings_are_one_line_and_exit_code_2(
    stdio_server: ServerProcess, record_property: Callable[[str, object], None]
) -> None:
    assert await stdio_server.ended() == 2
    (line,) = [text for text in stdio_server.log if not text.startswith("stray output")]
    assert "HTTP_PORT: " in line
    assert "TOOL_DEADLINE_SECONDS: " in line
    record_property("environment-configuration", "a bad port is one line and exit code 2")
    record_property("tool-deadlines", "60 seconds are refused at the start")


@pytest.mark.checklist("environment-configuration")
def test_an_invalid_setting_of_fastmcp_is_one_line_too(tmp_path: Path) -> None:
    ended = run_with_bad_settings(tmp_path)
    assert ended.returncode == 2, ended.stderr
    assert "FASTMCP_LOG_LEVEL: " in ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr


@pytest.mark.parametrize("flags", [["--version"], ["--port", "70000", "--version"]], ids=" ".join)
def test_the_version_is_printed_without_reading_settings(flags: list[str], tmp_path: Path) -> None:
    ended = run_with_bad_settings(tmp_path, *flags)
    assert ended.stderr == ""
    assert ended.stdout == f"{COMMAND} {__version__}\n"
    assert ended.returncode == 0


def test_the_help_names_every_flag_without_reading_settings(tmp_path: Path) -> None:
    ended = run_with_bad_settings(tmp_path, "--help")
    assert ended.stderr == ""
    for flag in ("--transport", "--host", "--port", "--workers", "--version"):
        assert flag in ended.stdout
    assert ended.returncode == 0


def run_with_bad_settings(folder: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a folder with a `.env` that nothing should read."""
    (folder / ".env").write_bytes("FASTMCP_LOG_LEVEL=trace".encode("utf-16"))
    environment = bare_environment(folder, FASTMCP_LOG_LEVEL="nonsense", HTTP_PORT="nonsense")
    del environment["FASTMCP_ENV_FILE"]
    return subprocess.run(
        [sys.executable, *PLAIN_SERVER, *flags],
        cwd=folder,
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
