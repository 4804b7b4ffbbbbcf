import sys

# On Windows a process cannot be sent these signals.
collect_ignore = ["test_signals.py"] if sys.platform == "win32" else []
