"""A process ends in time, although a thread of it hangs."""

import subprocess
import sys

import pytest

from my_mcp_server.runtime import (
    ending,
)

HANGING = f"""
import threading, time
from {ending.__name__} import leave, leave_within
threading.Thread(target=time.sleep, args=(60,)).start()
"""
TIDY = f"""
import atexit
from {ending.__name__} import leave
atexit.register(print, "closed")
"""
PATIENCE_SECONDS = 30


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("leave(3)", 3),
        ("leave_within(0.1, 4)\nleave_within(90, 5)", 4),
        ("leave_within(90, 5)\nleave_within(0.1, 4)", 4),
    ],
)
def test_a_process_with_a_thread_that_hangs_is_gone_and_says_so(end: str, code: int) -> None:
    ended = run(HANGING + end)
    assert ended.returncode == code
    assert "Exiting before the shutdown is complete: 1 threads still running" in ended.stderr


def test_a_process_without_one_ends_as_every_program_of_python() -> None:
    ended = run(TIDY + "leave(3)")
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "closed\n", "")


def run(program: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
