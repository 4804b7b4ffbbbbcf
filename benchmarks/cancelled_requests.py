"""Test whether a connection pool survives cancelled requests, which are common with MCP clients.

For each library: a pool of 5 connections, 150 requests, 30 at a time, each cancelled within 20 ms, then 5
normal ones. A pool is unusable if all of those fail. The number of unusable pools depends on timing.

    uv run python -m benchmarks.cancelled_requests
"""

import random
from types import ModuleType

import anyio
import httpx
import httpx2

TRIALS = 25
POOL = 5
CANCELLED = 150
AT_A_TIME = 30
LONGEST_SECONDS = 0.02
AFTERWARDS = 5
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


async def answer(stream: anyio.abc.SocketStream) -> None:
    """Answer every request of a connection after a short delay."""
    async with stream:
        try:
            while await stream.receive():
                await anyio.sleep(0.005)
                await stream.send(ANSWER)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass


async def pool_is_unusable(library: ModuleType, url: str, chance: random.Random) -> bool:
    """Cancel many requests; return whether all of a few later ones fail."""
    limits = library.Limits(max_connections=POOL)
    async with library.AsyncClient(limits=limits, timeout=library.Timeout(2, pool=0.5)) as client:
        turn = anyio.CapacityLimiter(AT_A_TIME)

        async def get_and_leave() -> None:
            async with turn:
                with anyio.move_on_after(chance.uniform(0, LONGEST_SECONDS)):
                    await client.get(url)

        async with anyio.create_task_group() as tasks:
            for _ in range(CANCELLED):
                tasks.start_soon(get_and_leave)
        for _ in range(AFTERWARDS):
            try:
                await client.get(url)
            except library.HTTPError:
                continue
            return False
    return True


async def main() -> None:
    async with anyio.create_task_group() as tasks:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(listener.serve, answer)
        for library in (httpx, httpx2):
            chance = random.Random(1)
            unusable = [
                await pool_is_unusable(library, f"http://127.0.0.1:{port}/", chance) for _ in range(TRIALS)
            ]
            print(f"{library.__name__} {library.__version__}: {sum(unusable)} of {TRIALS} pools unusable")
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    anyio.run(main)
