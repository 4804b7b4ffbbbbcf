"""Foreign hosts and origins are refused, and the message names the setting."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from my_mcp_server.runtime.server import (
    Server,
)

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ACCEPT = {"Accept": "application/json, text/event-stream"}
ORIGIN = "https://app.example.com"


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_ORIGINS", f"{ORIGIN},https://*.example.org")
    monkeypatch.setenv("PUBLIC_URL", "https://mcp.example.com/public")


@asynccontextmanager
async def client(
    base_url: str = "http://127.0.0.1", mounted_at: str = ""
) -> AsyncIterator[httpx2.AsyncClient]:
    app: Any = Server("test").http_app()
    outer = Starlette(routes=[Mount(mounted_at, app)]) if mounted_at else app
    transport = httpx2.ASGITransport(outer)
    async with (
        app.lifespan(app),
        httpx2.AsyncClient(transport=transport, base_url=base_url, headers=ACCEPT) as http,
    ):
        yield http


async def test_a_refusal_names_the_setting_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client() as http:
        for _ in range(2):
            host = await http.post("/mcp", json=PING, headers={"Host": "evil.example"})
            origin = await http.post("/mcp", json=PING, headers={"Origin": "https://evil.example"})
    assert (host.status_code, "ALLOWED_HOSTS" in host.text) == (421, True)
    assert (origin.status_code, "ALLOWED_ORIGINS" in origin.text) == (403, True)
    refused = [text for text in caplog.messages if "Refused" in text]
    assert len(refused) == 2
    assert "Host 'evil.example' is not in ALLOWED_HOSTS" in refused[0]


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (ORIGIN, True),
        ("https://a.example.org:443", True),
        ("https://a.example.org:8443", False),
        ("http://localhost:5173", False),  # may send requests, but not read answers
    ],
)
async def test_a_web_page_may_read_answers_only_from_an_allowed_origin(
    origin: str, *, allowed: bool
) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "mcp-name"}
    async with client() as http:
        preflight = await http.options("/mcp", headers={"Origin": origin, **asked})
        answer = await http.post("/mcp", json=PING, headers={"Origin": origin})
    assert (preflight.status_code == 200) == allowed
    for response in (preflight, answer):
        assert (response.headers.get("Access-Control-Allow-Origin") == origin) == allowed


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/public/mcp", "/public/mcp/"])
@pytest.mark.parametrize("mounted_at", ["", "/tools"])
async def test_the_endpoint_is_served_and_guarded_at_each_of_its_paths(
    path: str, mounted_at: str
) -> None:
    async with client(mounted_at=mounted_at) as http:
        good = await http.post(mounted_at + path, json=PING, headers={"Host": "mcp.example.com"})
        bad = await http.post(mounted_at + path, json={**PING, "id": None})
        other = await http.post(f"{mounted_at}/publicity/mcp", json=PING)
    assert (good.status_code, bad.status_code, other.status_code) == (200, 400, 404)
    assert "pydantic" not in bad.text


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("127.0.0.1", 200),
        ("[::1]", 200),
        ("[::ffff:127.0.0.1]", 200),
        ("10.0.0.1", 403),
        ("[::ffff:10.0.0.1]", 403),
    ],
)
async def test_an_unauthenticated_server_answers_on_loopback_addresses_only(
    address: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "*")
    async with client(f"http://{address}") as http:
        assert (await http.post("/mcp", json=PING)).status_code == status
    monkeypatch.setenv("ALLOW_UNAUTHENTICATED", "true")
    async with client(f"http://{address}") as http:
        assert (await http.post("/mcp", json=PING)).status_code == 200


async def test_a_check_that_is_off_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "*")
    with caplog.at_level(logging.WARNING):
        async with client() as http:
            answer = await http.post("/mcp", json=PING, headers={"Host": "any.example"})
    assert answer.status_code == 200
    assert "ALLOWED_HOSTS=*: this check is off" in caplog.messages
