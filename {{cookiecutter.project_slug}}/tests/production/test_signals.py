"""Every way to end a process: calls in flight are answered, and nothing hangs."""

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from fastmcp import Client

from .process import (
    ACCEPT,
    GRACE_SECONDS,
    HANDSHAKE,
    MODERN_META,
    ServerProcess,
    bare_environment,
    call,
    message,
    shared_server,
    stdio_server,
)

# How a process ends that has closed everything after a signal.
CLEAN = {
    signal.SIGTERM: {0, 143, -signal.SIGTERM},
    signal.SIGINT: {0, 130, -signal.SIGINT},
}


@pytest.fixture
def server(request: pytest.FixtureRequest) -> ServerProcess:
    return shared_server(request)


@pytest.mark.checklist("graceful-shutdown")
@pytest.mark.parametrize("number", CLEAN)
async def test_calls_of_both_eras_are_answered_within_the_grace_period_and_cut_after_it(
    number: signal.Signals,
    server: ServerProcess,
    record_property: Callable[[str, object], None],
) -> None:
    async with (
        Client(f"{server.url}/mcp", mode="auto") as modern,
        Client(f"{server.url}/mcp", mode="legacy") as legacy,
    ):
        for client in (modern, legacy):  # they ask for schemas after a first answer otherwise
            await client.list_tools()
        calls = {
            label: asyncio.create_task(
                client.call_tool("wait", {"seconds": seconds, "label": label})
            )
            for label, client, seconds in (
                ("modern", modern, 0.5),
                ("legacy", legacy, 0.5),
                ("too long", modern, 30),
            )
        }
        for label in calls:
            await server.logged(f"waiting: {label}")
        begin = time.monotonic()
        server.process.send_signal(number)
        assert (await calls["modern"]).data == "done"
        assert (await calls["legacy"]).data == "done"
        code = await server.ended()
        seconds = time.monotonic() - begin
        await asyncio.gather(*calls.values(), return_exceptions=True)
    assert calls["too long"].exception() is not None
    await server.logged("The grace period is over")
    await server.logged("cancelled: too long")
    await server.logged("resource closed")
    await server.logged("Application shutdown complete")
    assert "Traceback" not in "".join(server.log)
    assert code in CLEAN[number]
    assert seconds < GRACE_SECONDS + 2
    record_property("observed", f"2 of 2 calls answered, exit {code} after {seconds:.1f} s")


@pytest.mark.checklist("graceful-shutdown")
async def test_a_second_signal_ends_the_process_at_once(server: ServerProcess) -> None:
    async with httpx2.AsyncClient() as client:
        stuck = call("wait", seconds=30, label="in the way")
        answer = asyncio.create_task(client.post(f"{server.url}/mcp", json=stuck, headers=ACCEPT))
        await server.logged("waiting: in the way")
        server.process.send_signal(signal.SIGTERM)
        await server.logged("Draining")
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == -signal.SIGTERM
        assert time.monotonic() - begin < GRACE_SECONDS / 2
        with pytest.raises(httpx2.HTTPError):
            await answer


@pytest.mark.checklist("graceful-shutdown")
async def test_a_client_that_keeps_sending_is_answered_until_the_server_closes_its_connection(
    request: pytest.FixtureRequest,
) -> None:
    server = shared_server(request, SHUTDOWN_DELAY_SECONDS="0.5")
    tea = call("process_data", text="tea")

    async def post(client: httpx2.AsyncClient) -> httpx2.Response:
        return await client.post(f"{server.url}/mcp", json=tea, headers=ACCEPT)

    async with httpx2.AsyncClient() as client, httpx2.AsyncClient() as newcomer:
        answers = [await post(client)]
        server.process.send_signal(signal.SIGTERM)
        await server.logged("Draining")
        answers.append(await post(newcomer))  # for the delay, all is as before
        while "close" not in answers[-1].headers.get("connection", ""):
            await asyncio.sleep(0.02)  # there is a rate limit
            answers.append(await post(client))
        with pytest.raises(httpx2.ConnectError):
            await post(client)
    assert len(answers) > 3
    assert all('"words":1' in answer.text for answer in answers)
    assert answers[-1].headers["connection"] == "close"  # and not `keep-alive` as well
    assert await server.ended() in CLEAN[signal.SIGTERM]


@pytest.mark.checklist("clean-exit-on-stdio")
@pytest.mark.parametrize("number", CLEAN)
async def test_one_signal_ends_a_process_on_stdio_with_a_call_in_flight(
    number: signal.Signals, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with stdio_server(bare_environment(tmp_path)) as server:
        stuck = call("wait", seconds=30, label="in the way")
        if number == signal.SIGTERM:
            stuck["params"]["_meta"] = MODERN_META
        else:
            server.send(message("initialize", 0, **HANDSHAKE))
            server.receive()
        server.send(stuck)
        await server.logged("waiting: in the way")
        begin = time.monotonic()
        server.process.send_signal(number)
        assert await server.ended() == 0
        seconds = time.monotonic() - begin
        await server.logged("resource closed")
    assert seconds < 2
    record_property("observed", f"exit 0 after {seconds:.1f} s")
