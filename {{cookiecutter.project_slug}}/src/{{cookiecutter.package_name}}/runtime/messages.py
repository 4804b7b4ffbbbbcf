"""Refuse malformed JSON-RPC messages before they reach the protocol.

In the handshake era, the SDK answers such a body with pydantic's report on its own classes, and
treats a request with an invalid id as a notification, so its sender waits for an answer that never
comes. On stdio, where a line is a body, it does not answer at all. It also repeats names of any
length in its answers.
"""

import asyncio
import json
import re
from contextlib import suppress
from typing import Any

from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .paths import route_path

# The key in an HTTP request's scope for the parsed message, for the apps behind this one.
MESSAGE = "mcp.message"

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INVALID_PARAMS = -32602

MAX_BODY_BYTES = 4 * 1024 * 1024
# A client that is still sending when its connection is closed may lose the answer, so some of the
# rest is read first.
MAX_DISCARDED_BYTES = 4 * MAX_BODY_BYTES
DISCARD_SECONDS = 5
# How much of the input an answer may repeat, as JSON: it stays below 2 KiB.
MAX_NAME_BYTES = 200
MAX_URI_BYTES = 700

# Where a request of the 2026-07-28 revision names its version.
VERSION_KEY = "io.modelcontextprotocol/protocolVersion"

TOO_LARGE = "Request body too large"
BAD_ID = "The id must be an integer or a short string."

# The id of a body that is not JSON, where clients write it: only short texts come before it, or
# after it.
MEMBER = rb'"\w{1,20}"\s*:\s*"[^"\\]{0,200}"\s*'
ID = rb'"id"\s*:\s*(-?\d{1,200}|"(?:[^"\\]|\\.){0,200}")\s*'
FIRST_ID = re.compile(rb"\s*(?:\xef\xbb\xbf)?\{\s*(?:%b,\s*)*%b[,}]" % (MEMBER, ID))
LAST_ID = re.compile(rb",\s*%b(?:,\s*%b)*\}\s*\Z" % (ID, MEMBER))
LAST_ID_BYTES = 1000
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)


class BodyTooLarge(Exception):
    """The body is larger than any message may be."""


class Refused(Exception):
    """The body is not a message; its sender may read the text, under the id of its request."""

    def __init__(self, code: int, text: str, id_: int | str | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.id = id_

    @property
    def answer(self) -> dict[str, Any]:
        error = {"code": self.code, "message": str(self)}
        return {"jsonrpc": "2.0", "id": self.id, "error": error}


class WellFormedMessages:
    """An ASGI wrapper that passes on only JSON-RPC messages of at most 4 MiB, at `path`."""

    def __init__(self, app: ASGIApp, path: str) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_post = scope["type"] == "http" and scope["method"] == "POST"
        if not is_post or route_path(scope) != self._path:
            await self._app(scope, receive, send)
            return
        try:
            body = await _read(scope, receive)
        except BodyTooLarge:
            await _refuse_body(receive, send)
            return
        if body is None:
            return
        try:
            message = checked(body)
        except Refused as refused:
            await JSONResponse(refused.answer, 400)(scope, receive, send)
            return
        await self._app({**scope, MESSAGE: message}, _after(body, receive), send)


async def _read(scope: Scope, receive: Receive) -> bytes | None:
    """Return the body, or None when the client has disconnected.

    Raises:
        BodyTooLarge: it is, or is declared to be, over the limit.
    """
    declared = Headers(scope=scope).get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise BodyTooLarge
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge
    return bytes(body)


async def _refuse_body(receive: Receive, send: Send) -> None:
    """Answer 413 immediately, read a little more, and close the connection."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(TOO_LARGE)),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": TOO_LARGE.encode(), "more_body": True})
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            discarded = 0
            while discarded < MAX_DISCARDED_BYTES:
                message = await receive()
                if not message.get("more_body", False):
                    break
                discarded += len(message.get("body", b""))
    await send({"type": "http.response.body"})


def _after(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that returns the body first."""
    read = False

    async def replay() -> Message:
        nonlocal read
        if read:
            return await receive()
        read = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def checked(body: bytes) -> dict[str, Any]:
    """Return the message in a body.

    Raises:
        Refused: it is not a message, or is one that the SDK would answer with a long report.
    """
    if len(body) > MAX_BODY_BYTES:
        raise Refused(INVALID_REQUEST, TOO_LARGE, _id_in(body))
    try:
        message = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Refused(PARSE_ERROR, "The body is not JSON.", _id_in(body)) from error
    if not isinstance(message, dict):
        raise Refused(INVALID_REQUEST, "The body is not a JSON-RPC 2.0 message.")
    try:
        _check(message)
    except Refused as refused:
        # The server chose the id of an answer, so it does not name a request of the client.
        if not _is_answer(message) and _is_id(message.get("id")):
            refused.id = message["id"]
        raise
    return message


def _check(message: dict[str, Any]) -> None:
    if message.get("jsonrpc") != "2.0":
        raise Refused(INVALID_REQUEST, "The body is not a JSON-RPC 2.0 message.")
    if _is_answer(message):
        _check_answer(message)
        return
    if "id" in message and not _is_id(message["id"]):
        raise Refused(INVALID_REQUEST, BAD_ID)
    if not _is_short(message.get("method"), MAX_NAME_BYTES):
        raise Refused(INVALID_REQUEST, "The method must be a short string.")
    params = {} if message.get("params") is None else message["params"]
    if not isinstance(params, dict):
        raise Refused(INVALID_REQUEST, "The params must be an object.")
    meta = params.get("_meta")
    for members, field, limit in (
        (params, "name", MAX_NAME_BYTES),
        (params, "uri", MAX_URI_BYTES),
        (params, "protocolVersion", MAX_NAME_BYTES),
        (meta if isinstance(meta, dict) else {}, VERSION_KEY, MAX_NAME_BYTES),
    ):
        value = members.get(field)
        if isinstance(value, str) and not _is_short(value, limit):
            raise Refused(INVALID_PARAMS, f"The {field} is longer than {limit} bytes.")


def _check_answer(message: dict[str, Any]) -> None:
    match message:
        case {"error": {"code": int(), "message": str()}}:
            unknown_request = message.get("id") is None
        case {"result": dict()}:
            unknown_request = False
        case _:
            raise Refused(INVALID_REQUEST, "The answer must contain a result object or an error.")
    if not unknown_request and not _is_id(message.get("id")):
        raise Refused(INVALID_REQUEST, BAD_ID)


def _is_answer(message: dict[str, Any]) -> bool:
    return "method" not in message and ("result" in message or "error" in message)


def _id_in(body: bytes) -> int | str | None:
    """Return the id in a body that is not JSON, if it is the first or last member."""
    found = FIRST_ID.match(body) or LAST_ID.search(body, len(body) - LAST_ID_BYTES)
    if found is None or (found.re is LAST_ID and not _is_closed(body)):
        return None
    try:
        value = from_json(found[1])
    except ValueError:
        return None
    return value if _is_id(value) else None


def _is_closed(body: bytes) -> bool:
    """Return whether each bracket is closed; otherwise the last id may be an argument."""
    if len(body) > MAX_BODY_BYTES:
        return True  # its middle is dropped, and its end has been read
    rest = STRING.sub(b"", body)
    return rest.count(b"{") == rest.count(b"}") and rest.count(b"[") == rest.count(b"]")


def _is_id(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return _is_short(str(value), MAX_NAME_BYTES)
    return _is_short(value, MAX_NAME_BYTES)


def _is_short(value: Any, limit: int) -> bool:
    return isinstance(value, str) and len(value) <= limit and len(json.dumps(value)) <= limit
