"""One log, on stderr: stdout belongs to the stdio protocol.

FastMCP installs its own coloured handlers and uvicorn brings a configuration; here all of them
end in one handler, so that every line has one form.
"""

import logging
import sys

import fastmcp

from .serving import ServingSettings

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Not uvicorn.access: uvicorn has switched it off by now, and a handler would bring it back.
LIBRARIES = ("fastmcp", "mcp", "uvicorn", "uvicorn.error")
# A line per request, at INFO, of what the tools' own records tell better.
CHATTY = ("httpx", "httpx2", "httpcore", "httpcore2", "aiosqlite", "mcp.server.streamable_http")


def configure_logging(formatter: logging.Formatter | None = None) -> None:
    """Send every record of `LOG_LEVEL` and above to stderr, in the form that `formatter` gives."""
    fastmcp.settings.log_enabled = False  # FastMCP would put its own handlers back
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter or logging.Formatter(FORMAT))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(ServingSettings().log_level)
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
        logger.setLevel(logging.NOTSET)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
