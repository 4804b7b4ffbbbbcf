"""A real API for the running server, which misbehaves on request."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from ..upstream import Upstream, local_upstream

# For tests whose server calls the API.
calls_api = pytest.mark.serving(
    API_BASE_URL="{api.url}", API_TIMEOUT_SECONDS="1", TOOL_DEADLINE_SECONDS="2"
)


class Api:
    """An upstream for all tests, at one address."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._running = ExitStack()
        self.upstream = self._start(port=0)

    @property
    def url(self) -> str:
        return self.upstream.url

    def _start(self, port: int) -> Upstream:
        serving = self._portal.wrap_async_context_manager(local_upstream(port=port))
        return self._running.enter_context(serving)

    def close(self) -> None:
        self._running.close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Refuse connections in this context."""
        address = urlsplit(self.url)
        port = address.port or 0
        self.close()
        with socket.socket() as nobody:  # reserves the port without listening
            nobody.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            nobody.bind((address.hostname, port))
            yield
        self.upstream = self._start(port)


@contextmanager
def running_api() -> Iterator[Api]:
    with start_blocking_portal() as portal:
        api = Api(portal)
        yield api
        api.close()
