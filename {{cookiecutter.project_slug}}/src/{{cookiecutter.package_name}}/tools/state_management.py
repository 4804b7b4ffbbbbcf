"""Example of shared state: a counter that loses no update of concurrent callers."""

from typing import Annotated

from fastmcp.tools import tool
from pydantic import BaseModel, Field, JsonValue

from ..patterns.state_management import (
    State,
)


class Counter(BaseModel):
    name: str
    value: int


@tool(
    title="Increment a counter",
    description="Add to a named counter, which starts at 0, and return its new value.",
    annotations={
        "readOnlyHint": False,
        "destructiveHint": False,
        "idempotentHint": False,
        "openWorldHint": False,
    },
)
async def increment_counter(
    name: Annotated[str, Field(description="Name of the counter.", min_length=1, max_length=100)],
    state: State,
    by: Annotated[int, Field(description="How much to add.", ge=-1_000_000, le=1_000_000)] = 1,
) -> Counter:
    def add(value: JsonValue) -> JsonValue:
        return (value if isinstance(value, int) else 0) + by

    value = await state.update(f"counter:{name}", add)
    return Counter(name=name, value=value if isinstance(value, int) else 0)
