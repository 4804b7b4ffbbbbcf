"""Messages about bad arguments are short, name the fields, and hide the validator."""

import json
from typing import Annotated, Any, Literal

import pytest
from fastmcp import Client, FastMCP
from fastmcp.prompts import Prompt
from fastmcp.resources import ResourceTemplate
from fastmcp.tools import tool
from mcp import MCPError
from pydantic import BaseModel, Field

from my_mcp_server.runtime.arguments import (
    MAX_JSON_LENGTH,
    ReadableArguments,
    read_json,
)
from my_mcp_server.runtime.lifespan import (
    runtime,
)


@tool
async def order(
    item: Annotated[str, Field(max_length=10)],
    count: Annotated[int, Field(ge=1)],
    tags: list[int] | None = None,
) -> str:
    return f"{count} {item} {tags}"


class Cup(BaseModel):
    size: int


@tool
async def brew(
    minutes: Annotated[int, Field(examples=[3])] = 5,
    kind: Literal["green", "black"] = "green",
    cups: list[Cup] | None = None,
    notes: dict[str, int] | None = None,
    label: str | list[str] = "",
) -> str:
    return f"{minutes} {kind} {cups} {notes} {label!r}"


async def call(name: str, arguments: dict[str, Any]) -> Any:
    server = FastMCP("test", tools=[order, brew], middleware=[ReadableArguments()])
    async with Client(server) as client:
        return await client.call_tool(name, arguments, raise_on_error=False)


async def failure(arguments: dict[str, Any], name: str = "order") -> str:
    result = await call(name, arguments)
    assert result.is_error
    return str(result.content[0].text)


async def test_every_bad_field_is_named_with_its_reason() -> None:
    assert await failure({"count": 0, "colour": "red"}) == (
        "Invalid arguments: item is required: a string; count should be greater than or equal to 1;"
        " colour is not a parameter of this tool. Its parameters: item, count, tags."
    )


async def test_at_most_five_bad_fields_are_listed() -> None:
    text = await failure({"item": "tea", "count": 1, "tags": ["x"] * 50})
    assert text.count("should be an integer") == 5
    assert text.endswith("; and 45 more.")


async def test_ten_thousand_unknown_keys_are_answered_in_under_two_kibibytes() -> None:
    text = await failure({f"{'key' * 100}{number}": "value" for number in range(10_000)})
    assert len(text.encode()) < 2048


async def test_neither_the_input_nor_the_validator_is_shown() -> None:
    text = await failure({"item": "a-secret-canary", "count": "another-canary"})
    assert "canary" not in text
    assert "pydantic" not in text
    assert "http" not in text


async def item(number: Annotated[int, Field(ge=1)], tags: list[str] | None = None) -> str:
    return f"{number} {tags}"


def texts_server() -> FastMCP[Any]:
    """Return a server with a prompt and a resource template, whose arguments are texts."""
    server = FastMCP("test", middleware=[ReadableArguments()], lifespan=runtime)
    server.add_prompt(Prompt.from_function(item))
    server.add_template(ResourceTemplate.from_function(item, uri_template="test://item/{number}"))
    return server


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "number is required: an integer"),
        ({"number": "canary"}, "number should be an integer"),
        ({"number": "0"}, "number should be greater than or equal to 1"),
        ({"number": "1", "tags": "canary"}, "tags should be an array"),
    ],
)
async def test_the_arguments_of_a_prompt_get_the_same_messages(
    arguments: dict[str, Any], problem: str
) -> None:
    async with Client(texts_server()) as client:
        with pytest.raises(MCPError, match=f"Invalid arguments: {problem}") as raised:
            await client.get_prompt("item", arguments)
        assert "canary" not in str(raised.value)
        assert await client.get_prompt("item", {"number": "1", "tags": '["a"]'})


async def test_the_arguments_of_a_resource_template_get_the_same_messages() -> None:
    async with Client(texts_server()) as client:
        with pytest.raises(MCPError, match="Invalid arguments: number should be an integer"):
            await client.read_resource("test://item/canary")
        with pytest.raises(MCPError, match="Resource not found"):
            await client.read_resource("test://nowhere/1")
        assert await client.read_resource("test://item/1")


@pytest.mark.parametrize("key", ["\U0001f680", "\u540d", "\0", '"', "\\"], ids=ascii)
async def test_keys_of_any_characters_are_answered_in_under_two_kibibytes(key: str) -> None:
    arguments = {"item": 5, **{key * 50 + str(number): 1 for number in range(5)}}
    text = await failure(arguments)
    # An answer may contain the report three times: as text, as message and as fields.
    assert len(json.dumps(text, ensure_ascii=False).encode()) * 3 < 2048


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"minutes": "soon"}, "minutes should be an integer, such as 3"),
        ({"minutes": 2.5}, "minutes should be an integer, such as 3"),
        ({"kind": "red"}, "kind should be one of 'green' or 'black'"),
        ({"cups": "a cup"}, "cups should be an array"),
        ({"cups": [1]}, "cups.0 should be an object"),
        ({"cups": [{}]}, "cups.0.size is required: an integer"),
        ({"notes": 5}, "notes should be an object"),
    ],
)
async def test_a_reason_names_the_expected_value(arguments: dict[str, Any], reason: str) -> None:
    assert await failure(arguments, "brew") == f"Invalid arguments: {reason}."


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"cups": '[{"size": 1}]'}, "5 green [Cup(size=1)] None ''"),
        ({"notes": ' {"sugar": 2}'}, "5 green None {'sugar': 2} ''"),
        ({"cups": "null", "notes": "null"}, "5 green None None ''"),
        ({"minutes": "7"}, "7 green None None ''"),
        ({"label": '["a"]'}, """5 green None None '["a"]'"""),
        ({"label": "null"}, "5 green None None 'null'"),
    ],
)
async def test_json_text_is_parsed_where_the_schema_does_not_allow_a_string(
    sent: dict[str, Any], read: str
) -> None:
    assert (await call("brew", sent)).data == read


@pytest.mark.parametrize(
    "text",
    ["[1", "[NaN]", "{}", '"[1]"', "[" * 5000, "[" + "1," * MAX_JSON_LENGTH + "1]"],
    ids=lambda text: text[:9],
)
def test_text_that_is_not_such_json_is_unchanged(text: str) -> None:
    schema = {"properties": {"tags": {"type": "array", "items": {"type": "integer"}}}}
    assert read_json({"tags": text}, schema) == {"tags": text}


def test_text_is_parsed_only_once() -> None:
    schema = {"properties": {"tags": {"type": "array"}}}
    assert read_json({"tags": '["[1]"]'}, schema) == {"tags": ["[1]"]}


@pytest.mark.parametrize("schema", [{}, {"type": ["array", "string"]}, {"enum": ["[1]"]}])
def test_text_is_unchanged_where_a_string_is_allowed_or_the_schema_has_no_type(
    schema: dict[str, Any],
) -> None:
    assert read_json({"tags": "[1]"}, {"properties": {"tags": schema}}) == {"tags": "[1]"}
