"""End the process, although a thread hangs.

Python waits at its end for every thread, and a thread cannot be stopped: one call that hangs
would keep the process alive after SIGTERM. Here the process waits for a while, then says in the
log how many threads still run, and is gone.
"""

import _thread
import logging
import os
import sys
import threading
import time
from typing import NoReturn

logger = logging.getLogger(__name__)

# What threads may take to end after everything is closed, and the log to be written.
LAST_SECONDS = 0.5


def leave_within(seconds: float, code: int) -> None:
    """End the process with `code` after `seconds`, unless it has ended before.

    The earliest of several calls counts. A signal handler may call it: the lock that
    `threading.Thread` takes may be held by the code that the signal has interrupted.
    """
    _thread.start_new_thread(_wait_and_leave, (seconds, code))


def leave(code: int) -> NoReturn:
    """Exit as `sys.exit` does, but do not wait for threads that still run in a moment."""
    end = time.monotonic() + LAST_SECONDS
    for thread in _running():
        thread.join(max(0, end - time.monotonic()))
    if _running():
        _wait_and_leave(0, code)
    sys.exit(code)


def _running() -> list[threading.Thread]:
    """Return the threads that Python would wait for."""
    own = {threading.main_thread(), threading.current_thread()}
    return [thread for thread in threading.enumerate() if not (thread.daemon or thread in own)]


def _wait_and_leave(seconds: float, code: int) -> NoReturn:
    # In a thread, because one that hangs may hold the lock of a log handler; and started now,
    # because Python 3.12 starts no thread while it waits for others at its end.
    end = threading.Event()
    last_words = threading.Thread(target=_say_goodbye, args=(end,), daemon=True)
    last_words.start()
    time.sleep(seconds)
    end.set()
    last_words.join(LAST_SECONDS)
    os._exit(code)


def _say_goodbye(end: threading.Event) -> None:
    end.wait()
    text = "Exiting before the shutdown is complete: %d threads still running"
    logger.warning(text, len(_running()))
    logging.shutdown()
