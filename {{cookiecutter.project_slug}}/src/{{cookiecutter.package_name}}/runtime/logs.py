"""One log, on stderr: stdout belongs to the stdio protocol.

FastMCP installs its own coloured handlers, and uvicorn has a configuration. Here all loggers use
one handler, so every line has the same format. A host that never reads its server's stderr would
block a write once the pipe is full, and with it the server, so such lines are dropped and counted.
"""

import logging
import select
import sys
import warnings
from typing import TextIO

import fastmcp

from .serving import ServingSettings

PACKAGE = str(__package__).partition(".")[0]
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
LIBRARIES = ("fastmcp", "mcp", "uvicorn", "uvicorn.error", "gunicorn.error")
# Only taken over if another program writes it: a handler would switch it on.
ACCESS_LOGS = ("uvicorn.access", "gunicorn.access")
# These log a line per request at INFO; the records of the tools are better.
CHATTY = ("httpx", "httpx2", "httpcore", "httpcore2", "aiosqlite", "mcp.server.streamable_http")

# A pipe with any room accepts this much without blocking.
PIECE_BYTES: int = getattr(select, "PIPE_BUF", 4096)
# How long a line waits for a slow reader; the next lines do not wait.
PATIENCE_SECONDS = 0.1
LOST = "%d log lines were dropped, because stderr was not read"


class UnblockedHandler(logging.Handler):
    """Write lines to a stream, drop those for which it has no room, and log how many."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lost = 0
        self._torn = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._lost and has_room(self._stream, 0):
                told = logging.LogRecord(
                    __name__, logging.WARNING, __file__, 0, LOST, (self._lost,), None
                )
                start = "\n" if self._torn else ""
                self._lost, self._torn = 0, False
                self._write(start + self.format(told))
            self._write(self.format(record))
        except Exception:  # noqa: BLE001 - like every handler: a log must not fail a call
            self.handleError(record)

    def _write(self, line: str) -> None:
        data = f"{line}\n".encode(errors="backslashreplace")
        for start in range(0, len(data), PIECE_BYTES):
            if not has_room(self._stream, 0 if self._lost else PATIENCE_SECONDS):
                self._lost += 1
                self._torn = self._torn or start > 0
                return
            self._stream.buffer.write(data[start : start + PIECE_BYTES])
            self._stream.buffer.flush()


def has_room(stream: TextIO, seconds: float) -> bool:
    """Wait until a stream accepts a piece without blocking, for at most `seconds`."""
    if sys.platform == "win32":
        return True  # pipes cannot be polled there
    try:
        return bool(select.select([], [stream], [], seconds)[1])
    except (OSError, ValueError):
        return True  # not a file, for example in a test that captures it


def configure_logging(formatter: logging.Formatter | None = None) -> None:
    """Send every record of `LOG_LEVEL` and above to stderr, formatted by `formatter`.

    `DEBUG` is for this package alone: at that level libraries log whole messages, arguments, rows
    and headers. FastMCP does so for each call, SQLAlchemy and aiosqlite for each statement.
    """
    fastmcp.settings.log_enabled = False  # FastMCP would restore its own handlers
    # Bypasses the log, and contains the value that does not match the type of the tool's result.
    warnings.filterwarnings("ignore", "Pydantic serializer warnings")
    # The process may have been started without stderr.
    handler = UnblockedHandler(sys.stderr) if sys.stderr else logging.NullHandler()
    handler.setFormatter(formatter or logging.Formatter(FORMAT))
    root = logging.getLogger()
    root.handlers = [handler]
    level = logging.getLevelNamesMapping()[ServingSettings().log_level]
    root.setLevel(max(level, logging.INFO))
    logging.getLogger(PACKAGE).setLevel(level)
    access_logs = [name for name in ACCESS_LOGS if logging.getLogger(name).handlers]
    for name in (*LIBRARIES, *access_logs):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
