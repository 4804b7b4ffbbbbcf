"""A handshake-era request over HTTP is answered without a session, exactly as with one."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastmcp import Context
from fastmcp.server.auth.providers.jwt import StaticTokenVerifier

from my_mcp_server.runtime import (
    exchange,
)
from my_mcp_server.runtime.server import (
    Server,
)

PATIENCE_SECONDS = 5
ACCEPT = {"Accept": "application/json, text/event-stream"}
VERSION = {"MCP-Protocol-Version": "2025-11-25"}


@asynccontextmanager
async def client(*tools: Callable[..., Any], **options: Any) -> AsyncIterator[httpx2.AsyncClient]:
    app: Any = Server("test", tools=tools, **options).http_app()
    async with (
        app.lifespan(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app),
            base_url="http://127.0.0.1/mcp",
            headers=ACCEPT | VERSION,
            timeout=PATIENCE_SECONDS,
        ) as http,
    ):
        yield http


def message(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}


def call(name: str) -> dict[str, Any]:
    return message("tools/call", name=name, arguments={}, _meta={"progressToken": "token"})


def events(answer: httpx2.Response) -> list[Any]:
    """Return the messages of an event stream."""
    assert answer.headers["Content-Type"] == "text/event-stream"
    lines = answer.text.splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data")]


async def greet() -> str:
    return "hello"


async def work(ctx: Context) -> str:
    await ctx.report_progress(1, 2, "half")
    await ctx.report_progress(2, 2)
    return "done"


async def ask(ctx: Context) -> str:
    await ctx.elicit("Why?", str)
    return "never"


async def test_an_answer_without_earlier_messages_is_json() -> None:
    async with client(greet) as http:
        answer = await http.post("", json=call("greet"))
        listed = await http.post("", json=message("tools/list"))
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json()["id"] == 7
    assert answer.json()["result"]["content"] == [{"type": "text", "text": "hello"}]
    assert [tool["name"] for tool in listed.json()["result"]["tools"]] == ["greet"]


async def test_progress_comes_before_the_answer() -> None:
    async with client(work) as http:
        *progress, answer = events(await http.post("", json=call("work")))
    assert [one["params"] for one in progress] == [
        {"progressToken": "token", "progress": 1, "total": 2, "message": "half"},
        {"progressToken": "token", "progress": 2, "total": 2},
    ]
    assert answer["result"]["content"] == [{"type": "text", "text": "done"}]


async def test_a_long_call_keeps_its_connection_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PING_SECONDS", 0.01)

    async def wait() -> str:
        await asyncio.sleep(0.1)
        return "done"

    async with client(wait) as http:
        answer = await http.post("", json=call("wait"))
    assert answer.text.startswith(": ping")
    assert len(events(answer)) == 1


async def test_the_handshake_is_answered() -> None:
    greeting = {"capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    async with client(greet) as http:
        del http.headers["MCP-Protocol-Version"]
        asked = message("initialize", protocolVersion="2025-06-18", **greeting)
        answer = await http.post("", json=asked)
        notified = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        accepted = await http.post("", json=notified)
    assert answer.json()["result"]["protocolVersion"] == "2025-06-18"
    assert "Mcp-Session-Id" not in answer.headers
    assert accepted.status_code == 202


@pytest.mark.parametrize(
    ("asked", "code"),
    [(message("nothing"), -32601), (message("tools/call", name=1), -32602)],
)
async def test_a_protocol_error_is_answered(asked: dict[str, Any], code: int) -> None:
    async with client(greet) as http:
        answer = await http.post("", json=asked)
    assert (answer.status_code, answer.json()["id"]) == (200, 7)
    assert answer.json()["error"]["code"] == code


async def test_a_question_to_the_client_fails() -> None:
    async with client(ask) as http:
        answer = await http.post("", json=call("ask"))
    assert answer.json()["result"]["isError"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Accept": "application/json"}, 406),
        ({"Content-Type": "text/plain"}, 400),
        ({"MCP-Protocol-Version": "1999-01-01"}, 400),
    ],
)
async def test_invalid_requests_are_left_to_the_sdk(headers: dict[str, str], status: int) -> None:
    async with client(greet) as http:
        answer = await http.post("", json=call("greet"), headers=headers)
    assert answer.status_code == status


async def test_no_request_bypasses_the_token_check() -> None:
    tokens = {"secret": {"client_id": "app", "scopes": []}}
    async with client(greet, auth=StaticTokenVerifier(tokens)) as http:
        refused = await http.post("", json=call("greet"))
        answer = await http.post("", json=call("greet"), headers={"Authorization": "Bearer secret"})
    assert refused.status_code == 401
    assert answer.json()["result"]["content"] == [{"type": "text", "text": "hello"}]
