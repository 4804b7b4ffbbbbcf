"""Replicas behind a proxy are restarted one after another while clients call, and no call fails."""

import asyncio
import itertools
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from .balancers import Proxy, nginx_before
from .conftest import Projects
from .running import ERAS, PATIENCE_SECONDS, UNLIMITED, Running
from .scaling.replicas import REPLICAS, Replicas, replicas_of

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.sweep,
    pytest.mark.skipif(sys.platform == "win32", reason="no process can be sent SIGTERM there"),
]

CLIENTS = 8
# Enough calls that each replica gets some over connections that the proxy kept open.
CALLS_BETWEEN = 40


@dataclass
class Calls:
    """Clients that make one call after another, and their results."""

    answered: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    running: bool = True

    async def loop(self, era: str, proxy: Running) -> None:
        while self.running:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await proxy.good_call(era)
            except Exception as error:  # any error is a failed call
                self.failed.append(f"{era}, port {proxy.port}: {error!r}")
            else:
                self.answered[f"{era}, port {proxy.port}"] += 1

    async def some_more(self) -> None:
        """Wait until every kind of client has made some calls."""
        before = self.answered.copy()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(count - before[kind] < CALLS_BETWEEN for kind, count in self.answered.items()):
                await asyncio.sleep(0.05)


async def roll(
    replicas: Replicas, ports: list[int], eras: tuple[str, ...] = ERAS, rolls: int = 1
) -> tuple[Calls, list[int]]:
    """Restart each replica while clients call through the proxies on `ports`. Return the calls and the exit codes."""
    calls, codes = Calls(), []
    kinds = list(itertools.product(eras, ports))
    proxies = {port: replace(replicas.servers[0], port=port) for port in ports}
    async with asyncio.TaskGroup() as clients:
        for era, port in itertools.islice(itertools.cycle(kinds), max(CLIENTS, len(kinds))):
            clients.create_task(calls.loop(era, proxies[port]))
        try:
            for _, index in itertools.product(range(rolls), range(REPLICAS)):
                await calls.some_more()
                codes.append(await asyncio.to_thread(replicas.restart, index))
            await calls.some_more()
        finally:
            calls.running = False
    return calls, codes


def test_no_call_fails_while_the_replicas_behind_a_proxy_are_restarted(
    projects: Projects, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        replicas = stack.enter_context(replicas_of(projects("none"), tmp_path, **UNLIMITED))
        upstreams = [server.port for server in replicas.servers]
        proxies = [stack.enter_context(nginx_before(upstreams, tmp_path))]

        async def measure() -> tuple[Calls, list[int]]:
            proxy = Proxy(upstreams)
            async with await asyncio.start_server(proxy.serve, "127.0.0.1") as server:
                own = server.sockets[0].getsockname()[1]
                seen = await roll(replicas, [own, *proxies])
            proxy.close()
            return seen

        calls, codes = asyncio.run(measure())
    assert calls.failed == []
    assert codes == [-15] * REPLICAS
    assert len(calls.answered) == len(ERAS) * (1 + len(proxies))
