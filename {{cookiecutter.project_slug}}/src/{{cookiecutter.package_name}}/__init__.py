import os
from importlib.metadata import PackageNotFoundError, version

try:  # noqa: RUF067 - a version in the code would be a second one to change
    __version__ = version("{{ cookiecutter.project_slug }}")
except PackageNotFoundError:  # the package is on the path, but not installed
    __version__ = "0+unknown"
# At import, FastMCP reads `.env` in the current folder, which may belong to anyone.
os.environ.setdefault("FASTMCP_ENV_FILE", os.devnull)  # noqa: RUF067 - nothing else runs first
