"""Plain FastMCP with only the tools of the generated server.

fastmcp run benchmarks/contestants/plain.py
"""

from importlib import import_module
from typing import Any

from fastmcp import FastMCP

from benchmarks.contestants.padding import no_ops

TOOLS = {
    "process_data": "process_data",
    "lazy_initialization": "database_operation",
    "connection_pooling": "api_request",
    "retry": "resilient_api_call",
    "caching": "cached_fetch",
    "structured_errors": "validated_operation",
    "parallel_processing": "batch_process",
    "state_management": "increment_counter",
}

contract = [getattr(import_module(f"benchmarked.tools.{module}"), name) for module, name in TOOLS.items()]
mcp: FastMCP[Any] = FastMCP("plain", tools=[*contract, *no_ops()])
