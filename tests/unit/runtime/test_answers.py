"""Any value that a tool, resource or prompt returns or raises becomes a valid answer."""

import base64
import json
import math
import os
from typing import Any

import pytest
from fastmcp import Client, Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.tools import ToolResult, tool
from fastmcp.utilities.tests import asgi_server
from mcp import MCPError
from pydantic import BaseModel

from my_mcp_server.runtime.answers import (
    SendableAnswers,
    clean,
)
from my_mcp_server.runtime.errors import (
    ToolFailure,
)

HALF = "half \ud83d"
REPAIRED = "half \ufffd"
ITSELF: list[Any] = []
ITSELF.append(ITSELF)
DEEP: list[Any] = []
for _ in range(5000):
    DEEP = [DEEP]
UNSENDABLE = {
    "text": (HALF, "not valid Unicode"),
    "bytes": ([b"\xff"], "not valid Unicode"),
    "nan": (math.nan, "NaN or an infinite number"),
    "infinity": ({"x": math.inf}, "NaN or an infinite number"),
    "object": ([object()], "a value that JSON cannot represent"),
    "itself": (ITSELF, "it contains itself"),
    "deep": (DEEP, "it is nested too deeply"),
}


class Record(BaseModel):
    value: Any


@tool
async def give(name: str) -> Record:
    return Record.model_construct(value=UNSENDABLE[name][0])


@tool
async def show() -> ToolResult:
    return ToolResult(content=HALF, meta={"text": HALF, "number": math.nan, HALF: 1})


@tool
async def refuse() -> str:
    raise ToolFailure(HALF, text=HALF, number=math.inf, thing=object(), deep=DEEP[0][0])


@tool
async def explain() -> str:
    raise ToolError(os.fsdecode(b"file \xff"))


@tool
async def ask(context: Context) -> str:
    return str(await context.elicit("Which?", response_type=str))


async def read() -> str:
    return HALF


async def picture() -> bytes:
    return b"\x89PNG\xff"


async def fail() -> str:
    raise MCPError(code=1, message=HALF, data={"text": HALF})


def server() -> FastMCP[Any]:
    mcp = FastMCP(
        "test",
        tools=[give, show, refuse, explain, ask],
        middleware=[SendableAnswers()],
        mask_error_details=True,
    )
    mcp.resource("test://read")(read)
    mcp.resource("test://fail")(fail)
    mcp.resource("test://picture")(picture)
    mcp.prompt(read)
    return mcp


async def answer(name: str, /, **arguments: Any) -> Any:
    async with Client(server()) as client:
        return await client.call_tool(name, arguments, raise_on_error=False)


@pytest.mark.parametrize("name", UNSENDABLE)
async def test_a_result_that_json_cannot_represent_is_a_failure_with_the_reason(name: str) -> None:
    result = await answer("give", name=name)
    assert result.is_error
    text = result.content[0].text
    assert text.startswith("The result cannot be sent: ")
    assert UNSENDABLE[name][1] in text
    assert "output_schema" not in text


async def test_text_that_cannot_be_encoded_is_repaired() -> None:
    result = await answer("show")
    assert not result.is_error
    assert result.content[0].text == REPAIRED
    assert result.meta["text"] == REPAIRED
    assert result.meta[REPAIRED] == 1
    assert "number" not in result.meta


async def test_the_message_of_a_failure_can_be_sent() -> None:
    assert (await answer("refuse")).content[0].text == REPAIRED
    assert (await answer("explain")).content[0].text == "file \ufffd"


async def test_the_details_of_a_failure_can_be_sent() -> None:
    failures: list[ToolFailure] = []

    class Keep(SendableAnswers):
        async def on_call_tool(self, context: Any, call_next: Any) -> Any:
            try:
                return await super().on_call_tool(context, call_next)
            except ToolFailure as failure:
                failures.append(failure)
                raise

    @tool
    async def refuse_well() -> str:
        raise ToolFailure("Cold.", text=HALF, number=math.inf, cups=(1, 2), tea=object)

    mcp = FastMCP("test", tools=[refuse, refuse_well], middleware=[Keep()])
    async with Client(mcp) as client:
        for name in ("refuse", "refuse_well"):
            await client.call_tool(name, raise_on_error=False)
    assert failures[0].details == {}  # nested too deeply to be sent
    assert failures[1].details["text"] == REPAIRED
    assert failures[1].details["number"] is None
    json.dumps(failures[1].details, allow_nan=False, ensure_ascii=False).encode()


async def test_text_of_resources_and_prompts_is_repaired() -> None:
    async with Client(server()) as client:
        (content,) = await client.read_resource("test://read")
        prompt = await client.get_prompt("read")
        with pytest.raises(MCPError) as failure:
            await client.read_resource("test://fail")
    assert content.text == REPAIRED
    assert prompt.messages[0].content.text == REPAIRED
    assert failure.value.message == REPAIRED
    assert failure.value.data == {"text": REPAIRED}


async def test_bytes_of_a_resource_are_sent_unchanged() -> None:
    async with Client(server()) as client:
        (content,) = await client.read_resource("test://picture")
    assert base64.b64decode(content.blob) == await picture()


async def test_a_question_that_stateless_http_cannot_carry_names_the_setting() -> None:
    async with (
        asgi_server(server(), stateless_http=True) as http,
        http.client(mode="legacy") as client,
    ):
        result = await client.call_tool("ask", raise_on_error=False)
    assert result.is_error
    assert "HTTP_SESSIONS=true" in result.content[0].text
    assert "elicitation/create" in result.content[0].text


@pytest.mark.parametrize(
    ("text", "repaired"),
    [
        ("tea", "tea"),
        ("\U0001f600", "\U0001f600"),
        ("\ud83d\ude00", "\U0001f600"),  # both halves
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("a\ud83db", "a\ufffdb"),
        ("\udcff", "\ufffd"),
    ],
    ids=ascii,
)
def test_only_lone_surrogates_are_replaced(text: str, repaired: str) -> None:
    assert clean(text) == repaired
