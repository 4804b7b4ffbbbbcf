"""What do all patterns together add to one in-memory call, against a plain FastMCP tool?

uv run python -m benchmarks.call
"""

import importlib
import os
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import anyio
from fastmcp import Client, FastMCP

from .generated import generated_server, importable
from .measure import compare, report

ROUNDS = 15
CALLS = 200
BAR = 1.25
UNLIMITED = {"RATE_LIMIT_PER_MINUTE": "1000000000", "RATE_LIMIT_BURST": "1000000000"}


def plain_server(process_data: Callable[..., Any]) -> FastMCP[Any]:
    """Return a server with nothing around the same tool."""
    return FastMCP("plain", tools=[process_data])


async def measure() -> None:
    os.environ.update(UNLIMITED)
    with generated_server() as source, importable(source):
        server = importlib.import_module("benchmarked.server")
        logs = importlib.import_module("benchmarked.runtime.logs")
        json_lines = importlib.import_module("benchmarked.patterns.structured_logging").JsonLines
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            with redirect_stderr(nowhere):
                logs.configure_logging(json_lines())
            async with Client(server.mcp) as ours, Client(plain_server(server.process_data)) as plain:

                async def calls(client: Client[Any]) -> float:
                    start = time.process_time()
                    for _ in range(CALLS):
                        await client.call_tool("process_data", {"text": "tea for two"})
                    return (time.process_time() - start) / CALLS * 1000

                pairs = [(await calls(ours), await calls(plain)) for _ in range(ROUNDS + 1)]
    first, second = (iter([pair[side] for pair in pairs]) for side in (0, 1))
    report("one call, CPU", "ms", compare(lambda: next(first), lambda: next(second), ROUNDS), BAR)


def main() -> None:
    anyio.run(measure)


if __name__ == "__main__":
    main()
