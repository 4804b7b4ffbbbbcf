"""Every tool and resource answers in both protocol eras over HTTP, in every combination."""

import json
from pathlib import Path

import pytest
from fastmcp.utilities.tests import asgi_server

from my_mcp_server.server import (
    mcp,
)

from .calls import CALLS

ERAS = ["auto", "legacy"]


async def test_every_tool_and_resource_answers_in_both_eras(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("API_BASE_URL", "example")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'users.db'}")
    tools = [tool.name for tool in await mcp.list_tools()]
    resources = [str(resource.uri) for resource in await mcp.list_resources()]
    async with asgi_server(mcp, stateless_http=True) as http:
        for era in ERAS:
            async with http.client(mode=era) as client:
                for tool in tools:
                    result = await client.call_tool(tool, CALLS[tool])
                    assert result.structured_content, (era, tool)
                    assert result.structured_content == json.loads(result.content[0].text)
                for uri in resources:
                    (content,) = await client.read_resource(uri)
                    assert content.mime_type == "application/json", (era, uri)
