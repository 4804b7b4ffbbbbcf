"""Shows the progress of a long run and the remaining time."""

import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TextIO

WIDTH = 30


@dataclass
class Progress:
    """A progress bar on a terminal. Otherwise, a line for every tenth of the work."""

    stream: TextIO = field(default_factory=lambda: sys.stderr)
    terminal: bool = False
    stage: str = ""
    total: int = 0
    done: int = 0
    started: float = 0
    shown: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, stage: str, total: int) -> None:
        self.end()
        self.stage, self.total, self.done, self.shown = stage, total, 0, -1
        self.started = time.monotonic()
        self.show()

    def step(self, count: int = 1) -> None:
        """Count finished work. Thread-safe."""
        with self._lock:
            self.done += count
            self.show()

    def end(self) -> None:
        if self.stage and self.terminal:
            self.stream.write("\n")
            self.stream.flush()
        self.stage = ""

    def show(self) -> None:
        share = self.done / self.total if self.total else 1
        grain = 1000 if self.terminal else 10
        if int(share * grain) == self.shown:
            return
        self.shown = int(share * grain)
        filled = "#" * int(share * WIDTH)
        text = f"{self.stage} [{filled:<{WIDTH}}] {share:.0%}{self.time_left(share)}"
        self.stream.write(f"\r{text:<100}" if self.terminal else f"{text}\n")
        self.stream.flush()

    def time_left(self, share: float) -> str:
        passed = time.monotonic() - self.started
        if share >= 1:
            return f", {passed:.0f} s"
        return f", {passed / share - passed:.0f} s left" if share > 0 else ""
