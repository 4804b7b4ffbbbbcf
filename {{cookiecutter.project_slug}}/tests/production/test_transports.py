"""Both transports, both protocol eras, from an empty environment."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
from fastmcp import Client
from fastmcp.client.transports import StdioTransport

from .process import PATIENCE_SECONDS, SLOW_SERVER, bare_environment, http_server, start

PACKAGE = "{{ cookiecutter.package_name }}"
ERAS = ["auto", "legacy"]


async def test_stdio_answers_with_an_empty_environment(tmp_path: Path) -> None:
    transport = StdioTransport(
        sys.executable,
        [SLOW_SERVER],
        env=bare_environment(tmp_path),
        keep_alive=False,
        log_file=tmp_path / "log",
    )
    async with Client(transport) as client:
        assert "process_data" in {tool.name for tool in await client.list_tools()}
        result = await client.call_tool("process_data", {"text": "tea for two"})
        assert result.structured_content == {"words": 3, "lines": 1, "characters": 11}
        assert (await client.call_tool("wait", {"seconds": 0})).data == "done"


def test_stdout_carries_nothing_but_protocol_and_the_end_of_stdin_ends_the_process(
    tmp_path: Path,
) -> None:
    messages: list[dict[str, Any]] = [
        {
            "method": "initialize",
            "id": 1,
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        },
        {"method": "notifications/initialized"},
        {"method": "tools/call", "id": 2, "params": {"name": "wait", "arguments": {"seconds": 0}}},
    ]
    with start(bare_environment(tmp_path)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for message in messages:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        process.stdin.flush()
        lines = [process.stdout.readline(), process.stdout.readline()]
        process.stdin.close()
        rest, log = process.stdout.read(), process.stderr.read()
        assert process.wait(PATIENCE_SECONDS) == 0
    assert [json.loads(line)["id"] for line in lines] == [1, 2]
    assert rest == ""
    assert "stray output at import" in log
    assert "stray output of a tool" in log
    assert "stray output of a library" in log


async def test_http_answers_in_both_eras_refuses_foreign_hosts_and_origins_and_ends_on_sigint(
    tmp_path: Path,
) -> None:
    async with http_server(bare_environment(tmp_path)) as (server, url):
        for era in ERAS:
            async with Client(f"{url}/mcp", mode=era) as client:
                result = await client.call_tool("process_data", {"text": "tea for two"})
                assert result.structured_content == {"words": 3, "lines": 1, "characters": 11}
        async with httpx2.AsyncClient() as client:
            for header, status in (("Host", 421), ("Origin", 403)):
                foreign = {header: "https://evil.example" if header == "Origin" else "evil.example"}
                response = await client.post(f"{url}/mcp", json={}, headers=foreign)
                assert response.status_code == status
        assert "POST /mcp" not in "".join(server.log)  # a line per request costs as much as a call
        if sys.platform == "win32":
            return  # there, a process cannot be sent this signal
        async with Client(f"{url}/mcp", mode="legacy") as client:
            await client.list_tools()  # it asks for schemas after a first answer otherwise
            call = asyncio.create_task(client.call_tool("wait", {"seconds": 1}))
            await server.logged("waiting")
            server.process.send_signal(signal.SIGINT)
            assert (await call).data == "done"
            assert await server.ended() in {0, -signal.SIGINT, 130}
            await server.logged("Application shutdown complete")


async def test_several_workers_serve_every_client_and_end_with_their_supervisor(
    tmp_path: Path,
) -> None:
    environment = bare_environment(tmp_path, STATE_URL=f"sqlite:///{tmp_path / 'state.db'}")
    async with http_server(environment, "--workers", "2") as (server, url):
        for era in ERAS:
            for _ in range(4):
                async with Client(f"{url}/mcp", mode=era) as client:
                    assert (await client.call_tool("process_data", {"text": "tea"})).data.words == 1
        server.process.kill()
        await server.logged("Application shutdown complete", times=2)


def test_bad_settings_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", PACKAGE, "--transport", "http", "--port", "70000"],
        env=bare_environment(tmp_path, TOOL_DEADLINE_SECONDS="60"),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert ended.returncode == 2
    assert "HTTP_PORT: " in ended.stderr
    assert "TOOL_DEADLINE_SECONDS: " in ended.stderr
    assert ended.stderr.count("\n") == 1
