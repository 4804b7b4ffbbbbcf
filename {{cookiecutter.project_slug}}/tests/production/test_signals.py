"""Every way to end a process: calls in flight are answered, and nothing hangs."""

import asyncio
import signal
import time
from pathlib import Path

import httpx2
import pytest
from fastmcp import Client

from .process import PATIENCE_SECONDS, bare_environment, http_server, start

ENDED = {signal.SIGTERM: {0, -signal.SIGTERM, 143}, signal.SIGINT: {0, -signal.SIGINT, 130}}


@pytest.mark.parametrize(
    ("number", "era"),
    [(signal.SIGTERM, "auto"), (signal.SIGTERM, "legacy"), (signal.SIGINT, "legacy")],
)
async def test_a_call_in_flight_is_answered_before_the_process_ends(
    number: signal.Signals, era: str, tmp_path: Path
) -> None:
    async with (
        http_server(bare_environment(tmp_path)) as (server, url),
        Client(f"{url}/mcp", mode=era) as client,
    ):
        await client.list_tools()  # the client asks for schemas after a first answer otherwise
        call = asyncio.create_task(client.call_tool("wait", {"seconds": 1}))
        await server.logged("waiting")
        server.process.send_signal(number)
        assert (await call).data == "done"
        assert await server.ended() in ENDED[number]
        await server.logged("Application shutdown complete")


async def test_a_call_beyond_the_grace_period_is_cut(tmp_path: Path) -> None:
    environment = bare_environment(tmp_path, SHUTDOWN_GRACE_SECONDS="0.2")
    async with (
        http_server(environment) as (server, url),
        Client(f"{url}/mcp") as client,
    ):
        await client.list_tools()
        call = asyncio.create_task(client.call_tool("wait", {"seconds": 30}))
        await server.logged("waiting")
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() in ENDED[signal.SIGTERM]
        assert time.monotonic() - start < 2.2
        await asyncio.gather(call, return_exceptions=True)
        assert call.exception() is not None


async def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "wait", "arguments": {"seconds": 30}},
    }
    accept = {"Accept": "application/json, text/event-stream"}
    async with (
        http_server(bare_environment(tmp_path)) as (server, url),
        httpx2.AsyncClient() as client,
    ):
        call = asyncio.create_task(client.post(f"{url}/mcp", json=message, headers=accept))
        await server.logged("waiting")
        server.process.send_signal(signal.SIGTERM)
        await server.logged("Draining")
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == -signal.SIGTERM
        with pytest.raises(httpx2.HTTPError):
            await call


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_ends_a_process_on_stdio(number: signal.Signals, tmp_path: Path) -> None:
    with start(bare_environment(tmp_path)) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "Starting MCP server" in line)
        process.send_signal(number)
        assert process.wait(PATIENCE_SECONDS) == 0
