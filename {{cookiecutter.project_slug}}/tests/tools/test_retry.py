"""The example tool `resilient_api_call`."""

import pytest

from ..client import McpClient
from ..upstream import DROPPED, RESET, TRUNCATED, Answer, Upstream, answer


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRY_FIRST_PAUSE_SECONDS", "0.001")


@pytest.mark.parametrize(
    "outage", [[answer(503), answer(429)], [DROPPED, RESET], [TRUNCATED]], ids=len
)
async def test_the_tool_answers_when_the_api_recovers(
    client: McpClient, api: Upstream, outage: list[Answer]
) -> None:
    api.answers.extend(outage)
    result = await client.call("resilient_api_call", endpoint="users/1")
    assert result == {"status": 200, "data": {"ok": True}, "hint": ""}
    assert api.paths == ["/users/1"] * (len(outage) + 1)


@pytest.mark.parametrize(("status", "requests"), [(503, 4), (404, 1)])
async def test_the_tool_reports_the_reason_when_the_api_does_not_recover(
    client: McpClient, api: Upstream, status: int, requests: int
) -> None:
    api.default = answer(status)
    assert "The API " in await client.fail("resilient_api_call", endpoint="users/1")
    assert len(api.requests) == requests


async def test_a_long_answer_is_shortened_with_a_hint(
    client: McpClient, api: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESULT_MAX_BYTES", "2000")
    api.default = answer(body=["tea"] * 1000)
    result = await client.call("resilient_api_call", endpoint="users")
    assert 100 < len(result["data"]) < 300
    assert result["hint"].endswith("Request less.")
