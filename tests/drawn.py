"""Combinations of all options, others with every commit, that are compared with the real Cookiecutter."""

import functools
import random
import subprocess

from matrix.template import Combination

from .combinations import DECLARATION, TEMPLATE

COUNT = 64
FIXED = "a fixed seed, since there is no git repository"


@functools.cache
def source() -> str:
    """Return what the combinations are drawn from: the commit, or a fixed text where there is none."""
    run = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=TEMPLATE, capture_output=True, text=True, check=False
    )
    return f"commit {run.stdout.strip()}" if run.returncode == 0 else FIXED


def draw() -> list[tuple[Combination, Combination]]:
    """Return combinations, each with a variation; all differ."""
    generator = random.Random(source())
    every = [(one, other) for one in DECLARATION.combinations() for other in DECLARATION.variations]
    return generator.sample(every, COUNT)
