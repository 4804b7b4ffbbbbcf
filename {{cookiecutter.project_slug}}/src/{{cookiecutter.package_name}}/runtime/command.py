"""The command, after its flags. It does not depend on what the server does."""

import sys
from collections.abc import Callable, Collection
from typing import Any, NoReturn

from fastmcp import FastMCP

from ..settings import EXIT_BAD_SETTINGS, InvalidSettings
from .ending import leave
from .http import serve_http
from .serving import ServingSettings
from .stdio import reserve_stdio, serve_stdio


def run(
    program: str, load: Callable[[], FastMCP[Any]], app: str, closed: Collection[str] = ()
) -> NoReturn:
    """Serve as the environment specifies; exit with code 2 if a setting is invalid.

    `load` imports the server and checks its settings. `app` is the import string of the function
    that creates a worker's app. `closed` names the standard streams that were closed at startup.
    """
    wire = reserve_stdio()
    code = 0
    try:
        server = load()
        if ServingSettings().transport == "stdio":
            check_open(closed)
            serve_stdio(server, wire)
        else:
            serve_http(server, app)
    except InvalidSettings as error:
        sys.stderr.write(f"{program}: {error}\n")
        code = EXIT_BAD_SETTINGS
    except KeyboardInterrupt:
        pass  # uvicorn raises SIGINT again when it has closed everything
    leave(code)


def check_open(closed: Collection[str]) -> None:
    """Raise InvalidSettings if a stream that the stdio transport needs was closed at startup."""
    missing = [name for name in closed if name != "stderr"]
    if missing:
        raise InvalidSettings(
            f"TRANSPORT: stdio needs {' and '.join(missing)}, but this process was started"
            " without it; set TRANSPORT=http, or let a client start it"
        )
