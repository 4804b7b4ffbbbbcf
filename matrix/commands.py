"""Runs commands of the proof."""

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple


class Ended(NamedTuple):
    """The exit code and the output of a command, and its CPU time in seconds."""

    code: int
    stdout: str
    stderr: str
    cpu: float


def run(command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> Ended:
    """Run a command in a folder, and measure its CPU time and not that of other children of this process."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stdout, stderr=stderr)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return Ended(process.returncode, text(stdout), text(stderr), usage.ru_utime + usage.ru_stime)


def text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode()
