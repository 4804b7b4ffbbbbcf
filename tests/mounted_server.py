"""Serves a Starlette app that mounts a generated server: python mounted_server.py PACKAGE PREFIX."""

import importlib
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount


def main() -> None:
    package, prefix = sys.argv[1:]
    app = importlib.import_module(f"{package}.server").mcp.http_app()
    host = Starlette(routes=[Mount(prefix, app)], lifespan=app.lifespan)

    uvicorn.run(host, port=0, access_log=False)  # nothing reads stdout


if __name__ == "__main__":
    main()
