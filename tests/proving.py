"""Proves the template in a separate process, while other tests run."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TextIO

from matrix.progress import Progress
from matrix.proof import Proof, prove
from matrix.template import Combination

from .combinations import DECLARATION

SHOWN_EVERY = 0.2


@dataclass(frozen=True)
class Proven:
    """A proof, and its wall-clock time in seconds."""

    proof: Proof
    seconds: float


@dataclass(frozen=True)
class Proving:
    """A running proof, and the file with its progress."""

    future: "Future[Proven]"
    shown: Path

    def wait(self, stream: TextIO) -> "Proven":
        """Write the progress to `stream` until the proof is finished, and return the result."""
        with self.shown.open(encoding="utf-8", newline="") as progress:
            while not self.future.done():
                stream.write(progress.read())
                stream.flush()
                time.sleep(SHOWN_EVERY)
            stream.write(progress.read())
        return self.future.result()


@contextmanager
def proving(
    combinations: list[Combination], folder: Path, *, dedup: bool, terminal: bool
) -> Iterator[Proving]:
    """Start proving `combinations` in an empty folder."""
    shown = folder / "progress"
    shown.touch()
    # Use a separate process, since the proof patches Cookiecutter, and tests change their environment.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        future = pool.submit(prove_here, combinations, folder, shown, dedup, terminal)
        yield Proving(future, shown)


def prove_here(
    combinations: list[Combination], folder: Path, shown: Path, dedup: bool, terminal: bool
) -> Proven:
    start = time.monotonic()
    with shown.open("a", encoding="utf-8", newline="") as stream:
        progress = Progress(stream, terminal=terminal)
        proof = prove(DECLARATION, combinations, folder, progress=progress, dedup=dedup)
    # The projects take gigabytes, and the tests only need the results.
    proof.trees.clear()
    proof.varied.clear()
    return Proven(proof, time.monotonic() - start)
