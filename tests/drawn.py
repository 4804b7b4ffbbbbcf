"""Draws random combinations of all options, different for every commit, to compare with the real Cookiecutter."""

import functools
import random
import subprocess

from matrix.template import Combination

from .combinations import DECLARATION, TEMPLATE

COUNT = 64
FIXED = "a fixed seed, since there is no git repository"


@functools.cache
def source() -> str:
    """Return the seed: the current commit, or a fixed text without a git repository."""
    run = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=TEMPLATE, capture_output=True, text=True, check=False
    )
    return f"commit {run.stdout.strip()}" if run.returncode == 0 else FIXED


def draw() -> list[tuple[Combination, Combination]]:
    """Return `COUNT` distinct pairs of a combination and a variation."""
    generator = random.Random(source())
    every, variations = list(DECLARATION.combinations()), DECLARATION.variations
    numbers = generator.sample(range(len(every) * len(variations)), COUNT)
    return [(every[number // len(variations)], variations[number % len(variations)]) for number in numbers]
