"""Engines that replicas share, for tests: from PATH, or from the dependency group `engines`.

Each runs on a free loopback port and in an empty folder. Without one, a test is skipped.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest

from .process import ServerProcess
from .servers import HTTP, PROBE_SERVER

START_SECONDS = 30
REPLICAS = 2


def find(names: Sequence[str], wheel: str, path: str, client: str) -> Path:
    """Return a program on PATH or in an installed wheel, or skip the test."""
    if importlib.util.find_spec(client) is None:
        skip(f"the package {client} is not installed")
    for name in names:
        if found := shutil.which(name):
            return Path(found)
    spec = importlib.util.find_spec(wheel)
    if spec is None or spec.origin is None:
        skip(f"{' or '.join(names)} is not on PATH")
    return Path(spec.origin).parent / path


def skip(reason: str) -> NoReturn:
    pytest.skip(f"{reason}: run `uv run --group engines pytest`")


@contextmanager
def engine(
    command: Sequence[object], folder: Path, answering: Callable[[], int], **options: Any
) -> Iterator[None]:
    """Run a program, and wait until `answering` returns the id of its process and no other."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*map(str, command)], cwd=folder, stdout=output, stderr=subprocess.STDOUT, **options
        )
    try:
        end = time.monotonic() + START_SECONDS
        while not answers(process, answering):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def answers(process: "subprocess.Popen[bytes]", answering: Callable[[], int]) -> bool:
    with suppress(OSError, ValueError, IndexError):
        return answering() == process.pid
    return False


@contextmanager
def empty_folder() -> Iterator[Path]:
    """Make a folder for another user, who cannot enter pytest's own folders."""
    folder = Path(tempfile.mkdtemp(dir=os.environ.get("TMPDIR", "/tmp")))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as unused:
        return int(unused.getsockname()[1])


@contextmanager
def replicas(home: Path, **variables: str) -> Iterator[list[ServerProcess]]:
    """Run servers with the same settings."""
    with ExitStack() as stack:
        started = [
            ServerProcess((*PROBE_SERVER, *HTTP), home, **variables) for _ in range(REPLICAS)
        ]
        for server in started:
            stack.callback(server.close)
        for server in started:
            server.wait_until_serving()
        yield started
