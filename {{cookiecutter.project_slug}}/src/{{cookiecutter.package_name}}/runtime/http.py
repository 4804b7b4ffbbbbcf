"""Serve streamable HTTP, in both protocol eras, with one process or several.

FastMCP's own runner skips teardown on SIGTERM and checks neither Host nor Origin. Its stateful
default loses handshake-era sessions behind a second worker. So this server is stateless, unless one
worker is configured to keep sessions. It is guarded, and each worker drains. Without sessions,
`notifications/cancelled` cannot find its call: over HTTP, a client of either era cancels a call by
closing its connection.
"""

import _thread
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from fastmcp import FastMCP
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from ..settings import InvalidSettings
from .connections import TimeLimitedProtocol
from .drain import Drain
from .ending import leave_within
from .guards import is_public
from .serving import STOP_SIGNALS, ServingSettings

logger = logging.getLogger(__name__)

PATH = "/mcp"
# How long uvicorn may take after the drain to close idle connections.
CLOSE_SECONDS = 1
# Longer than proxies (nginx and AWS: 60 seconds). The side that sends requests must be the one that
# closes an idle connection: a request sent in the meantime would be lost.
KEEP_ALIVE_SECONDS = 75
# How long a worker may take to import the server: uvicorn would kill it after 5 seconds and start
# the next one, endlessly on a busy machine.
START_SECONDS = 60
# Otherwise a worker imports from the current folder first.
SAFE_PATH = "PYTHONSAFEPATH"
# How long a worker may take to end after its grace period: a little more than it needs.
KILL_SECONDS = 1.75
# How long the supervisor may take to end after its workers.
END_SECONDS = 0.1


def create_app(mcp: FastMCP[Any]) -> Drain:
    """Create the app of one worker: the guarded app of `Server`, drained at a stop signal."""
    end_with_supervisor()
    return drained(mcp, mcp.http_app())


def drained(mcp: FastMCP[Any], app: ASGIApp) -> Drain:
    """Wrap `app` so that a stop signal waits for its requests.

    A server program that this project does not start, such as uvicorn's own command, is checked
    when the app starts.
    """
    settings = ServingSettings()
    return Drain(
        app,
        settings.shutdown_grace_seconds,
        settings.shutdown_delay_seconds,
        check_server=partial(check_server, mcp),
    )


def serve_http(mcp: FastMCP[Any], app: str) -> None:
    """Serve until a signal. `app` is the import string of the function that makes a worker's app.

    Raises:
        InvalidSettings: the address is public and the server does not require authentication, or
            several workers are to keep sessions.
    """
    settings = ServingSettings()
    if settings.http_sessions and settings.workers > 1:
        raise InvalidSettings("HTTP_SESSIONS: workers do not share sessions; set WORKERS=1")
    check_address(mcp, settings.http_host)
    config = uvicorn_config(app, settings.http_host, settings.http_port, workers=settings.workers)
    if settings.workers == 1:
        uvicorn.Server(config).run()
    else:
        os.environ[SAFE_PATH] = "1"
        grace_seconds = settings.shutdown_delay_seconds + settings.shutdown_grace_seconds
        Workers(config, grace_seconds + KILL_SECONDS).run()


def uvicorn_config(app: ASGIApp | str, host: str, port: int, workers: int = 1) -> uvicorn.Config:
    """Return uvicorn's configuration; `app` is an app or the import string of a factory."""
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        host=host,
        port=port,
        workers=workers,
        http=TimeLimitedProtocol,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # it would trust every local process; see TrustedProxies
        timeout_graceful_shutdown=CLOSE_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_worker_healthcheck=START_SECONDS,
    )


def check_address(mcp: FastMCP[Any], host: str) -> None:
    """Raise InvalidSettings if `host` is public and the server does not require authentication."""
    settings = ServingSettings()
    if mcp.auth is not None:
        return
    if is_public(host) and not settings.allow_unauthenticated:
        raise InvalidSettings(
            f"HTTP_HOST: {host} is reachable from other machines and the server does not require"
            " authentication; set ALLOW_UNAUTHENTICATED=true if that is intended"
        )
    if settings.environment == "production":
        logger.warning("The server does not require authentication, in production")


def check_server(mcp: FastMCP[Any], server: uvicorn.Server) -> None:
    """Check the options with which another program has started uvicorn.

    Raises:
        InvalidSettings: as `check_address`.
    """
    check_address(mcp, server.config.host)
    if server.config.proxy_headers:
        logger.warning(
            "uvicorn trusts X-Forwarded-For from %s, so callers there can forge their address;"
            " start it with --no-proxy-headers and set TRUSTED_PROXIES",
            server.config.forwarded_allow_ips,
        )


def end_with_supervisor() -> None:
    """Exit when the supervisor is killed: an orphaned worker would keep the port."""
    supervisor = multiprocessing.parent_process()
    if supervisor is None:
        return
    os.environ.pop(SAFE_PATH, None)  # not meant for child processes of tools

    def wait() -> None:
        supervisor.join()
        if sys.platform == "win32":
            signal.raise_signal(signal.SIGTERM)  # os.kill would end it immediately
        else:  # sent to the main thread, which gets it even while it is blocked
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


class Workers(Multiprocess):
    """uvicorn's supervisor, which does not wait for a worker that hangs.

    It passes on a signal immediately, and kills the workers `seconds` later, or on a second signal.
    Then it ends, even if it is still waiting for a worker to respond.
    """

    def __init__(self, config: uvicorn.Config, seconds: float) -> None:
        super().__init__(config, [config.bind_socket()])
        self._seconds = seconds
        self._is_stopping = False
        for number in STOP_SIGNALS:
            signal.signal(number, self._handle)

    def keep_subprocess_alive(self) -> None:
        for process in self.processes:
            # Only the worker uses this end of the pipe. While it is also open here, the supervisor
            # waits for a killed worker's answer until START_SECONDS have passed.
            process.child_conn.close()
        super().keep_subprocess_alive()

    def terminate_all(self) -> None:
        for listener in self.sockets:
            listener.close()  # or the port would stay open until the last worker has ended
        super().terminate_all()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._is_stopping:
            self._kill_all()
        else:
            self._is_stopping = True
            leave_within(self._seconds + END_SECONDS, 128 + number)
            # In a thread, because the interrupted code may have locked what is needed.
            _thread.start_new_thread(self._stop, ())

    def _stop(self) -> None:
        self.should_exit.set()
        if sys.platform != "win32":
            # `terminate_all` comes later if the main thread waits for a worker that hangs.
            for process in self.processes:
                process.process.terminate()
        time.sleep(self._seconds)
        self._kill_all()

    def _kill_all(self) -> None:
        for process in self.processes:
            process.process.kill()
