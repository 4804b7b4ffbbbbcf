"""Example of structured errors: refuse bad input in a form that a program can act on."""

import json
from typing import Annotated

from fastmcp.tools import tool
from pydantic import BaseModel, Field

from ..patterns.structured_errors import (
    CodedError,
    ErrorCode,
)


class JsonSummary(BaseModel):
    kind: str
    entries: int


@tool(
    title="Validate JSON",
    description="Check that a text is a JSON object or array, and count its entries.",
    annotations={
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": False,
    },
)
async def validated_operation(
    data: Annotated[str, Field(description="A JSON object or array.", max_length=100_000)],
) -> JsonSummary:
    try:
        value = json.loads(data)
    except json.JSONDecodeError as error:
        raise CodedError(
            ErrorCode.VALIDATION_ERROR,
            f"data is not JSON: {error.msg} in line {error.lineno}, column {error.colno}.",
            field="data",
            line=error.lineno,
            column=error.colno,
        ) from error
    except (RecursionError, ValueError) as error:
        raise CodedError(
            ErrorCode.VALIDATION_ERROR,
            "data is nested too deeply, or a number in it is too long.",
            field="data",
        ) from error
    if not isinstance(value, dict | list):
        raise CodedError(
            ErrorCode.VALIDATION_ERROR, "data must be a JSON object or array.", field="data"
        )
    return JsonSummary(kind="object" if isinstance(value, dict) else "array", entries=len(value))
