"""Each protocol era gets its own capabilities, and lists refuse foreign cursors."""

import pytest
from fastmcp import Client
from mcp import MCPError
from mcp_types import INVALID_PARAMS

from my_mcp_server.server import (
    mcp,
)

LISTS = ["list_tools_mcp", "list_resources_mcp", "list_resource_templates_mcp", "list_prompts_mcp"]


# One connection for each protocol: this file runs in thousands of projects.
@pytest.mark.parametrize(("mode", "has_logging"), [("auto", False), ("legacy", True)])
async def test_an_era_has_its_capabilities_and_its_lists_refuse_unknown_cursors(
    mode: str, has_logging: bool
) -> None:
    async with Client(mcp, mode=mode) as client:
        capabilities = client.server_capabilities
        assert bool(capabilities and capabilities.logging is not None) is has_logging
        for name in LISTS:
            with pytest.raises(MCPError) as refusal:
                await getattr(client, name)(cursor="x")
            assert refusal.value.code == INVALID_PARAMS, name
