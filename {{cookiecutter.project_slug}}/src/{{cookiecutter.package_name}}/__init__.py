import os

__version__ = "0.1.0"
# At import, FastMCP reads `.env` in the current folder, which may belong to anyone.
os.environ.setdefault("FASTMCP_ENV_FILE", os.devnull)  # noqa: RUF067 - nothing else runs first
