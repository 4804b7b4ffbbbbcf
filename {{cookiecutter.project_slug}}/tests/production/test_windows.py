"""Ctrl-Break, the only signal for a process on Windows, closes everything."""

import pytest

from .process import STOP, ServerProcess, call


@pytest.mark.ends_server
@pytest.mark.checklist("graceful-shutdown")
async def test_ctrl_break_ends_a_process_on_http_after_closing_everything(
    server: ServerProcess,
) -> None:
    async with server.client() as client:
        await client.call_tool("probe_wait", {"seconds": 0, "label": "before"})
    server.process.send_signal(STOP)
    await server.ended()
    for line in ("Draining", "resource closed", "Application shutdown complete"):
        await server.logged(line)


@pytest.mark.checklist("clean-exit-on-stdio")
async def test_ctrl_break_ends_a_process_on_stdio(stdio_server: ServerProcess) -> None:
    stdio_server.greet()
    stdio_server.send(call("probe_wait", seconds=30, label="in the way"))
    await stdio_server.logged("waiting: in the way")
    stdio_server.process.send_signal(STOP)
    assert await stdio_server.ended() == 0
    await stdio_server.logged("resource closed")
