"""Open the standard streams that a service manager has closed.

Otherwise the next file or socket would get the number of a closed stream, and receive what is
printed.
"""

import os
import sys

NAMES = ("stdin", "stdout", "stderr")


def open_standard_streams() -> list[str]:
    """Connect each closed stream to the null device, and return their names."""
    closed = []
    for descriptor, name in enumerate(NAMES):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
            os.set_inheritable(opened, True)
            closed.append(name)
        if getattr(sys, name) is None:
            mode = "w" if descriptor else "r"
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))
    return closed
