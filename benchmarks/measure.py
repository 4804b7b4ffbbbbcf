"""Compare two actions in one run, alternating, so that a slower machine affects both."""

import os
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

TEMPLATE = Path(__file__).parents[1]


class Comparison(NamedTuple):
    """The medians of both actions, and the median of the pairwise ratios."""

    first: float
    second: float
    ratio: float


def compare(first: Callable[[], float], second: Callable[[], float], rounds: int) -> Comparison:
    """Measure both actions `rounds` times, after one warm-up round."""
    first()
    second()
    pairs = [(first(), second()) for _ in range(rounds)]
    return Comparison(
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


def cpu_seconds(command: list[str], cwd: Path | None = None, **variables: str) -> float:
    """Run a command, and return the CPU time of it and its children, in seconds."""
    before = os.times()
    subprocess.run(command, cwd=cwd, env={**os.environ, **variables}, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def wall_seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def report(title: str, unit: str, comparison: Comparison, bar: float) -> None:
    """Print the result on one line. `bar` is the largest allowed ratio."""
    verdict = "holds" if comparison.ratio <= bar else "MISSED"
    print(
        f"{title}: {comparison.first:.4g} {unit} against {comparison.second:.4g} {unit},"
        f" ratio {comparison.ratio:.2f} (at most {bar}): {verdict}"
    )
