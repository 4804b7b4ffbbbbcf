"""End the process even if a thread hangs.

Python waits for threads when it exits, so a tool that blocks in a thread would keep the process
alive after SIGTERM. Here the process waits for a moment, logs how many threads still run, and ends.
"""

import _thread
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

logger = logging.getLogger(__name__)

# How long threads may take to end after everything is closed, and the log to be written.
LAST_SECONDS = 0.5


class End:
    """The latest time at which the process ends, if known."""

    def __init__(self) -> None:
        self._at = math.inf

    def comes_within(self, seconds: float) -> None:
        self._at = min(self._at, time.monotonic() + seconds)

    def seconds_left(self) -> float:
        """Return how long the rest of a shutdown may take; infinite before a stop signal."""
        return max(0, self._at - time.monotonic())


# One for the process, as signals are.
end = End()


def leave_within(seconds: float, code: int) -> None:
    """End the process with `code` after `seconds`, unless it has ended before.

    The earliest of several calls counts. A signal handler may call it: the lock that
    `threading.Thread` takes may be held by the code that the signal has interrupted.
    """
    end.comes_within(seconds)
    _thread.start_new_thread(_wait_and_leave, (seconds, code, _last_words()))


def leave(code: int) -> NoReturn:
    """Exit like `sys.exit`, but do not wait for threads that hang."""
    last = time.monotonic() + LAST_SECONDS
    for thread in _running():
        thread.join(max(0, last - time.monotonic()))
    if _running():
        _wait_and_leave(0, code, _last_words())
    sys.exit(code)


def _running() -> list[threading.Thread]:
    """Return the threads that Python would wait for."""
    own = {threading.main_thread(), threading.current_thread()}
    return [thread for thread in threading.enumerate() if not (thread.daemon or thread in own)]


def _wait_and_leave(seconds: float, code: int, say: Callable[[], None]) -> NoReturn:
    time.sleep(seconds)
    say()
    os._exit(code)


def _last_words() -> Callable[[], None]:
    """Return a function that logs that the process ends.

    It uses a separate thread, because a hanging one may have locked a log handler. The thread
    is started now, because Python 3.12 starts no thread while it waits for others at exit.
    """
    now, said = threading.Event(), threading.Event()

    def speak() -> None:
        now.wait()
        text = "Exiting before the shutdown is complete: %d threads still running"
        logger.warning(text, len(_running()))
        logging.shutdown()
        said.set()

    def say() -> None:
        now.set()
        said.wait(LAST_SECONDS)

    _thread.start_new_thread(speak, ())
    return say
