"""The example tool `process_data`."""

from ..client import McpClient


async def test_words_lines_and_characters_are_counted(client: McpClient) -> None:
    result = await client.call("process_data", text="tea\nfor two")
    assert result == {"words": 3, "lines": 2, "characters": 11}


async def test_an_empty_text_has_nothing_to_count(client: McpClient) -> None:
    result = await client.call("process_data", text="")
    assert result == {"words": 0, "lines": 0, "characters": 0}
