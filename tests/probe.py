"""Lists the components of a generated server for the matrix. Runs in the project."""

import importlib

import anyio


def listing(package: str) -> list[list[str]]:
    """Return the names of the server's tools and the URIs of its resources."""
    mcp = importlib.import_module(f"{package}.server").mcp

    async def names() -> list[list[str]]:
        tools, resources = await mcp.list_tools(), await mcp.list_resources()
        return [[tool.name for tool in tools], [str(resource.uri) for resource in resources]]

    return anyio.run(names)
