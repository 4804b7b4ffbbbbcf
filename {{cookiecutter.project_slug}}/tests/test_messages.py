"""A body that is no message is answered in one sentence; every other answer is left as it is."""

from typing import Any

import pytest
from fastmcp import FastMCP
from httpx2 import ASGITransport, AsyncClient, Response
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp

from {{ cookiecutter.package_name }}.runtime.messages import (
    ReadableMessages,
)

ACCEPT = {"Accept": "application/json, text/event-stream"}


async def post(app: ASGIApp, content: bytes) -> Response:
    headers = {"Content-Type": "application/json", **ACCEPT}
    async with AsyncClient(transport=ASGITransport(app), base_url="http://127.0.0.1") as client:
        return await client.post("/mcp", content=content, headers=headers)


@pytest.mark.parametrize("body", [b"null", b"[]", b'{"jsonrpc": "1.0", "id": 1}', b'{"canary": 1}'])
async def test_what_is_no_message_is_an_invalid_request(body: bytes) -> None:
    app = FastMCP[Any]("test").http_app(stateless_http=True)
    async with app.lifespan(app):
        answer = await post(ReadableMessages(app), body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error == {
        "code": -32600,
        "message": "Invalid request: the body is no JSON-RPC message.",
    }


@pytest.mark.parametrize(
    "response",
    [
        JSONResponse({"error": {"message": "Parse error: EOF"}}, 400, {"X-Kept": "yes"}),
        JSONResponse(["Validation error: "], 400),
        PlainTextResponse("Validation error: none of ours", 400),
        JSONResponse({"error": {"message": "Validation error: of a tool"}}),
    ],
)
async def test_every_other_answer_is_left_as_it_is(response: Any) -> None:
    answer = await post(ReadableMessages(response), b"{}")
    assert (answer.status_code, answer.content) == (response.status_code, response.body)
    assert dict(answer.headers) == dict(response.headers)
