"""A client for the tests of tools. It checks the rules for every answer."""

import json
from typing import Any

from fastmcp import Client

# Clients refuse or truncate longer results, or save them to a file.
MAX_RESULT_BYTES = 50_000


class McpClient:
    """Calls to the server, through its whole middleware."""

    def __init__(self, client: Client[Any]) -> None:
        self._client = client

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that must succeed, and return its structured result."""
        result = await self._client.call_tool_mcp(tool, arguments)
        text = text_of(result.content[0])
        assert not result.is_error, f"{tool} failed: {text}"
        assert result.structured_content is not None, f"{tool} returns no structured result"
        assert json.loads(text) == result.structured_content
        assert len(text.encode()) <= MAX_RESULT_BYTES, f"the result of {tool} is too long"
        return dict(result.structured_content)

    async def fail(self, tool: str, **arguments: Any) -> str:
        """Call a tool that must fail, and return the message."""
        result = await self._client.call_tool_mcp(tool, arguments)
        text = text_of(result.content[0])
        assert result.is_error, f"{tool} succeeded: {text}"
        return text

    async def read(self, uri: str) -> str:
        """Read a resource, and return its text."""
        (content,) = await self._client.read_resource(uri)
        return text_of(content)

    async def prompt(self, name: str, **arguments: str) -> str:
        """Render a prompt, and return the text of its messages."""
        prompt = await self._client.get_prompt(name, arguments)
        return "\n".join(text_of(message.content) for message in prompt.messages)


def text_of(content: object) -> str:
    """Return the text of a content block that has one."""
    text = getattr(content, "text", None)
    assert isinstance(text, str), f"expected text, got {type(content).__name__}"
    return text
