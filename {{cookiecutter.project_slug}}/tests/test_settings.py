"""A bad setting is one readable line before the server starts."""

import sys

import pytest
from fastmcp import FastMCP
from pydantic import Field

from {{ cookiecutter.package_name }}.runtime.command import (
    parse_flags,
)
from {{ cookiecutter.package_name }}.runtime.http import (
    is_public,
    serve_http,
)
from {{ cookiecutter.package_name }}.runtime.serving import (
    ServingSettings,
)
from {{ cookiecutter.package_name }}.settings import (
    InvalidSettings,
    Settings,
    check_settings,
)


def test_a_field_is_set_by_the_variable_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PORT", "9000")
    assert ServingSettings().http_port == 9000


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PORT", "")
    assert ServingSettings().http_port == ServingSettings.model_fields["http_port"].default


def test_a_list_is_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "a.example, b.example,")
    assert ServingSettings().allowed_hosts == ("a.example", "b.example")


def test_every_bad_variable_is_named_in_one_line_and_no_value_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PORT", "canary")
    monkeypatch.setenv("WORKERS", "0")
    with pytest.raises(InvalidSettings) as refusal:
        check_settings()
    message = str(refusal.value)
    assert "HTTP_PORT: " in message
    assert "WORKERS: " in message
    assert "canary" not in message
    assert "\n" not in message


def test_settings_of_later_patterns_are_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class LaterSettings(Settings):
        later_limit: int = Field(1, ge=1)

    monkeypatch.setenv("LATER_LIMIT", "0")
    with pytest.raises(InvalidSettings, match="LATER_LIMIT: "):
        check_settings()


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("127.0.0.1", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("10.0.0.7", True),
        ("example.com", True),
    ],
)
def test_an_address_that_others_can_reach_is_public(host: str, public: bool) -> None:
    assert is_public(host) is public


def test_a_public_address_is_refused_while_nobody_is_asked_for_a_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_HOST", "")  # which the flag replaces
    monkeypatch.setattr(sys, "argv", ["server", "--host", "0.0.0.0"])
    parse_flags("server")
    with pytest.raises(InvalidSettings, match="ALLOW_UNAUTHENTICATED=true"):
        serve_http(FastMCP("test"), "nowhere:app")


def test_several_workers_cannot_keep_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_SESSIONS", "true")
    monkeypatch.setenv("WORKERS", "2")
    with pytest.raises(InvalidSettings, match=r"HTTP_SESSIONS: .*WORKERS=1"):
        serve_http(FastMCP("test"), "nowhere:app")
