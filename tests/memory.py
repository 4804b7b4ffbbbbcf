"""Measures the peak memory of a process and its children."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

SECONDS = 2


@dataclass
class Peak:
    mebibytes: int = 0


@contextlib.contextmanager
def peak_of_this_process() -> Iterator[Peak]:
    """Measure every two seconds. The peak is 0 if the system does not report proportional memory (only Linux does)."""
    peak = Peak()
    ended = threading.Event()

    def watch() -> None:
        process = psutil.Process()
        while not ended.wait(SECONDS):
            share = sum(map(proportional_share, [process, *process.children(recursive=True)]))
            peak.mebibytes = max(peak.mebibytes, share // 1024)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def proportional_share(process: psutil.Process) -> int:
    """Return the proportional set size of a process in KiB, or 0 if it has exited or the system does not report it."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
