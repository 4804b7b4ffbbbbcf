"""Shutdown signals: in-flight calls are answered, and nothing hangs."""

import asyncio
import signal
import time

import pytest

from .process import ServerProcess, call
from .report import Observe
from .servers import GRACE_SECONDS
from .wire import ENVELOPE

# The exit code of a process that has closed everything after SIGTERM.
CLEAN = {0, 143, -signal.SIGTERM}


@pytest.mark.ends_server
@pytest.mark.checklist("graceful-shutdown")
async def test_calls_of_both_eras_are_answered_within_the_grace_period_and_cut_after_it(
    server: ServerProcess, observe: Observe
) -> None:
    async with server.clients() as (modern, legacy):
        for client in (modern, legacy):  # otherwise they request schemas after the first answer
            await client.list_tools()
        calls = {
            label: asyncio.create_task(
                client.call_tool("probe_wait", {"seconds": seconds, "label": label})
            )
            for label, client, seconds in (
                ("modern", modern, 0.4),
                ("legacy", legacy, 0.4),
                ("too long", modern, 30),
            )
        }
        for label in calls:
            await server.logged(f"waiting: {label}")
        earlier = len(server.log)  # of other tests, with failures of their own
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert (await calls["modern"]).data == "done"
        assert (await calls["legacy"]).data == "done"
        code = await server.ended()
        seconds = time.monotonic() - begin
        await asyncio.gather(*calls.values(), return_exceptions=True)
    assert calls["too long"].exception() is not None
    for line in ("The grace period is over", "cancelled: too long", "resource closed"):
        await server.logged(line)
    await server.logged("Application shutdown complete")
    assert "Traceback" not in "".join(server.log[earlier:])
    assert code in CLEAN
    assert seconds < GRACE_SECONDS + 2
    observe(f"2 of 2 calls answered, exit {code} after {seconds:.1f} s")


@pytest.mark.checklist("clean-exit-on-stdio")
async def test_one_signal_ends_a_process_on_stdio_with_a_call_in_flight(
    stdio_server: ServerProcess, observe: Observe
) -> None:
    stuck = call("probe_wait", seconds=30, label="in the way")
    stuck["params"]["_meta"] = ENVELOPE
    stdio_server.send(stuck)
    await stdio_server.logged("waiting: in the way")
    begin = time.monotonic()
    stdio_server.process.send_signal(signal.SIGTERM)
    assert await stdio_server.ended() == 0
    seconds = time.monotonic() - begin
    await stdio_server.logged("resource closed")
    assert seconds < 2
    observe(f"exit 0 after {seconds:.1f} s")
