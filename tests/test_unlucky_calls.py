"""If a tool, resource or prompt fails, only its own request fails, within the deadline and with an error code.

All kinds of failure run concurrently: in a tool, a resource template and a prompt, as a coroutine and in a thread, on
both transports and in both protocol eras.
"""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport
from mcp import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS

from .conftest import Projects
from .project import Project
from .running import SERVING, UNLIMITED, Running, environment, port_in

pytestmark = [pytest.mark.sweep, pytest.mark.matrix]

PROGRAM = Path(__file__).with_name("unlucky_server.py")
DEADLINE = {"TOOL_DEADLINE_SECONDS": "2"}
# The hanging threads sleep for longer than this.
LATEST_SECONDS = 20

MASKED = {"cancelled", "exit", "interrupt", "own", "group", "unknown"}
IN_THREADS = [*sorted(MASKED), "hang", "failure", "long", "bad"]
IN_COROUTINES = [*IN_THREADS, "cancels-itself", "exit-in-a-task"]


def cases() -> list[tuple[str, str, str]]:
    ways = {"act": IN_COROUTINES, "act_in_a_thread": IN_THREADS}
    return [
        (kind, function, how)
        for kind in ("tool", "template", "prompt")
        for function, hows in ways.items()
        for how in hows
        if (kind, how) != ("tool", "long")  # tools shorten their own results
    ]


async def failure(client: Client[Any], kind: str, function: str, how: str) -> dict[str, Any]:
    """Make a call that fails, and return the error, for resources and prompts with its JSON-RPC code."""
    arguments = {"how": how, "number": "canary" if how == "bad" else "1"}
    if kind == "tool":
        result = await client.call_tool(function, arguments, raise_on_error=False)
        assert result.is_error, (function, how, result)
        content: dict[str, Any] = result.structured_content or {}
        error: dict[str, Any] = content["error"]
        return error
    try:
        if kind == "prompt":
            await client.get_prompt(function, arguments)
        else:
            await client.read_resource(f"unlucky://{function}/{how}/{arguments['number']}")
    except MCPError as error:
        return {"rpc": error.error.code, **error.error.data}
    raise AssertionError(f"{kind} {function} {how} has not failed")


def check(kind: str, function: str, how: str, error: dict[str, Any]) -> None:
    where = (kind, function, how, error)
    expected = "TIMEOUT" if how == "hang" else "VALIDATION_ERROR" if how == "bad" else "UNKNOWN"
    assert error["code"] == expected, where
    assert "canary" not in str(error), where
    if kind != "tool":
        assert error["rpc"] == (INVALID_PARAMS if how == "bad" else INTERNAL_ERROR), where
    if how == "hang":
        in_thread = function == "act_in_a_thread"
        assert "did not finish within 2 seconds." in error["message"], where
        assert ("may complete" in error["message"]) == in_thread, where
        assert error["retryable"] == (kind != "tool" and not in_thread), where
    elif how == "failure":
        assert (error["message"], error["retryable"]) == ("The kettle is empty.", True), where
        assert error["details"] == {"kettle": 1}, where
    elif how == "long":
        assert "bytes, more than the limit of 50000" in error["message"], where
    elif how == "bad":
        assert "number should be an integer" in error["message"], where
    else:
        assert error["details"]["error_id"] in error["message"], where


@asynccontextmanager
async def connected(
    project: Project, home: Path, transport: str, era: str
) -> AsyncIterator[tuple[Client[Any], Path]]:
    """Start the server, and yield a client and the path of the server's log."""
    variables = environment(project, home, RUN=project.package_name, **UNLIMITED, **DEADLINE)
    log = home / "log"
    if transport == "stdio":
        program = StdioTransport(
            sys.executable, [str(PROGRAM)], env=variables, cwd=str(home), log_file=log, keep_alive=False
        )
        async with Client(program, mode=era) as client:
            yield client, log
        return
    command = [sys.executable, str(PROGRAM), "--transport", "http", "--port", "0"]
    with subprocess.Popen(command, env=variables, cwd=home, stderr=subprocess.PIPE) as process:
        server = Running(process)
        thread = threading.Thread(target=server.follow)
        thread.start()
        try:
            port = port_in(await asyncio.to_thread(server.logged, SERVING))
            async with Client(f"http://127.0.0.1:{port}/mcp", mode=era) as client:
                yield client, log
                log.write_text("".join(server.log), encoding="utf-8")
        finally:
            process.kill()
            thread.join()


@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_every_failure_has_a_code_and_affects_only_its_own_request(
    projects: Projects, transport: str, era: str, tmp_path: Path
) -> None:
    async def calls() -> None:
        async with connected(projects("all"), tmp_path, transport, era) as (client, _):
            async with asyncio.timeout(LATEST_SECONDS):
                every = cases()
                errors = await asyncio.gather(*(failure(client, *case) for case in every))
                well = await client.call_tool("process_data", {"text": "tea for two"})
            for case, error in zip(every, errors, strict=True):
                check(*case, error)
            assert well.structured_content == {"words": 3, "lines": 1, "characters": 11}

    asyncio.run(calls())


@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.parametrize("transport", ["stdio", "http"])
def test_an_exception_in_user_middleware_is_masked_and_the_server_keeps_running(
    projects: Projects, transport: str, era: str, tmp_path: Path
) -> None:
    async def calls() -> list[str]:
        ids = []
        async with connected(projects("all"), tmp_path, transport, era) as (client, _):
            for how in sorted(MASKED):
                with pytest.raises(MCPError, match="An unexpected error occurred") as raised:
                    await client.call_tool("act", {"how": "", "outside": how})
                assert raised.value.error.code == INTERNAL_ERROR
                assert "canary" not in str(raised.value)
                ids.append(str(raised.value).rstrip(".").rpartition(" ")[2])
            assert (await client.call_tool("act", {"how": ""})).data == "x"
        return ids

    ids = asyncio.run(calls())
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert [error_id for error_id in ids if error_id not in log] == []
