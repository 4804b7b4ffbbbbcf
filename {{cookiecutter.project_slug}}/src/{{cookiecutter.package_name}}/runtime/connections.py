"""Limit how long a request may take to arrive.

uvicorn waits forever for the rest of a header or a body, so a few hundred half-sent requests could
use up all connections.
"""

import asyncio
from functools import cache
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from .serving import ServingSettings

REQUEST_TIMEOUT = (
    b"HTTP/1.1 408 Request Timeout\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 35\r\n"
    b"Connection: close\r\n"
    b"\r\n"
    b"The request took too long to arrive"
)


@cache  # settings may come from files, and each connection asks
def read_timeout_seconds() -> float:
    return ServingSettings().request_read_timeout_seconds


class TimeLimitedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type] # chosen by uvicorn
    """uvicorn's connection, which closes if a request has not arrived in time."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._has_begun = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._watch(is_arriving=True)

    def data_received(self, data: bytes) -> None:
        self._has_begun = True
        super().data_received(data)
        cycle = self.cycle
        # Data after a complete answer that has started no request is part of the next header.
        self._watch(is_arriving=cycle is None or cycle.more_body or cycle.response_complete)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch(is_arriving=self.cycle.more_body)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch(is_arriving=False)
        super().connection_lost(exc)

    def _watch(self, *, is_arriving: bool) -> None:
        """Start the timer with a request, and stop it when the request is complete."""
        if is_arriving and self._timer is None:
            self._timer = self.loop.call_later(read_timeout_seconds(), self._give_up)
        elif not is_arriving and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        is_unanswered = self.cycle is None or not self.cycle.response_started
        if self._has_begun and is_unanswered:
            self.transport.write(REQUEST_TIMEOUT)
        self.transport.close()
