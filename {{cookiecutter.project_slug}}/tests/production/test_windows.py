"""Ctrl-Break, the one signal that a process on Windows can be sent: it closes what is open."""

from pathlib import Path

import pytest
from fastmcp import Client

from .process import (
    HANDSHAKE,
    STOP,
    ServerProcess,
    bare_environment,
    call,
    message,
    shared_server,
    stdio_server,
)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> ServerProcess:
    return shared_server(request)


@pytest.mark.checklist("graceful-shutdown")
async def test_ctrl_break_ends_a_process_on_http_after_it_has_closed_everything(
    server: ServerProcess,
) -> None:
    async with Client(f"{server.url}/mcp") as client:
        await client.call_tool("wait", {"seconds": 0, "label": "before"})
    server.process.send_signal(STOP)
    await server.ended()
    await server.logged("Draining")
    await server.logged("resource closed")
    await server.logged("Application shutdown complete")


@pytest.mark.checklist("clean-exit-on-stdio")
async def test_ctrl_break_ends_a_process_on_stdio(tmp_path: Path) -> None:
    with stdio_server(bare_environment(tmp_path)) as server:
        server.send(message("initialize", 0, **HANDSHAKE))
        server.receive()
        server.send(call("wait", seconds=30, label="in the way"))
        await server.logged("waiting: in the way")
        server.process.send_signal(STOP)
        assert await server.ended() == 0
        await server.logged("resource closed")
