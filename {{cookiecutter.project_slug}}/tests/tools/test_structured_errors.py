"""The example tool `validated_operation`."""

from typing import Any

import pytest

from {{ cookiecutter.package_name }}.patterns.structured_errors import (
    CodedError,
    ErrorCode,
)
from {{ cookiecutter.package_name }}.tools.structured_errors import (
    validated_operation,
)

from ..client import McpClient


@pytest.mark.parametrize(
    ("data", "summary"),
    [
        ('{"a": 1, "b": {}}', {"kind": "object", "entries": 2}),
        (" [] ", {"kind": "array", "entries": 0}),
    ],
)
async def test_valid_json_is_summarised(
    client: McpClient, data: str, summary: dict[str, Any]
) -> None:
    assert await client.call("validated_operation", data=data) == summary


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "data is not JSON: Expecting value in line 1, column 1."),
        ("3", "data must be a JSON object or array."),
        ("null", "data must be a JSON object or array."),
        pytest.param("[" * 100_000, "nested too deeply", id="deep"),
        pytest.param(f"[{'9' * 5000}]", "a number in it is too long", id="long number"),
    ],
)
async def test_anything_else_is_refused_with_the_reason(
    client: McpClient, data: str, message: str
) -> None:
    assert message in await client.fail("validated_operation", data=data)


async def test_programs_find_the_code_and_the_place_in_the_error() -> None:
    with pytest.raises(CodedError) as refusal:
        await validated_operation('{"a":\n oops}')
    assert refusal.value.code is ErrorCode.VALIDATION_ERROR
    assert refusal.value.details == {"field": "data", "line": 2, "column": 2}
