"""Details of failures: the nearest code, schemas, causes, and protocol errors."""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.exceptions import NotFoundError, ToolError
from fastmcp.prompts import Prompt
from fastmcp.resources import ResourceTemplate
from mcp import MCPError
from mcp_types import INVALID_PARAMS
from pydantic import BaseModel

from my_mcp_server.patterns.structured_errors import (
    CodedError,
    ErrorCode,
    ErrorInfo,
    StructuredErrors,
)
from my_mcp_server.runtime.arguments import (
    InvalidArguments,
    ReadableArguments,
)
from my_mcp_server.runtime.errors import (
    Failures,
    ToolFailure,
)

from ...patterns.test_structured_errors import SECRET, Refused


class RefusedForever(Refused):
    """Has no code of its own."""


class RefusedToday(Refused):
    """Has its own code."""


class Unmapped(ToolFailure):
    """Neither this class nor a base class has a code."""


CODES: dict[type[Exception], ErrorCode] = {
    InvalidArguments: ErrorCode.VALIDATION_ERROR,
    Refused: ErrorCode.API_ERROR,
    RefusedToday: ErrorCode.TIMEOUT,
}


class Inner(BaseModel):
    number: int


class Summary(BaseModel):
    kind: str
    entries: int


async def fail(kind: str) -> str:
    """Fail in one of the ways that tools can fail."""
    match kind:
        case "refused":
            raise Refused("The API said no.", retryable=True, status=503)
        case "coded":
            raise CodedError(ErrorCode.NOT_FOUND, "There is no such order.", order=7)
        case "plain":
            raise ToolError("The shop is closed.")
        case "plain with a cause":
            raise ToolError("The shop is closed.") from KeyError(SECRET)
        case "unknown":
            raise ValueError(SECRET)
        case "unknown with a cause":
            raise RuntimeError("outer") from OSError(SECRET)
        case "group":
            raise ExceptionGroup(SECRET, [ValueError(SECRET)])
        case "pydantic":
            Inner.model_validate({"number": SECRET})
    return "ok"


async def summarise(data: str) -> Summary:
    return Summary(kind="text", entries=len(data))


def server(*, mask: bool = True) -> FastMCP[Any]:
    return FastMCP(
        "test",
        tools=[fail, summarise],
        middleware=[StructuredErrors(CODES), ReadableArguments(), Failures()],
        mask_error_details=mask,
    )


async def failure(tool: str, arguments: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Call a tool that fails, and return the error's body."""
    async with Client(server(), **options) as client:
        result = await client.call_tool(tool, arguments, raise_on_error=False)
    assert result.is_error
    assert set(result.structured_content) == {"error"}
    error: dict[str, Any] = result.structured_content["error"]
    assert set(error) == {"code", "message", "retryable", "details"}
    assert [block.text for block in result.content] == [f"{error['code']}: {error['message']}"]
    return error


async def test_a_failure_has_exactly_the_documented_fields() -> None:
    assert await failure("fail", {"kind": "refused"}) == {
        "code": "API_ERROR",
        "message": "The API said no.",
        "retryable": True,
        "details": {"status": 503},
    }


async def test_an_output_schema_requires_a_result_or_an_error() -> None:
    async with Client(server()) as client:
        schemas = [tool.output_schema for tool in await client.list_tools()]
    for schema, answer in zip(schemas, (["result"], ["kind", "entries"]), strict=True):
        assert "required" not in schema
        assert schema["anyOf"] == [{"required": answer}, {"required": ["error"]}]
        assert schema["properties"].keys() >= {"error", *answer}
        error = schema["properties"]["error"]
        assert set(error["required"]) == set(error["properties"]) == set(ErrorInfo.model_fields)


async def test_bad_arguments_name_their_fields() -> None:
    error = await failure("summarise", {"dat": "[]"})
    assert error["code"] == "VALIDATION_ERROR"
    assert error["details"] == {
        "fields": [
            {"field": "data", "reason": "is required: a string"},
            {"field": "dat", "reason": "is not a parameter of this tool"},
        ]
    }


@pytest.mark.parametrize("kind", ["plain", "plain with a cause"])
async def test_a_plain_tool_error_keeps_its_message(kind: str) -> None:
    error = await failure("fail", {"kind": kind})
    assert error["code"] == "UNKNOWN"
    assert error["message"] == "The shop is closed."


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("kind", ["unknown", "unknown with a cause", "group", "pydantic"])
async def test_the_cause_of_an_unknown_exception_is_masked_too(
    kind: str, mask: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with Client(server(mask=mask)) as client:
        result = await client.call_tool("fail", {"kind": kind}, raise_on_error=False)
    assert result.is_error
    assert SECRET not in str(result)
    error = result.structured_content["error"]
    assert error["code"] == "UNKNOWN"
    assert error["retryable"] is False
    error_id = error["details"]["error_id"]
    assert error_id in error["message"]
    (record,) = [record for record in caplog.records if error_id in record.getMessage()]
    assert record.levelno == logging.ERROR
    text = caplog.handler.format(record)
    assert "Traceback" in text
    assert SECRET in text


async def test_every_unknown_exception_has_its_own_id() -> None:
    async with Client(server()) as client:
        results = await asyncio.gather(
            *(client.call_tool("fail", {"kind": "unknown"}, raise_on_error=False) for _ in range(5))
        )
    ids = {result.structured_content["error"]["details"]["error_id"] for result in results}
    assert len(ids) == 5


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused("no"), ErrorCode.API_ERROR),
        (RefusedForever("no"), ErrorCode.API_ERROR),
        (RefusedToday("no"), ErrorCode.TIMEOUT),
        (Unmapped("no"), ErrorCode.UNKNOWN),
        (ToolError("no"), ErrorCode.UNKNOWN),
        (NotFoundError("no"), ErrorCode.NOT_FOUND),
        *((CodedError(code, "no"), code) for code in ErrorCode),
    ],
)
def test_a_failure_has_the_code_of_its_nearest_class(error: Exception, code: ErrorCode) -> None:
    assert StructuredErrors(CODES).describe(error) == ErrorInfo(code=code, message="no")


def test_details_that_are_not_json_are_shown_as_text() -> None:
    when = datetime(2026, 1, 2, tzinfo=UTC)
    info = StructuredErrors().describe(Unmapped("no", when=when, keys=("a", {1}), other=object))
    assert info.details["when"] == "2026-01-02T00:00:00Z"
    assert info.details["keys"] == ["a", [1]]
    assert isinstance(info.details["other"], str)


async def test_a_cancelled_call_is_not_answered_with_an_error() -> None:
    waiting = asyncio.Event()
    cancelled = asyncio.Event()

    async def wait() -> None:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with Client(FastMCP("test", tools=[wait], middleware=[StructuredErrors()])) as client:
        call = asyncio.create_task(client.call_tool("wait"))
        await waiting.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        async with asyncio.timeout(5):
            await cancelled.wait()
        assert call.cancelled()
        assert await client.list_tools()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_protocol_error_has_the_same_data_in_both_eras(mode: str) -> None:
    failing = server()
    failing.add_prompt(Prompt.from_function(fail))
    failing.add_template(ResourceTemplate.from_function(fail, uri_template="test://fail/{kind}"))
    async with Client(failing, mode=mode) as client:
        for request in (
            client.read_resource("test://fail/refused"),
            client.get_prompt("fail", {"kind": "refused"}),
        ):
            with pytest.raises(MCPError, match="The API said no") as raised:
                await request
            assert {**raised.value.error.data, "uri": ""} == {
                "uri": "",
                "code": "API_ERROR",
                "message": "The API said no.",
                "retryable": True,
                "details": {"status": 503},
            }


@pytest.mark.parametrize("uri", ["test://nowhere", "test://fail/coded"])
async def test_an_unknown_resource_is_a_not_found_protocol_error(uri: str) -> None:
    failing = server()
    failing.add_template(ResourceTemplate.from_function(fail, uri_template="test://fail/{kind}"))
    async with Client(failing) as client:
        with pytest.raises(MCPError) as raised:
            await client.read_resource(uri)
    assert raised.value.error.code == INVALID_PARAMS
    assert raised.value.error.data["code"] == "NOT_FOUND"
    assert raised.value.error.data["uri"] == uri
