"""Many clients, and clients that disconnect: no client gets an error, and nothing leaks."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import Projects
from .fault_server import FaultServer, fault_server, hang
from .running import (
    ERAS,
    HANDSHAKE,
    MIB,
    PATIENCE_SECONDS,
    UNLIMITED,
    Running,
    headers_of,
    http_request,
    message,
    running,
    tool_call,
)

pytestmark = [pytest.mark.sweep, pytest.mark.matrix]

CALLS_OF_A_CLIENT = 4
ABANDONED = 300
# The limit for all 300 abandoned sessions together. `SPARE_FILES` may stay open for a short time.
LARGEST_GROWTH = 10 * MIB
LARGEST_GROWTH_UNDER_LOAD = 64 * MIB
SPARE_FILES = 20


@pytest.fixture(scope="module")
def upstream() -> Iterator[FaultServer]:
    with fault_server({"hanging": hang}) as server:
        yield server


@pytest.fixture(scope="module")
def server(
    projects: Projects, upstream: FaultServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    settings = {
        **UNLIMITED,
        "API_BASE_URL": upstream.url,
        "API_TIMEOUT_SECONDS": "50",
        "POOL_MAX_CONNECTIONS": "1000",
    }
    with running(projects("all"), tmp_path_factory.mktemp("home"), **settings) as started:
        yield started


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


async def one_client(server: Running, era: str, number: int) -> None:
    """Do what a typical client does: initialize, list tools, call."""
    greeting = "initialize" if era == HANDSHAKE else "server/discover"
    for method in (greeting, "tools/list"):
        asked = message(era, method)
        reply = await server.post(json.dumps(asked).encode(), headers_of(era, asked))
        assert reply.status == 200, reply
        assert reply.result, reply
    for length in range(1, CALLS_OF_A_CLIENT + 1):
        await server.good_call(era, "word " * length + str(number))


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("clients", [1, 8, 32, 128])
def test_no_client_gets_an_error_under_concurrent_load(server: Running, clients: int, era: str) -> None:
    async def sweep() -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(one_client(server, era, number) for number in range(clients)))

    asyncio.run(sweep())
    assert [line for line in server.log if '"level":"ERROR"' in line] == []


@pytest.mark.parametrize("era", ERAS)
def test_abandoned_sessions_leak_neither_memory_nor_open_files(server: Running, era: str) -> None:
    greeting = "initialize" if era == HANDSHAKE else "server/discover"
    hello = message(era, greeting)
    greeted = http_request(server.address, json.dumps(hello).encode(), headers_of(era, hello))
    greeted = greeted.replace(b"Connection: close\r\n", b"")

    async def abandon(number: int) -> None:
        """Open a session or send half a request, and disconnect without closing it."""
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(greeted if number % 3 else greeted[: len(greeted) // 2])
        await writer.drain()
        if number % 3:
            assert b" 200 " in await reader.readline()
        writer.transport.abort()

    async def sweep(number: int) -> None:
        await asyncio.gather(*(abandon(number) for number in range(number)))
        await server.good_call(era)

    files = server.open_files
    asyncio.run(sweep(ABANDONED // 3))  # warm up caches and pools
    before = server.memory
    asyncio.run(sweep(ABANDONED))
    asyncio.run(until(lambda: server.open_files <= files + SPARE_FILES))
    assert server.memory - before < LARGEST_GROWTH


@pytest.mark.parametrize("era", ERAS)
def test_the_calls_of_hundreds_of_disconnected_clients_are_cancelled(
    server: Running, upstream: FaultServer, era: str
) -> None:
    call = tool_call(era, "api_request", {"endpoint": f"hanging~{era}"})
    asked = http_request(server.address, json.dumps(call).encode(), headers_of(era, call))

    def cancelled() -> int:
        return sum('"outcome":"cancelled"' in line for line in server.log)

    async def sweep() -> None:
        before = cancelled()
        connections = [await asyncio.open_connection(server.host, server.port) for _ in range(ABANDONED)]
        for _, writer in connections:
            writer.write(asked)
        await until(lambda: upstream.attempts()[era] == ABANDONED)
        assert upstream.open_connections >= ABANDONED
        for _, writer in connections:
            writer.transport.abort()
        # A cancelled call closes its upstream connection. Otherwise it would stay open for 50 seconds.
        await until(lambda: upstream.open_connections == 0)
        await until(lambda: cancelled() - before == ABANDONED)
        await server.good_call(era)

    files, memory = server.open_files, server.memory
    asyncio.run(sweep())
    asyncio.run(until(lambda: server.open_files <= files + SPARE_FILES))
    assert server.memory - memory < LARGEST_GROWTH_UNDER_LOAD


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_worker_is_replaced_and_later_calls_succeed(projects: Projects, tmp_path: Path) -> None:
    state = {"STATE_URL": f"sqlite:///{tmp_path / 'state.db'}", **UNLIMITED}
    with running(projects("all"), tmp_path, "--workers", "3", **state) as server:
        server.logged("Application startup complete", times=3)
        workers = server.workers
        assert len(workers) == 3
        asyncio.run(count_to(server, 20))
        workers[0].send_signal(signal.SIGKILL)
        server.logged("Application startup complete", times=4)
        asyncio.run(count_to(server, 40))


@pytest.mark.skipif(sys.platform == "win32", reason="no process can be stopped there")
def test_a_worker_that_is_killed_while_it_hangs_is_replaced_at_once(
    projects: Projects, tmp_path: Path
) -> None:
    """The supervisor has asked it whether it is alive, and would wait a minute for the answer."""
    with running(projects("none"), tmp_path, "--workers", "2") as server:
        server.logged("Application startup complete", times=2)
        worker, _ = server.workers
        worker.suspend()
        time.sleep(1.5)  # the supervisor asks every half a second
        worker.kill()
        server.logged("died", seconds=PATIENCE_SECONDS / 2)
        server.logged("Application startup complete", times=3)


async def count_to(server: Running, last: int) -> None:
    """Increment one counter with twenty clients, ten in each era."""

    async def count(number: int) -> int:
        reply = await server.call(ERAS[number % 2], "increment_counter", {"name": "calls"})
        assert reply.status == 200, reply
        value: int = reply.result["structuredContent"]["value"]
        return value

    values = await asyncio.gather(*(count(number) for number in range(20)))
    assert sorted(values) == list(range(last - 19, last + 1))


# Calls a tool in each era, and prints how many modules each call has imported.
FIRST_CALLS = """
import asyncio, json, sys
import httpx2
from {package}.__main__ import app

async def main():
    served = app()
    transport = httpx2.ASGITransport(served)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        async with served._app.router.lifespan_context(served._app):
            for message in json.loads(sys.argv[1]):
                before = set(sys.modules)
                answer = await client.post("/mcp", json=message["body"], headers=message["headers"])
                assert '"words":3' in answer.text, answer.text
                print(len(set(sys.modules) - before))

asyncio.run(main())
"""


def test_the_first_call_of_an_era_does_not_wait_for_imports(projects: Projects) -> None:
    """FastMCP imports 400 modules for the first handshake-era session, which blocks all other calls."""
    project = projects("all")
    bodies = {era: tool_call(era, "process_data", {"text": "tea for two"}) for era in ERAS}
    calls = [{"body": body, "headers": headers_of(era, body)} for era, body in bodies.items()]
    ran = project.run("-c", FIRST_CALLS.format(package=project.package_name), json.dumps(calls))
    assert ran.returncode == 0, ran.stderr
    assert all(int(line) < 20 for line in ran.stdout.split()), ran.stdout
