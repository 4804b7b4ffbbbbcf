"""The command line. It does not depend on what the server does."""

import argparse
import os
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
    """Serve as the flags and the environment specify; exit with code 2 if a setting is invalid.

    `load` imports the server and checks its settings. `app` is the import string of the function
    that creates a worker's app. `closed` names the standard streams that were closed at startup.
    """
    parse_flags(program)
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


def parse_flags(program: str) -> None:
    """Set the environment variable of each flag, for this process and for its workers.

    Values are checked together with those of the environment, with the same messages.
    """
    parser = argparse.ArgumentParser(prog=program, description="Serve MCP over stdio or HTTP.")
    parser.add_argument("--transport", metavar="{stdio,http}", help="default: stdio")
    parser.add_argument("--host", dest="http_host", help="default: 127.0.0.1")
    parser.add_argument("--port", dest="http_port", help="default: 8000")
    parser.add_argument("--workers", help="processes; default: 1")
    for name, value in vars(parser.parse_args()).items():
        if value is not None:
            os.environ[name.upper()] = value
