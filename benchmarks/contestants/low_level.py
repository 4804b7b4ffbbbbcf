"""The SDK's low-level server with the same tools, run as its documentation describes.

python benchmarks/contestants/low_level.py [PORT]
"""

import sys
from typing import Any

import anyio
import mcp_types as types
import uvicorn
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server

from benchmarks.contestants.padding import no_ops
from benchmarks.contestants.sdk_tools import definitions, measure_text

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
TOOLS = [
    *(types.Tool.model_validate(definition) for definition in definitions()),
    *(types.Tool(name=no_op.__name__, description=no_op.__doc__, input_schema=TEXT) for no_op in no_ops()),
]


async def list_tools(
    _context: ServerRequestContext[Any], _params: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    return types.ListToolsResult(tools=TOOLS)


async def call_tool(
    _context: ServerRequestContext[Any], params: types.CallToolRequestParams
) -> types.CallToolResult:
    arguments = params.arguments or {}
    if params.name != "process_data":
        return types.CallToolResult(content=[types.TextContent(text=str(arguments.get("text")))])
    statistics = measure_text(arguments["text"])
    return types.CallToolResult(
        content=[types.TextContent(text=statistics.model_dump_json())],
        structured_content=statistics.model_dump(),
    )


server = Server("low-level", on_list_tools=list_tools, on_call_tool=call_tool)


async def serve_stdio() -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    if sys.argv[1:]:
        uvicorn.run(server.streamable_http_app(), port=int(sys.argv[1]))
    else:
        anyio.run(serve_stdio)
