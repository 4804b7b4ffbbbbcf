"""Every failed call is an `isError` result in one form; internals stay in the log."""

from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.prompts import Prompt
from fastmcp.resources import ResourceTemplate
from mcp import MCPError

from {{ cookiecutter.package_name }}.patterns.structured_errors import (
    CodedError,
    ErrorCode,
    StructuredErrors,
)
from {{ cookiecutter.package_name }}.runtime.errors import (
    Failures,
    ToolFailure,
)

SECRET = "hunter2"


class Refused(ToolFailure):
    """A failure with a code in the mapping."""


async def fail(kind: str) -> str:
    """Fail in one of the ways in which tools fail."""
    match kind:
        case "refused":
            raise Refused("The API said no.", retryable=True, status=503)
        case "coded":
            raise CodedError(ErrorCode.NOT_FOUND, "There is no such order.", order=7)
        case "unknown":
            raise ValueError(SECRET)
    return "ok"


def server() -> FastMCP[Any]:
    errors = StructuredErrors({Refused: ErrorCode.API_ERROR})
    return FastMCP("test", tools=[fail], middleware=[errors, Failures()], mask_error_details=True)


REFUSED = {
    "code": "API_ERROR",
    "message": "The API said no.",
    "retryable": True,
    "details": {"status": 503},
}


async def failure(tool: str, arguments: dict[str, Any], **options: Any) -> Any:
    """Call a tool that fails, and return the error's body."""
    async with Client(server(), **options) as client:
        result = await client.call_tool(tool, arguments, raise_on_error=False)
    assert result.is_error
    assert result.structured_content is not None
    error = result.structured_content["error"]
    assert result.content[0].text == f"{error['code']}: {error['message']}"
    return error


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_failure_has_the_same_form_in_both_protocol_eras(mode: str) -> None:
    assert await failure("fail", {"kind": "refused"}, mode=mode) == REFUSED


async def test_a_success_is_unchanged() -> None:
    async with Client(server()) as client:
        result = await client.call_tool("fail", {"kind": "nothing"})
    assert result.data == "ok"


async def test_an_unknown_tool_is_not_found() -> None:
    error = await failure("nobody", {})
    assert error["code"] == "NOT_FOUND"
    assert "nobody" in error["message"]


async def test_a_tool_may_choose_the_code_itself() -> None:
    error = await failure("fail", {"kind": "coded"})
    assert error == {
        "code": "NOT_FOUND",
        "message": "There is no such order.",
        "retryable": False,
        "details": {"order": 7},
    }


async def test_an_unknown_exception_shows_an_id_and_only_the_log_knows_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = await failure("fail", {"kind": "unknown"})
    assert error["code"] == "UNKNOWN"
    assert SECRET not in str(error)
    assert error["details"]["error_id"] in error["message"]
    (record,) = [one for one in caplog.records if error["details"]["error_id"] in one.getMessage()]
    assert SECRET in caplog.handler.format(record)


async def test_a_resource_and_a_prompt_fail_with_a_code_in_the_data_of_the_error() -> None:
    failing = server()
    failing.add_prompt(Prompt.from_function(fail))
    failing.add_template(ResourceTemplate.from_function(fail, uri_template="test://fail/{kind}"))
    async with Client(failing) as client:
        for request in (
            client.read_resource("test://fail/refused"),
            client.get_prompt("fail", {"kind": "refused"}),
        ):
            with pytest.raises(MCPError, match="The API said no") as raised:
                await request
            assert raised.value.error.data.items() >= REFUSED.items()
