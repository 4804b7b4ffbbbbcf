"""Refuse what is no JSON-RPC message, before it reaches the protocol.

For the handshake era the SDK answers such a body with pydantic's report of its own classes, and
takes a request whose id is no id for a notification, so that its sender waits in vain. It also
repeats names of whatever length in its answers.
"""

import json
from typing import Any

from pydantic_core import from_json
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INVALID_PARAMS = -32602

MAX_BODY_BYTES = 4 * 1024 * 1024
# Answering while a client still sends would reset its connection, and it would not see the answer.
MAX_DISCARDED_BYTES = 64 * 1024 * 1024
# What an answer may repeat, as JSON: it stays under 2 KiB.
MAX_NAME_BYTES = 200
MAX_URI_BYTES = 700


class BodyTooLarge(Exception):
    """The body is larger than any message may be."""


class Refused(Exception):
    """The body is no message; the text may be told to its sender."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class WellFormedMessages:
    """An ASGI wrapper that passes on only JSON-RPC messages of at most 4 MiB, at `path`."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (scope["type"], scope.get("method"), scope.get("path")) != ("http", "POST", self._path):
            await self._app(scope, receive, send)
            return
        try:
            body = await _read(receive)
        except BodyTooLarge:
            await PlainTextResponse("Request body too large", 413)(scope, receive, send)
            return
        if body is None:
            return
        refusal = refuse(body)
        if refusal is not None:
            await JSONResponse(refusal, 400)(scope, receive, send)
            return
        await self._app(scope, _after(body, receive), send)


async def _read(receive: Receive) -> bytes | None:
    """Return the body, or None when the client has gone."""
    body = bytearray()
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            body += chunk
        if not message.get("more_body", False) or size > MAX_DISCARDED_BYTES:
            break
    if size > MAX_BODY_BYTES:
        raise BodyTooLarge
    return bytes(body)


def _after(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body first."""
    read = False

    async def replay() -> Message:
        nonlocal read
        if read:
            return await receive()
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def refuse(body: bytes) -> dict[str, Any] | None:
    """Return the error to answer with, or None for a body that is a message."""
    number = None
    try:
        message = _message(body)
        number = message.get("id")
        _check_content(message)
    except Refused as refused:
        error = {"code": refused.code, "message": str(refused)}
        return {"jsonrpc": "2.0", "id": number, "error": error}
    return None


def _message(body: bytes) -> dict[str, Any]:
    try:
        message = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refused(PARSE_ERROR, "The body is not JSON.") from error
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise Refused(INVALID_REQUEST, "The body is not a JSON-RPC 2.0 message.")
    if "id" in message and not _is_id(message["id"]):
        raise Refused(INVALID_REQUEST, "The id must be an integer or a short string.")
    return message


def _check_content(message: dict[str, Any]) -> None:
    if "id" in message and ("result" in message or "error" in message):
        return  # an answer to the server
    if not _is_short(message.get("method"), MAX_NAME_BYTES):
        raise Refused(INVALID_REQUEST, "The method must be a short string.")
    params = {} if message.get("params") is None else message["params"]
    if not isinstance(params, dict):
        raise Refused(INVALID_REQUEST, "The params must be an object.")
    for field, limit in (("name", MAX_NAME_BYTES), ("uri", MAX_URI_BYTES)):
        if isinstance(params.get(field), str) and not _is_short(params[field], limit):
            raise Refused(INVALID_PARAMS, f"The {field} is longer than {limit} bytes.")


def _is_id(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return _is_short(str(value), MAX_NAME_BYTES)
    return _is_short(value, MAX_NAME_BYTES)


def _is_short(value: Any, limit: int) -> bool:
    return isinstance(value, str) and len(value) <= limit and len(json.dumps(value)) <= limit
