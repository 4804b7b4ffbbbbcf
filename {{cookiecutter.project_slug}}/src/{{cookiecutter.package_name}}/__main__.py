"""The console script: stdio by default, `--transport http` for streamable HTTP."""

import gc
from typing import Any

from fastmcp import FastMCP
from starlette.types import ASGIApp

{% if cookiecutter.structured_logging %}
from .patterns.structured_logging import (
    JsonLines,
)
{% endif %}
from .runtime.command import run
from .runtime.http import create_app
from .runtime.logs import configure_logging
from .settings import check_settings

COMMAND = "{{ cookiecutter.project_slug }}"
GARBAGE_THRESHOLD = 20_000


def load() -> FastMCP[Any]:
    """Import the server; late, so that nothing it prints meets a client.

    What is loaded then stays. Collecting garbage among it would cost a tenth of the start, and
    later stop the event loop for a tenth of a second each time. A call makes thousands of objects
    that are gone after it, so a collection waits for more than the usual 700.
    """
    gc.disable()
    from .server import mcp  # noqa: PLC0415

    check_settings()
    configure_logging({{ "JsonLines()" if cookiecutter.structured_logging else "" }})
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    gc.enable()
    return mcp


def app() -> ASGIApp:
    """Make what each HTTP worker serves."""
    return create_app(load())


def main() -> None:
    run(COMMAND, load, app=f"{__package__}.__main__:app")


if __name__ == "__main__":
    main()
