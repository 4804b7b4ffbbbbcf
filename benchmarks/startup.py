"""Measure the CPU time to import the generated server as its command does, compared with importing FastMCP.

uv run python -m benchmarks.startup
"""

import sys

from .generated import generated_server
from .measure import compare, cpu_seconds, report

ROUNDS = 15
BAR = 1.15


def main() -> None:
    with generated_server() as source:

        def run(statement: str) -> float:
            return cpu_seconds([sys.executable, "-c", statement], PYTHONPATH=str(source))

        result = compare(
            lambda: run("from benchmarked.__main__ import load; load()"),
            lambda: run("from fastmcp import FastMCP"),
            ROUNDS,
        )
    report("import, CPU", "s", result, BAR)


if __name__ == "__main__":
    main()
