"""Bad arguments are named, briefly, and nothing of the validator shows."""

import json
from typing import Annotated, Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.prompts import Prompt
from fastmcp.resources import ResourceTemplate
from fastmcp.tools import tool
from mcp import MCPError
from pydantic import Field

from {{ cookiecutter.package_name }}.runtime.arguments import (
    ReadableArguments,
)
from {{ cookiecutter.package_name }}.runtime.lifespan import (
    runtime,
)


@tool
async def order(
    item: Annotated[str, Field(max_length=10)],
    count: Annotated[int, Field(ge=1, examples=[3])],
    tags: list[int] | None = None,
    names: dict[str, int] | str = "",
) -> str:
    return f"{count} {item} {tags} {names}"


async def failure(arguments: dict[str, Any]) -> str:
    server = FastMCP("test", tools=[order], middleware=[ReadableArguments()])
    async with Client(server) as client:
        result = await client.call_tool("order", arguments, raise_on_error=False)
    assert result.is_error
    return str(result.content[0].text)


async def test_every_bad_field_is_named_with_its_reason() -> None:
    assert await failure({"count": 0, "colour": "red"}) == (
        "Invalid arguments: item is required: a string;"
        " count should be greater than or equal to 1, such as 3;"
        " colour is not a known field: choose from item, count, tags, names."
    )


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_list_that_is_sent_as_json_text_is_read_once(mode: str) -> None:
    server = FastMCP("test", tools=[order], middleware=[ReadableArguments()])
    arguments = {"item": "[1]", "count": 1, "tags": "[1, 2]", "names": '{"a": 1}'}
    async with Client(server, mode=mode) as client:
        result = await client.call_tool("order", arguments)
    # What may be a text stays one.
    assert result.data == '1 [1] [1, 2] {"a": 1}'


@pytest.mark.parametrize("text", ["[1, ", "1", '"[1]"', '["x"]', "[" * 100_000, ""])
async def test_a_text_that_is_no_list_is_refused_as_before(text: str) -> None:
    assert "tags" in await failure({"item": "a", "count": 1, "tags": text})


async def test_five_fields_are_enough() -> None:
    text = await failure({"item": "tea", "count": 1, "tags": ["x"] * 50})
    assert text.count("should be a valid integer") == 5
    assert text.endswith("; and 45 more.")


async def test_ten_thousand_unknown_keys_are_answered_in_under_two_kibibytes() -> None:
    text = await failure({f"{'key' * 100}{number}": "value" for number in range(10_000)})
    assert len(text.encode()) < 2048


async def test_the_input_and_the_validator_do_not_show() -> None:
    text = await failure({"item": "a-secret-canary", "count": "another-canary"})
    assert "canary" not in text
    assert "pydantic" not in text
    assert "http" not in text


async def item(number: Annotated[int, Field(ge=1)], tags: list[str] | None = None) -> str:
    return f"{number} {tags}"


def texts_server() -> FastMCP[Any]:
    """Return a server of a prompt and a resource template, whose arguments are texts."""
    server = FastMCP("test", middleware=[ReadableArguments()], lifespan=runtime)
    server.add_prompt(Prompt.from_function(item))
    server.add_template(ResourceTemplate.from_function(item, uri_template="test://item/{number}"))
    return server


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "number is required: an integer"),
        ({"number": "canary"}, "number should be a valid integer"),
        ({"number": "0"}, "number should be greater than or equal to 1"),
        ({"number": "1", "tags": "canary"}, "tags should be a valid list"),
    ],
)
async def test_the_arguments_of_a_prompt_are_checked_in_the_same_words(
    arguments: dict[str, Any], problem: str
) -> None:
    async with Client(texts_server()) as client:
        with pytest.raises(MCPError, match=f"Invalid arguments: {problem}") as raised:
            await client.get_prompt("item", arguments)
        assert "canary" not in str(raised.value)
        assert await client.get_prompt("item", {"number": "1", "tags": '["a"]'})


async def test_the_arguments_of_a_resource_template_are_checked_in_the_same_words() -> None:
    async with Client(texts_server()) as client:
        with pytest.raises(MCPError, match="Invalid arguments: number should be a valid integer"):
            await client.read_resource("test://item/canary")
        with pytest.raises(MCPError, match="Resource not found"):
            await client.read_resource("test://nowhere/1")
        assert await client.read_resource("test://item/1")


@pytest.mark.parametrize("key", ["\U0001f680", "\u540d", "\0", '"', "\\"], ids=ascii)
async def test_keys_of_any_characters_are_answered_in_under_two_kibibytes(key: str) -> None:
    arguments = {"item": 5, **{key * 50 + str(number): 1 for number in range(5)}}
    text = await failure(arguments)
    # An answer may hold the report three times: as text, as message and as fields.
    assert len(json.dumps(text, ensure_ascii=False).encode()) * 3 < 2048
