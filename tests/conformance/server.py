"""A server with the suite's own tools: `python -m tests.conformance.server PACKAGE`, or `plain` for plain FastMCP."""

import asyncio
import os
import sys
from functools import cache
from importlib import import_module
from typing import Any

from fastmcp import FastMCP

from .suite import add_suite

PLAIN = "plain"


def serve_generated(package: str) -> None:
    """Run the package's command with the suite's tools added to its server."""
    command: Any = import_module(f"{package}.__main__")
    load = command.load

    @cache
    def load_with_suite() -> FastMCP[Any]:
        server: FastMCP[Any] = load()
        add_suite(server)
        return server

    command.load = load_with_suite
    command.main()


def serve_plain() -> None:
    """Serve the suite's tools with plain FastMCP, with its Host and Origin check enabled."""
    server: FastMCP[Any] = FastMCP("plain")
    add_suite(server)
    asyncio.run(
        server.run_async(
            "http",
            show_banner=False,
            host="127.0.0.1",
            port=0,
            host_origin_protection=True,
            stateless_http=os.environ.get("HTTP_SESSIONS") != "true",
        )
    )


if __name__ == "__main__":
    package = sys.argv.pop(1)
    if package == PLAIN:
        serve_plain()
    else:
        serve_generated(package)
