"""Measure the CPU time of the proof per combination, compared with generating a project and running pytest in it.

uv run python -m benchmarks.combinations
"""

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from cookiecutter.main import cookiecutter

from matrix.proof import prove
from tests.combinations import DECLARATION

from .measure import TEMPLATE, Comparison, report

SAMPLE = 32
BAR = 1 / 15


def main() -> None:
    every = list(DECLARATION.combinations())
    sample = random.Random(0).sample(every, SAMPLE)
    with tempfile.TemporaryDirectory() as folder:
        before = total_cpu()
        proof = prove(DECLARATION, every, Path(folder))
        ours = (total_cpu() - before) / len(every)
        assert len(proof.green()) == len(every), "a combination is not green"
    before = total_cpu()
    for combination in sample:
        with tempfile.TemporaryDirectory() as folder:
            answers = DECLARATION.answers_for(combination)
            project = cookiecutter(str(TEMPLATE), no_input=True, output_dir=folder, extra_context=answers)
            subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
                cwd=project,
                env={**os.environ, "PYTHONPATH": str(Path(project, "src"))},
                check=True,
                stdout=subprocess.DEVNULL,
            )
    theirs = (total_cpu() - before) / SAMPLE
    report("a combination, CPU", "s", Comparison(ours, theirs, ours / theirs), BAR)


def total_cpu() -> float:
    """Return the CPU time of this process and its terminated children, in seconds."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    main()
