"""The requests that this server sends to other servers, for those who watch them.

The API client does not know who that is. Nobody watches unless a pattern has registered.
"""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

# Receives the status code of the answer.
Answered = Callable[[int], object]


class OutgoingRequest(Protocol):
    """What a watcher sees of a request. It may add headers."""

    @property
    def method(self) -> str: ...

    @property
    def url(self) -> Any: ...

    @property
    def headers(self) -> MutableMapping[str, str]: ...


Watcher = Callable[[OutgoingRequest], AbstractContextManager[Answered]]


class Outgoing:
    """Those who watch the requests of this process."""

    def __init__(self) -> None:
        self._watchers: tuple[Watcher, ...] = ()

    @contextmanager
    def watched_by(self, watcher: Watcher) -> Iterator[None]:
        """Enter `watcher(request)` around each request while this context is open."""
        self._watchers = (*self._watchers, watcher)
        try:
            yield
        finally:
            self._watchers = tuple(one for one in self._watchers if one is not watcher)

    @contextmanager
    def sending(self, request: OutgoingRequest) -> Iterator[Answered]:
        """Open this around the sending of a request, and call the result with the status code."""
        with ExitStack() as stack:
            watching = [stack.enter_context(watcher(request)) for watcher in self._watchers]

            def answered(status: int) -> None:
                for tell in watching:
                    tell(status)

            yield answered


# One for the process, as the readiness registry is.
outgoing = Outgoing()
