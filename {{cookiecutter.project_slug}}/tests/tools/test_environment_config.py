"""The example resource `config://settings`."""

import json

import pytest
from pydantic import SecretStr

from {{ cookiecutter.package_name }}.settings import (
    Settings,
)

from ..client import McpClient


class SafeSettings(Settings):
    safe_token: SecretStr = SecretStr("")


async def test_the_resource_shows_effective_values_and_masks_secrets(
    client: McpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PORT", "9000")
    monkeypatch.setenv("SAFE_TOKEN", "hunter2")
    text = await client.read("config://settings")
    shown = json.loads(text)
    assert shown["HTTP_PORT"] == 9000
    assert shown["ENVIRONMENT"] == "development"
    assert shown["SAFE_TOKEN"] == "**********"
    assert "hunter2" not in text


async def test_settings_are_sorted_by_the_names_of_their_variables(client: McpClient) -> None:
    shown = [*json.loads(await client.read("config://settings"))]
    assert shown == sorted(shown)
