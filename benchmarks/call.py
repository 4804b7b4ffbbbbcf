"""Measure what all patterns together add to one in-memory call, compared with a plain FastMCP tool.

uv run python -m benchmarks.call            half a minute
uv run python -m benchmarks.call --layers   also shows where the time of the generated server goes
"""

import importlib
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import anyio
from fastmcp import Client, FastMCP

from .generated import generated_server, importable
from .limits import IN_MEMORY
from .measure import Comparison, report

MODES: tuple[Literal["auto", "legacy"], ...] = ("auto", "legacy")
# Short turns, so that other load on the machine affects both sides of a round.
ROUNDS = 80
CALLS = 25
WARM_UP = 3
UNLIMITED = {"RATE_LIMIT_PER_MINUTE": "1000000000", "RATE_LIMIT_BURST": "1000000000"}
REST = "FastMCP and the tool"

Layers = dict[str, float]


def plain_server(process_data: Callable[..., Any]) -> FastMCP[Any]:
    """Return a server with only the same tool."""
    return FastMCP("plain", tools=[process_data])


@contextmanager
def loaded() -> Iterator[ModuleType]:
    """Yield the module of the generated server, which logs to the null device."""
    os.environ.update(UNLIMITED)
    with generated_server() as source, importable(source):
        server = importlib.import_module("benchmarked.server")
        logs = importlib.import_module("benchmarked.runtime.logs")
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            with redirect_stderr(nowhere):
                logs.configure_logging(server.mcp.log_format)
            yield server


async def call(client: Client[Any]) -> None:
    await client.call_tool("process_data", {"text": "tea for two"})


async def compare(server: ModuleType, mode: Literal["auto", "legacy"]) -> Comparison:
    async def turn(client: Client[Any]) -> float:
        start = time.process_time()
        for _ in range(CALLS):
            await call(client)
        return (time.process_time() - start) / CALLS * 1000

    plain_mcp = plain_server(server.process_data)
    async with Client(server.mcp, mode=mode) as ours, Client(plain_mcp, mode=mode) as plain:
        pairs = [(await turn(ours), await turn(plain)) for _ in range(WARM_UP + ROUNDS)][WARM_UP:]
    return Comparison(
        statistics.median(first for first, _ in pairs),
        statistics.median(second for _, second in pairs),
        statistics.median(first / second for first, second in pairs),
    )


async def time_layers(server: ModuleType) -> Layers:
    """Return the median microseconds per call in each hook of the chain, and in FastMCP and the tool."""
    chain = server.mcp.middleware[0]
    hooks = chain._requests["tools/call"]  # innermost first
    names = [REST, *(hook.__qualname__.removesuffix(".on_request") for hook in hooks)]
    entered: list[float] = []
    left: list[float] = []

    async def probe(context: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        entered.append(time.perf_counter())
        try:
            return await call_next(context)
        finally:
            left.append(time.perf_counter())

    chain._requests["tools/call"] = [probe, *(part for hook in hooks for part in (hook, probe))]
    spent: dict[str, list[float]] = {name: [] for name in names}
    async with Client(server.mcp) as client:
        for _ in range(ROUNDS * CALLS):
            entered.clear()
            left.clear()
            await call(client)
            total = [end - start for start, end in zip(reversed(entered), left, strict=True)]
            for name, all_of_it, below in zip(names, total, [0.0, *total], strict=False):
                spent[name].append(all_of_it - below)
    return {name: statistics.median(times) * 1e6 for name, times in reversed(spent.items())}


def measure() -> tuple[dict[str, Comparison], Layers]:
    """Compare both protocol eras, and time the layers."""

    async def run() -> tuple[dict[str, Comparison], Layers]:
        eras: dict[str, Comparison] = {mode: await compare(server, mode) for mode in MODES}
        return eras, await time_layers(server)

    with loaded() as server:
        return anyio.run(run)


def main() -> None:
    comparisons, layers = measure()
    for mode, comparison in comparisons.items():
        report(f"one call, CPU, mode={mode}", "ms", comparison, IN_MEMORY)
    if "--layers" in sys.argv[1:]:
        for name, microseconds in layers.items():
            print(f"{microseconds:7.1f} us  {name}")


if __name__ == "__main__":
    main()
