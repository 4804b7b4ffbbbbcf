"""The example tool `api_request`."""

import pytest

from ..client import McpClient
from ..upstream import DROPPED, Upstream, answer


async def test_a_path_of_the_api_is_answered(client: McpClient) -> None:
    result = await client.call("api_request", endpoint="users/1")
    assert result == {"status": 200, "data": {"id": "1", "name": "Ada"}, "hint": ""}


async def test_a_failed_request_is_reported_and_not_retried(
    client: McpClient, api: Upstream
) -> None:
    api.answers.extend([answer(503), DROPPED])
    assert "The API answered 503." in await client.fail("api_request", endpoint="users")
    assert "The connection to the API failed." in await client.fail("api_request", endpoint="users")
    assert len(api.requests) == 2


async def test_a_path_that_leads_elsewhere_is_refused(client: McpClient, api: Upstream) -> None:
    message = await client.fail("api_request", endpoint="https://elsewhere.example/users")
    assert "relative to the API's base URL" in message
    assert api.requests == []


async def test_a_long_answer_is_shortened_with_a_hint(
    client: McpClient, api: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESULT_MAX_BYTES", "2000")
    api.default = answer(body={"users": ["Ada"] * 1000, "next": "?page=2"})
    result = await client.call("api_request", endpoint="users")
    assert 100 < len(result["data"]["users"]) < 300
    assert result["data"]["next"] == "?page=2"
    assert result["hint"].endswith("Request less.")
