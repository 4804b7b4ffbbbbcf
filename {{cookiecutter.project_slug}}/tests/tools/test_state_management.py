"""The example tool `increment_counter`."""

import asyncio
from pathlib import Path

import pytest

from ..client import McpClient


@pytest.fixture(autouse=True, params=["memory", "file"])
def _state(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a new store of both kinds."""
    file = f"sqlite:///{tmp_path / 'state.db'}"
    monkeypatch.setenv("STATE_URL", "memory://" if request.param == "memory" else file)


async def test_concurrent_calls_are_all_counted(client: McpClient) -> None:
    await asyncio.gather(*(client.call("increment_counter", name="tea", by=2) for _ in range(10)))
    result = await client.call("increment_counter", name="tea", by=-5)
    assert result == {"name": "tea", "value": 15}


async def test_each_counter_begins_at_0_and_counts_by_1(client: McpClient) -> None:
    for name in ("tea", "milk"):
        assert await client.call("increment_counter", name=name) == {"name": name, "value": 1}


async def test_a_counter_beyond_the_limit_is_refused(
    client: McpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_MAX_KEYS", "1")
    await client.call("increment_counter", name="tea")
    assert "The state store is full" in await client.fail("increment_counter", name="milk")
