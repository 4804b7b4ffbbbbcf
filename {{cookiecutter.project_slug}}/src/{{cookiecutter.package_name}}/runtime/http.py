"""Serve streamable HTTP, in both protocol eras, with one process or several.

FastMCP's own runner skips teardown on SIGTERM and checks neither Host nor Origin, and its
stateful default loses handshake-era sessions behind a second worker. So: stateless, unless one
worker is told to keep sessions; guarded; and drained by each worker. Without sessions,
`notifications/cancelled` cannot find the call it means: over HTTP a client of any era cancels a
call by closing its connection.
"""

import ipaddress
import multiprocessing
import signal
import threading
import time
from typing import Any

import uvicorn
from fastmcp import FastMCP
from starlette.middleware import Middleware
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from ..settings import InvalidSettings
from .drain import Drain
from .messages import WellFormedMessages
from .serving import ServingSettings

PATH = "/mcp"
# What uvicorn may take after the drain to close idle connections.
CLOSE_SECONDS = 1
# What a worker may take to import the server: uvicorn would kill it after 5 seconds, and start the
# next one, without end on a busy machine.
START_SECONDS = 60


def create_app(mcp: FastMCP[Any]) -> ASGIApp:
    """Create what one worker serves."""
    settings = ServingSettings()
    end_with_supervisor()
    # FastMCP 4.2 imports its session store, 400 modules, in the first handshake-era call, and has
    # no public way to do so earlier.
    _ = getattr(mcp, "_state_store", None)
    app = mcp.http_app(
        path=PATH,
        stateless_http=not settings.http_sessions,
        json_response=False,  # True would lose progress
        host_origin_protection=True,
        allowed_hosts=list(settings.allowed_hosts),
        allowed_origins=list(settings.allowed_origins),
        middleware=[Middleware(WellFormedMessages, path=PATH)],
    )
    return Drain(app, settings.shutdown_grace_seconds)


def serve_http(mcp: FastMCP[Any], app: str) -> None:
    """Serve until a signal. `app` is the import string of the function that makes a worker's app.

    Raises:
        InvalidSettings: the address is public and nobody is asked for a token, or several workers
            are to keep sessions.
    """
    settings = ServingSettings()
    if settings.http_sessions and settings.workers > 1:
        raise InvalidSettings(
            "HTTP_SESSIONS: one worker does not know the sessions of another; set WORKERS=1"
        )
    if mcp.auth is None and not settings.allow_unauthenticated and is_public(settings.http_host):
        raise InvalidSettings(
            f"HTTP_HOST: {settings.http_host} is reachable from other machines and the server asks"
            " nobody for a token; set ALLOW_UNAUTHENTICATED=true if that is meant"
        )
    config = uvicorn.Config(
        app,
        factory=True,
        host=settings.http_host,
        port=settings.http_port,
        workers=settings.workers,
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=CLOSE_SECONDS,
        timeout_worker_healthcheck=START_SECONDS,
    )
    if settings.workers == 1:
        uvicorn.Server(config).run()
    else:
        Workers(config, sockets=[config.bind_socket()]).run()


def end_with_supervisor() -> None:
    """Leave when the supervisor is killed: a worker left behind would keep the port."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return

    def wait() -> None:
        supervisor.join()
        signal.raise_signal(signal.SIGTERM)  # os.kill would end it at once on Windows

    threading.Thread(target=wait, daemon=True).start()


class Workers(Multiprocess):
    """uvicorn's supervisor, which also ends its workers at once on a second signal."""

    def join_all(self) -> None:
        while any(process.exitcode is None for process in self.processes):
            if self.signal_queue:
                for process in self.processes:
                    process.process.kill()
            time.sleep(0.05)


def is_public(host: str) -> bool:
    """Tell whether other machines can reach `host`; an unknown name counts as public."""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
