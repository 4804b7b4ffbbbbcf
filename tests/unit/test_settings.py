"""A bad setting is reported in one readable line before the server starts."""

import sys
from itertools import chain

import pytest
from fastmcp import FastMCP
from pydantic import Field

from my_mcp_server.runtime.flags import (
    parse_flags,
)
from my_mcp_server.runtime.guards import (
    is_public,
)
from my_mcp_server.runtime.http import (
    serve_http,
)
from my_mcp_server.runtime.serving import (
    ServingSettings,
)
from my_mcp_server.settings import (
    InvalidSettings,
    Settings,
    check_settings,
)


def test_a_field_is_set_by_the_variable_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PORT", "9000")
    assert ServingSettings().http_port == 9000


@pytest.mark.parametrize("blank", ["", " \r\n"])
def test_a_blank_variable_is_unset(blank: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PORT", blank)
    assert ServingSettings().http_port == ServingSettings.model_fields["http_port"].default


def test_a_list_is_written_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "a.example, b.example,")
    assert ServingSettings().allowed_hosts == ("a.example", "b.example")


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("LOG_LEVEL", "info", "INFO"),
        ("TRANSPORT", " HTTP\r", "http"),
        ("HTTP_PORT", "9000 ", 9000),
        ("SHUTDOWN_GRACE_SECONDS", "\t1.5\r", 1.5),
        ("ALLOW_UNAUTHENTICATED", "True\r", True),
        ("ALLOW_UNAUTHENTICATED", "1 ", True),
        ("ALLOW_UNAUTHENTICATED", " yes", True),
        ("HTTP_HOST", " localhost\n", "localhost"),
        ("ALLOWED_HOSTS", " A.example ,\tb.example\r", ("A.example", "b.example")),
        ("http_port", "9000", 9000),
    ],
)
def test_space_around_a_value_and_its_case_do_not_matter(
    name: str, value: str, meant: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    check_settings()
    assert getattr(ServingSettings(), name.lower()) == meant


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_HOSTS", "https://mcp.example.com"),
        ("ALLOWED_HOSTS", "a.example, mcp.example.com/mcp"),
        ("ALLOWED_HOSTS", "10.0.0.0/8"),
        ("ALLOWED_HOSTS", "mcp example.com"),
        ("ALLOWED_ORIGINS", "app.example.com"),
        ("ALLOWED_ORIGINS", "https://app.example.com/login"),
        ("ALLOWED_ORIGINS", "https://user@app.example.com"),
        ("ALLOWED_ORIGINS", "https://"),
        ("HTTP_HOST", "http://0.0.0.0"),
        ("HTTP_HOST", "0.0.0.0:8000"),
        ("HTTP_HOST", "[::1]"),
        ("HTTP_HOST", "local host"),
        ("SHUTDOWN_GRACE_SECONDS", "nan"),
    ],
)
def test_an_ineffective_value_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match=f"^{name}: "):
        check_settings()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ALLOWED_HOSTS", "*, *.example.com, mcp.example.com:8443, 10.0.0.*, ::1, [::1]:8000"),
        ("ALLOWED_ORIGINS", "*, null, https://App.example.com/, http://localhost:*, app://x"),
        ("HTTP_HOST", "::1"),
        ("HTTP_HOST", "my_host.example"),
    ],
)
def test_an_effective_value_is_accepted(
    name: str, values: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, values)
    check_settings()


def test_a_flag_is_validated_like_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"--transport": "pigeon", "--port": "abc", "--workers": "0", "--host": "a b"}
    monkeypatch.setattr(sys, "argv", ["server", *chain.from_iterable(flags.items())])
    parse_flags("server", "1")
    with pytest.raises(InvalidSettings) as refusal:
        check_settings()
    for name in ("TRANSPORT", "HTTP_PORT", "WORKERS", "HTTP_HOST"):
        assert str(refusal.value).count(f"{name}: ") >= 1


def test_one_line_names_every_bad_variable_without_its_value(
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
        later_names: dict[str, str] = Field(default_factory=dict)

    monkeypatch.setenv("LATER_LIMIT", "0")
    with pytest.raises(InvalidSettings, match="LATER_LIMIT: "):
        check_settings()
    monkeypatch.setenv("LATER_NAMES", "no JSON")
    with pytest.raises(InvalidSettings, match="later_names"):
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


def test_an_unauthenticated_server_refuses_a_public_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_HOST", "")  # the flag overrides it
    monkeypatch.setattr(sys, "argv", ["server", "--host", "0.0.0.0"])
    parse_flags("server", "1")
    with pytest.raises(InvalidSettings, match="ALLOW_UNAUTHENTICATED=true"):
        serve_http(FastMCP("test"), "nowhere:app")


def test_sessions_are_refused_with_several_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_SESSIONS", "true")
    monkeypatch.setenv("WORKERS", "2")
    with pytest.raises(InvalidSettings, match=r"HTTP_SESSIONS: .*WORKERS=1"):
        serve_http(FastMCP("test"), "nowhere:app")
