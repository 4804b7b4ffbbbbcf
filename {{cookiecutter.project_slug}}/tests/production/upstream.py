"""A real API for the running server, which misbehaves on request."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from ..upstream import Upstream, local_upstream
from .process import ServerProcess, shared_server

TIMEOUT_SECONDS = 1


class Api:
    """An upstream that runs beside the tests, at one address for all of them."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._running = ExitStack()
        self.upstream = self._start(port=0)

    def _start(self, port: int) -> Upstream:
        serving = self._portal.wrap_async_context_manager(local_upstream(port=port))
        return self._running.enter_context(serving)

    def close(self) -> None:
        self._running.close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse connections meanwhile."""
        address = urlsplit(self.upstream.url)
        port = address.port or 0
        self.close()
        with socket.socket() as nobody:  # keeps the port, and does not listen
            nobody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            nobody.bind((address.hostname, port))
            yield
        self.upstream = self._start(port)


API = pytest.StashKey[Api]()


def shared_api(request: pytest.FixtureRequest) -> Api:
    """Return the API that all tests use."""
    session = request.session
    if API not in session.stash:
        stack = ExitStack()
        session.addfinalizer(stack.close)
        api = Api(stack.enter_context(start_blocking_portal()))
        stack.callback(api.close)
        session.stash[API] = api
    return session.stash[API]


def server_of(api: Api, request: pytest.FixtureRequest) -> ServerProcess:
    """Return the server that calls `api`."""
    return shared_server(
        request, API_BASE_URL=api.upstream.url, API_TIMEOUT_SECONDS=str(TIMEOUT_SECONDS)
    )
