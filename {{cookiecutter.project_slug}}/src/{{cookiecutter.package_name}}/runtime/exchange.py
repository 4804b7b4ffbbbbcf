"""Answer a request of the handshake era without a session of its own.

For each such request, the SDK creates a transport, a dispatcher, two streams and ten tasks: a third
of the cost of a small call. Without sessions, nothing in them is kept. So here a request runs
directly, with a plain JSON answer, or with an event stream if anything is sent before the answer.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from fastmcp.server.http import StreamableHTTPASGIApp
from mcp.server.connection import Connection
from mcp.server.runner import serve_one
from mcp.server.streamable_http import check_accept_headers
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.jsonrpc_dispatcher import (
    handler_exception_to_error_data,
    progress_token_from_params,
)
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.transport_context import TransportContext
from mcp_types import INTERNAL_ERROR, ErrorData
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic_core import to_json
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from .messages import MESSAGE

logger = logging.getLogger(__name__)

VERSION_HEADER = "mcp-protocol-version"
# The version of a request that names none (revision 2025-06-18, Transports, Protocol Version).
DEFAULT_VERSION = "2025-03-26"
# Proxies close a connection that is silent for a minute.
PING_SECONDS = 15
PING = b": ping\r\n\r\n"
JSON_HEADERS = [(b"content-type", b"application/json")]
NO_REQUESTS = TransportContext(kind="streamable-http", can_send_request=False)
STREAM_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"connection", b"keep-alive"),
    (b"x-accel-buffering", b"no"),
]


class SingleExchange:
    """An ASGI wrapper around FastMCP's endpoint that answers handshake-era requests itself.

    Everything else is left to the endpoint: other revisions, notifications and invalid
    requests. It runs after `WellFormedMessages`, which has read the message.
    """

    def __init__(self, endpoint: StreamableHTTPASGIApp) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message, manager = scope.get(MESSAGE), self._endpoint.session_manager
        request = Request(scope)
        if message is None or manager is None or not _is_plain(request, message):
            await self._endpoint(scope, receive, send)
            return
        params = message.get("params")
        answer = Answer(
            send,
            message["id"],
            ServerMessageMetadata(request_context=request),
            progress_token_from_params(params),
        )
        version = request.headers.get(VERSION_HEADER, DEFAULT_VERSION)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer.keep_alive, receive, tasks.cancel_scope)
            try:
                result = await serve_one(
                    manager.app,
                    answer,
                    message["method"],
                    params,
                    connection=Connection.from_envelope(version, None, None),
                    lifespan_state=manager._lifespan_state,  # noqa: SLF001
                )
                told = {"result": result}
            except Exception as error:  # noqa: BLE001 - it becomes an answer
                told = {"error": _as_data(error).model_dump(by_alias=True, exclude_none=True)}
            await answer.finish({"jsonrpc": "2.0", "id": message["id"], **told})
            tasks.cancel_scope.cancel()


@dataclass
class Answer:
    """The connection to the client, as the SDK's `DispatchContext`; it carries no requests."""

    _send: Send
    request_id: int | str
    message_metadata: ServerMessageMetadata
    _progress_token: int | str | None
    transport: TransportContext = NO_REQUESTS
    can_send_request: bool = False
    cancel_requested: anyio.Event = field(default_factory=anyio.Event)
    _writing: anyio.Lock = field(default_factory=anyio.Lock)
    _is_stream: bool = False
    _is_finished: bool = False

    async def send_raw_request(self, method: str, *_: Any) -> dict[str, Any]:
        raise NoBackChannelError(method)

    async def notify(self, method: str, params: Mapping[str, Any] | None, *_: Any) -> None:
        told = {} if params is None else {"params": params}
        await self._stream(_event({"jsonrpc": "2.0", "method": method, **told}))

    async def progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        if self._progress_token is None:
            return
        told = {"progress": progress, "total": total, "message": message}
        params = {name: value for name, value in told.items() if value is not None}
        params["progressToken"] = self._progress_token
        await self.notify("notifications/progress", params)

    async def keep_alive(self, receive: Receive, call: anyio.CancelScope) -> None:
        """Cancel `call` when its client disconnects; until then, keep proxies from timing out."""
        while True:
            with anyio.move_on_after(PING_SECONDS) as waiting:
                if (await receive())["type"] == "http.disconnect":
                    call.cancel()
                    return
            if waiting.cancelled_caught:
                await self._stream(PING)

    async def finish(self, message: Mapping[str, Any]) -> None:
        async with self._writing:
            self._is_finished = True
            if self._is_stream:
                await self._send({"type": "http.response.body", "body": _event(message)})
                return
            body = to_json(message)
            headers = [*JSON_HEADERS, (b"content-length", b"%d" % len(body))]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._send({"type": "http.response.body", "body": body})

    async def _stream(self, event: bytes) -> None:
        async with self._writing:
            if self._is_finished:  # a task that outlives its call
                return
            if not self._is_stream:
                self._is_stream = True
                start = {"type": "http.response.start", "status": 200, "headers": STREAM_HEADERS}
                await self._send(start)
            await self._send({"type": "http.response.body", "body": event, "more_body": True})


def exchange_singly(app: Any) -> None:
    """Wrap the endpoint of FastMCP's Starlette app in a `SingleExchange`.

    It runs after the check of the caller's token, if there is one.
    """
    for route in app.routes:
        holder: Any = route
        inner: ASGIApp | None = getattr(holder, "app", None)
        while inner is not None and not isinstance(inner, StreamableHTTPASGIApp):
            holder, inner = inner, getattr(inner, "app", None)
        if inner is not None:
            holder.app = SingleExchange(inner)


def _is_plain(request: Request, message: Mapping[str, Any]) -> bool:
    """Return whether a message is a request that the SDK would answer with an event stream."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip()
    return (
        "id" in message
        and "method" in message
        and request.headers.get(VERSION_HEADER, DEFAULT_VERSION) in HANDSHAKE_PROTOCOL_VERSIONS
        and content_type == "application/json"
        and all(check_accept_headers(request))
    )


def _as_data(error: Exception) -> ErrorData:
    if data := handler_exception_to_error_data(error):
        return data
    logger.error("A request failed", exc_info=error)
    return ErrorData(code=INTERNAL_ERROR, message="Internal server error")


def _event(message: Mapping[str, Any]) -> bytes:
    return b"event: message\r\ndata: %b\r\n\r\n" % to_json(message)
