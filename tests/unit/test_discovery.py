"""Each protocol era gets its own capabilities, and lists refuse foreign cursors."""

import pytest
from fastmcp import Client
from mcp import MCPError
from mcp_types import INVALID_PARAMS

from my_mcp_server.server import (
    mcp,
)

LISTS = ["list_tools_mcp", "list_resources_mcp", "list_resource_templates_mcp", "list_prompts_mcp"]


@pytest.mark.parametrize(("mode", "logging"), [("auto", False), ("legacy", True)])
async def test_logging_is_advertised_only_where_the_protocol_has_it(
    mode: str, logging: bool
) -> None:
    async with Client(mcp, mode=mode) as client:
        capabilities = client.server_capabilities
    assert bool(capabilities and capabilities.logging is not None) is logging


@pytest.mark.parametrize("name", LISTS)
async def test_a_cursor_that_the_list_did_not_return_is_refused(name: str) -> None:
    async with Client(mcp) as client:
        with pytest.raises(MCPError) as refusal:
            await getattr(client, name)(cursor="x")
    assert refusal.value.code == INVALID_PARAMS
