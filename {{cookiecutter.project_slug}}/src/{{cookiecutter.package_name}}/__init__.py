import os

__version__ = "0.1.0"
# FastMCP reads `.env` of the current folder when it is imported, which may be anybody's.
os.environ.setdefault("FASTMCP_ENV_FILE", os.devnull)  # noqa: RUF067 - nothing else runs first
