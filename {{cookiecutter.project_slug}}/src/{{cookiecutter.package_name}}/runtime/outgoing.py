"""Lets a pattern watch the requests that this server sends, without the API client knowing it."""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

# Receives the status code of the response.
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
    """The watchers of this process's requests."""

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
