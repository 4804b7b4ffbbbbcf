"""Malformed messages get the server's own errors, and valid messages arrive unchanged."""

import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from my_mcp_server.runtime.messages import (
    MAX_BODY_BYTES,
    VERSION_KEY,
    Refused,
    WellFormedMessages,
    checked,
)

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


def encoded(**changes: Any) -> bytes:
    return json.dumps({**PING, **changes}).encode()


@pytest.mark.parametrize(
    "body",
    [
        encoded(),
        encoded(id="a-1", params={}),
        encoded(params=None),
        b'{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        b'{"jsonrpc": "2.0", "id": 1, "result": {}}',
        b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "What?"}}',
    ],
)
def test_a_valid_message_is_accepted(body: bytes) -> None:
    assert checked(body) == json.loads(body)


@pytest.mark.parametrize(
    ("body", "code", "request_id"),
    [
        (b"", -32700, None),
        (b"{", -32700, None),
        (encoded(params={"a": float("nan")}), -32700, 1),
        (b'"\xff"', -32700, None),
        (b'"\\ud800"', -32700, None),
        (encoded(params={"a": "\ud83d"}), -32700, 1),
        (encoded(params={"a": 0}).replace(b"0}", b"1" * 5000 + b"}"), -32700, 1),
        (encoded()[:-1] + b', "params": ' + b"[" * 1000 + b"]" * 1000 + b"}", -32700, 1),
        (b"\xef\xbb\xbf" + encoded(), -32700, 1),
        (encoded() + b"x", -32700, 1),
        (b'{"method": "a", "params": {"b": "\\ud83d"}, "jsonrpc": "2.0", "id": "c"}', -32700, "c"),
        (b'{"params": {"b": "\\ud83d"}, "id": 1, "method": "a"}', -32700, 1),
        (b'{"method": "a", "params": {"b": "\\ud83d", "id": 1}', -32700, None),
        (encoded(padding=" " * MAX_BODY_BYTES), -32600, 1),
        (b"[" * 100_000, -32700, None),
        (encoded().decode().encode("utf-16"), -32700, None),
        (b"null", -32600, None),
        (b"[" + encoded() + b"]", -32600, None),
        (encoded(jsonrpc="1.0"), -32600, 1),
        (b'{"id": 1}', -32600, 1),
        (encoded(id=True), -32600, None),
        (encoded(id=None), -32600, None),
        (encoded(id=1.5), -32600, None),
        (encoded(id="x" * 1000), -32600, None),
        (encoded(id=10**1000), -32600, None),
        (encoded(method=5), -32600, 1),
        (encoded(method="x" * 1000), -32600, 1),
        (b'{"jsonrpc": "2.0", "id": 1}', -32600, 1),
        (encoded(params=[]), -32600, 1),
        (encoded(params={"name": "x" * 1000}), -32602, 1),
        (encoded(params={"uri": "\N{ROCKET}" * 300}), -32602, 1),
        (encoded(params={"protocolVersion": "x" * 1000}), -32602, 1),
        (encoded(params={"_meta": {VERSION_KEY: "x" * 1000}}), -32602, 1),
        (b'{"jsonrpc": "2.0", "id": 1, "result": 5}', -32600, None),
        (b'{"jsonrpc": "1.0", "id": 1, "result": {}}', -32600, None),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_anything_else_is_refused(body: bytes, code: int, request_id: int | str | None) -> None:
    with pytest.raises(Refused) as refused:
        checked(body)
    refusal = refused.value.answer
    assert (refusal["error"]["code"], refusal["id"]) == (code, request_id)
    assert len(json.dumps(refusal)) < 200


class App:
    """Records each body that it receives, and the message after it."""

    def __init__(self) -> None:
        self.received: list[Message] = []

    async def __call__(self, _scope: Scope, receive: Receive, _send: Send) -> None:
        self.received += [await receive(), await receive()]


async def post(app: App, *messages: Message, path: str = "/mcp") -> list[Message]:
    """Return the answer to a request whose body arrives in pieces."""
    pending, sent = list(messages), []

    async def receive() -> Message:
        return pending.pop(0) if pending else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    await WellFormedMessages(app, path="/mcp")(scope, receive, send)
    return sent


def piece(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_message_in_pieces_arrives_whole_followed_by_the_disconnect() -> None:
    app = App()
    assert await post(app, piece(encoded()[:10], more=True), piece(encoded()[10:])) == []
    assert app.received == [piece(encoded()), {"type": "http.disconnect"}]


async def test_a_body_over_the_limit_is_refused_and_not_buffered() -> None:
    app, half = App(), piece(b" " * (MAX_BODY_BYTES // 2 + 1), more=True)
    sent = await post(app, half, half, half, piece(encoded()))
    assert [message["status"] for message in sent if "status" in message] == [413]
    assert app.received == []


async def test_a_client_that_disconnects_while_sending_is_not_answered() -> None:
    app = App()
    assert await post(app, piece(b"{", more=True)) == []
    assert app.received == []


async def test_other_paths_are_not_checked() -> None:
    app = App()
    assert await post(app, piece(b"form=1"), path="/form") == []
    assert app.received[0] == piece(b"form=1")
