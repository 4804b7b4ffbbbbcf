"""Measure the CPU time of rendering every combination of all options.

uv run python -m benchmarks.rendering
"""

import os
import tempfile
from pathlib import Path

from matrix.proof import render_all
from matrix.trees import Store
from tests.combinations import DECLARATION

LIMIT = 30


def main() -> None:
    every = list(DECLARATION.combinations())
    before = sum(os.times()[:4])
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        rendered = render_all(DECLARATION, every, store, lambda _: None)
    seconds = sum(os.times()[:4]) - before
    assert not [project for project in rendered.values() if isinstance(project, str)]
    verdict = "holds" if seconds <= LIMIT else "MISSED"
    count = DECLARATION.option_combinations
    print(f"rendering {count:,} option combinations, CPU: {seconds:.1f} s (at most {LIMIT}): {verdict}")


if __name__ == "__main__":
    main()
