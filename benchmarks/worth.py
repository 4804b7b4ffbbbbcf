"""Measure the benefit of four patterns: calls with and without each of them, alternating.

uv run python -m benchmarks.worth
"""

import asyncio
import importlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import anyio

from .generated import generated_server, importable
from .measure import Comparison

ROUNDS = 9
CALLS = 100
BATCH = 32
WAIT_SECONDS = 0.005
UPSTREAM = """
import asyncio

ANSWER = b'HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: 11\\r\\n\\r\\n{"id": "1"}'

async def answer(reader, writer):
    try:
        while await reader.readuntil(b"\\r\\n\\r\\n"):
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()

async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""

Action = Callable[[], Awaitable[object]]
Clock = Callable[[], float]


class Worth(NamedTuple):
    """One row of the table."""

    what: str
    with_pattern: str
    without: str
    ratio: str


async def in_turns(first: Action, second: Action, clock: Clock, calls: int) -> Comparison:
    """Return the milliseconds per call of each action, alternating between them."""

    async def timed(action: Action) -> float:
        start = clock()
        for _ in range(calls):
            await action()
        return (clock() - start) / calls * 1000

    pairs = [(await timed(first), await timed(second)) for _ in range(ROUNDS + 1)][1:]
    return Comparison(
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


def line(what: str, comparison: Comparison) -> Worth:
    first, second, ratio = comparison
    found = Worth(what, f"{first:.3g} ms", f"{second:.3g} ms", f"{ratio:.2g}")
    print(": ".join([what, f"{found.with_pattern} against {found.without}, ratio {found.ratio}"]), flush=True)
    return found


@contextmanager
def upstream() -> Iterator[str]:
    """Serve an API in a separate process, and yield its URL."""
    with subprocess.Popen([sys.executable, "-c", UPSTREAM], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def measure() -> list[Worth]:
    """Measure pooling, caching, batches and retries in generated code."""
    with ExitStack() as stack:
        for answers in ({}, {"package_name": "unpooled", "connection_pooling": False}):
            stack.enter_context(importable(stack.enter_context(generated_server(**answers))))
        os.environ["API_BASE_URL"] = stack.enter_context(upstream())
        return asyncio.run(compare_all())


async def compare_all() -> list[Worth]:
    pooled = importlib.import_module("benchmarked.upstream")
    unpooled = importlib.import_module("unpooled.upstream")
    caching = importlib.import_module("benchmarked.patterns.caching")
    retry = importlib.import_module("benchmarked.patterns.retry")
    async with pooled.upstream_api() as api, unpooled.upstream_api() as plain_api, caching.cache() as cache:

        async def load() -> Any:
            return (await api.get_resource("resources", "1")).data

        get = partial(api.get, "users/1")
        retries = retry.retrier()
        return [
            line(
                "connection_pooling: a request to an API on the same machine, pooled and not (no TLS)",
                await in_turns(get, partial(plain_api.get, "users/1"), time.perf_counter, CALLS),
            ),
            line(
                "caching: a resource, kept and fetched from the same API through the pool",
                await in_turns(
                    lambda: cache.get_or_load(caching.cache_key("1"), load), load, time.perf_counter, CALLS
                ),
            ),
            line(
                f"parallel_processing: {BATCH} items that wait {WAIT_SECONDS * 1000:g} ms each, 8 at a time and one by one",
                await batches(),
            ),
            line(
                "retry: CPU of a request that succeeds, with retries ready and without",
                await in_turns(lambda: retries.run(get), get, time.process_time, CALLS),
            ),
        ]


async def batches() -> Comparison:
    parallel = importlib.import_module("benchmarked.patterns.parallel_processing")
    items = list(range(BATCH))

    async def wait(_item: int) -> None:
        await anyio.sleep(WAIT_SECONDS)

    async def one_by_one() -> None:
        for item in items:
            await wait(item)

    together = partial(parallel.process_in_parallel, wait, items, workers=8)
    return await in_turns(together, one_by_one, time.perf_counter, 1)


def main() -> None:
    measure()


if __name__ == "__main__":
    main()
