"""The SDK's MCPServer with the same tools, run as its documentation describes.

python benchmarks/contestants/sdk.py [PORT]
"""

import inspect
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations
from pydantic import Field

from benchmarks.contestants.padding import no_ops
from benchmarks.contestants.sdk_tools import TextStatistics, definitions, measure_text

TYPES = {"string": str, "integer": int, "array": list[str]}


async def process_data(text: Annotated[str, Field(max_length=100_000)]) -> TextStatistics:
    return measure_text(text)


def with_parameters(schema: dict[str, Any]) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Return a function with the parameters of an input schema."""

    async def tool(**arguments: Any) -> dict[str, Any]:
        return arguments

    required = schema.get("required", [])
    tool.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=Annotated[TYPES[part["type"]], Field(description=part["description"])],
                default=inspect.Parameter.empty if name in required else part["default"],
            )
            for name, part in schema["properties"].items()
        ],
        return_annotation=dict[str, Any],
    )
    return tool


mcp = MCPServer("sdk")
for definition in definitions():
    called = definition["name"] == "process_data"
    mcp.add_tool(
        process_data if called else with_parameters(definition["inputSchema"]),
        definition["name"],
        definition["title"],
        definition["description"],
        ToolAnnotations(**definition["annotations"]),
    )
for no_op in no_ops():
    mcp.add_tool(no_op)

if __name__ == "__main__":
    if sys.argv[1:]:
        mcp.run(transport="streamable-http", port=int(sys.argv[1]))
    else:
        mcp.run()
