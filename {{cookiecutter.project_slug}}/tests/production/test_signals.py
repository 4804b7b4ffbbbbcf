"""Every way to end a process: calls in flight are answered, and nothing hangs."""

import asyncio
import signal
import time
from pathlib import Path

import httpx2
import pytest
from fastmcp import Client

from .process import PATIENCE_SECONDS, bare_environment, http_server, start

GRACE_SECONDS = 2


async def test_calls_of_both_eras_are_answered_within_the_grace_period_and_cut_after_it(
    tmp_path: Path,
) -> None:
    environment = bare_environment(tmp_path, SHUTDOWN_GRACE_SECONDS=str(GRACE_SECONDS))
    async with (
        http_server(environment) as (server, url),
        Client(f"{url}/mcp", mode="auto") as modern,
        Client(f"{url}/mcp", mode="legacy") as legacy,
    ):
        for client in (modern, legacy):  # they ask for schemas after a first answer otherwise
            await client.list_tools()
        in_modern_era, in_legacy_era, too_long = (
            asyncio.create_task(client.call_tool("wait", {"seconds": seconds}))
            for client, seconds in ((modern, 1), (legacy, 1), (modern, 30))
        )
        await server.logged("waiting", times=3)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert (await in_modern_era).data == "done"
        assert (await in_legacy_era).data == "done"
        assert await server.ended() in {0, -signal.SIGTERM, 143}
        assert time.monotonic() - start < GRACE_SECONDS + 2
        await server.logged("Application shutdown complete")
        await asyncio.gather(too_long, return_exceptions=True)
        assert too_long.exception() is not None


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
