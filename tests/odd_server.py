"""A generated server with tools that return and raise unserializable values. Run with the package name."""

import importlib
import math
import os
import sys
from functools import cache
from typing import Any

from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from fastmcp.tools import ToolResult
from pydantic import BaseModel

package = sys.argv.pop(1)
command = importlib.import_module(f"{package}.__main__")
errors = importlib.import_module(f"{package}.runtime.errors")

HALF = "half \ud83d"
ITSELF: list[Any] = []
ITSELF.append(ITSELF)
DEEP: list[Any] = []
for _ in range(3000):
    DEEP = [DEEP]
VALUES = {
    "half": HALF,
    "file": os.fsdecode(b"\xff"),
    "key": {HALF: 1},
    "bytes": [b"\xff"],
    "nan": math.nan,
    "infinity": [math.inf],
    "object": [object()],
    "itself": ITSELF,
    "deep": DEEP,
    "number": 10**5000,
    "set": {1, 2},
}


class Record(BaseModel):
    value: Any


async def as_model(name: str) -> Record:
    return Record.model_construct(value=VALUES[name])


async def as_any(name: str) -> Any:
    return VALUES[name]


async def as_result(name: str) -> ToolResult:
    return ToolResult(content="tea", structured_content={"value": VALUES[name]})


async def as_meta(name: str) -> ToolResult:
    return ToolResult(content="tea", meta={"value": VALUES[name]})


async def as_failure(name: str) -> str:
    raise errors.ToolFailure(f"No tea: {HALF}", value=VALUES[name])


async def as_error(name: str) -> str:
    raise ToolError(f"No tea: {HALF}{name}")


async def as_unknown(name: str) -> str:
    raise RuntimeError(f"{HALF}{name}")


async def ask(context: Context) -> str:
    return str(await context.elicit("Which?", response_type=str))


async def read(name: str) -> str:
    return f"{VALUES[name]}"


load = command.load


@cache
def load_oddly() -> FastMCP[Any]:
    server: FastMCP[Any] = load()
    for tool in (as_model, as_any, as_result, as_meta, as_failure, as_error, as_unknown, ask):
        server.add_tool(tool)
    server.resource("odd://{name}")(read)
    server.prompt(read)
    return server


command.load = load_oddly  # type: ignore[attr-defined]
if __name__ == "__main__":
    command.main()
