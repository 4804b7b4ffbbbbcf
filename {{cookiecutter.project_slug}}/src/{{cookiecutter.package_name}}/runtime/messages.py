"""Answer what is no message in the server's own words.

In the handshake eras the SDK answers a body that is JSON but no JSON-RPC with pydantic's report:
a kilobyte about its own types, with parts of the input, and with the code of bad parameters.
"""

import json
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BAD_REQUEST = 400
INVALID_REQUEST = -32600  # JSON-RPC 2.0, section 5.1
REPORT = "Validation error: "
INVALID = {"code": INVALID_REQUEST, "message": "Invalid request: the body is no JSON-RPC message."}


class ReadableMessages:
    """An ASGI wrapper that puts one sentence in the place of such a report."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal: list[Message] = []

        async def forward(message: Message) -> None:
            if message.get("status") == BAD_REQUEST or refusal:
                refusal.append(message)
            else:
                await send(message)

        await self._app(scope, receive, forward)
        if _is_report(b"".join(message.get("body", b"") for message in refusal)):
            answer = {"jsonrpc": "2.0", "id": None, "error": INVALID}
            await JSONResponse(answer, BAD_REQUEST)(scope, receive, send)
        else:
            for message in refusal:
                await send(message)


def _is_report(body: bytes) -> bool:
    try:
        answer: Any = json.loads(body)
        return str(answer["error"]["message"]).startswith(REPORT)
    except (ValueError, LookupError, TypeError):
        return False
