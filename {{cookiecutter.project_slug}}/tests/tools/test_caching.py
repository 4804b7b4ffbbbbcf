"""The example tool `cached_fetch`."""

import json

import pytest
from fastmcp import Client

from {{ cookiecutter.package_name }}.server import (
    mcp,
)

from ..client import McpClient
from ..upstream import Upstream, answer


async def test_each_resource_is_requested_once(client: McpClient, api: Upstream) -> None:
    api.answers.extend([answer(body="one"), answer(body="two")])
    for resource_id, data in (("a/b", "one"), ("2", "two"), ("a/b", "one")):
        result = await client.call("cached_fetch", resource_id=resource_id)
        assert result == {"id": resource_id, "data": data, "hint": ""}
    assert api.paths == ["/resources/a%2Fb", "/resources/2"]


async def test_a_failure_is_reported_and_not_cached(client: McpClient, api: Upstream) -> None:
    api.answers.append(answer(503))
    assert "The API answered 503." in await client.fail("cached_fetch", resource_id="1")
    assert (await client.call("cached_fetch", resource_id="1"))["data"] == {"ok": True}


async def test_the_metadata_says_whether_the_answer_was_cached() -> None:
    async with Client(mcp) as client:
        results = [await client.call_tool("cached_fetch", {"resource_id": "1"}) for _ in range(2)]
    assert [result.meta["from_cache"] for result in results] == [False, True]


async def test_a_long_answer_is_shortened_with_a_hint(
    client: McpClient, api: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESULT_MAX_BYTES", "2000")
    api.default = answer(body=["tea"] * 1000)
    # An identifier that takes six times its length in JSON.
    result = await client.call("cached_fetch", resource_id="\x00" * 200)
    assert result["data"]
    assert result["hint"].endswith("Request less.")
    assert len(json.dumps(result)) <= 2000
