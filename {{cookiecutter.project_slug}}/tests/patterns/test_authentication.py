"""The endpoint requires a valid token, and a tool learns who is calling."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastmcp import Client
from fastmcp.tools import tool

from {{ cookiecutter.package_name }}.patterns.authentication import (
    Caller,
    authenticate,
)
from {{ cookiecutter.package_name }}.runtime.server import (
    Server,
)

from ..production.authentication import Issuer

METADATA = "/.well-known/oauth-protected-resource"
STATELESS = "2026-07-28"
ERAS = (STATELESS, "2025-11-25")
SCOPES = {"auth_scopes": ("use",), "auth_write_scopes": ("change",)}


@tool(annotations={"readOnlyHint": True})
async def read(caller: Caller) -> str:
    return f"{caller.subject} of {caller.client_id} by {caller.issuer}"


@tool
async def write() -> str:
    return "written"


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def create_server(issuer: Issuer, **settings: Any) -> Server:
    server = Server("test", tools=[read, write])
    authenticate(server, issuer.settings(**settings))
    return server


@asynccontextmanager
async def connect(issuer: Issuer, **settings: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve with some settings besides those of the issuer."""
    app: Any = create_server(issuer, **settings).http_app()
    transport = httpx2.ASGITransport(app)
    async with (
        app.lifespan(app),
        httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http,
    ):
        yield http


async def call(http: httpx2.AsyncClient, name: str, token: str, era: str) -> httpx2.Response:
    """Call a tool as a client of the era does."""
    params: dict[str, Any] = {"name": name, "arguments": {}}
    headers = {
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": era,
        **({"Authorization": f"Bearer {token}"} if token else {}),
    }
    if era == STATELESS:
        params["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": era,
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        headers |= {"Mcp-Method": "tools/call", "Mcp-Name": name}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return await http.post("/mcp", json=message, headers=headers)


@pytest.mark.parametrize("era", ERAS)
async def test_a_tool_learns_who_calls_it(issuer: Issuer, era: str) -> None:
    async with connect(issuer) as http:
        answer = await call(http, "read", issuer.token(), era)
    assert answer.status_code == 200
    assert "ada of desktop by https://login.example" in answer.text


@pytest.mark.parametrize("era", ERAS)
async def test_without_a_token_a_client_learns_where_to_get_one(issuer: Issuer, era: str) -> None:
    async with connect(issuer, **SCOPES) as http:
        answer = await call(http, "read", "", era)
        metadata = [(await http.get(path)).json() for path in (METADATA, f"{METADATA}/mcp")]
    assert answer.status_code == 401
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge == (
        f'Bearer scope="use", resource_metadata="https://mcp.example{METADATA}/mcp"'
    )
    assert metadata[0] == metadata[1]
    assert metadata[0]["resource"] == "https://mcp.example/mcp"
    assert metadata[0]["authorization_servers"] == ["https://login.example"]
    assert metadata[0]["scopes_supported"] == ["use", "change"]


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://other.example/mcp"},
        {"iss": "https://other.example"},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
    ],
    ids=str,
)
async def test_a_token_for_others_or_without_an_end_or_a_subject_is_refused(
    issuer: Issuer, claims: dict[str, Any]
) -> None:
    async with connect(issuer) as http:
        answer = await call(http, "read", issuer.token(**claims), STATELESS)
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert "resource_metadata=" in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_tool_that_may_change_something_needs_the_write_scopes_too(
    issuer: Issuer, era: str
) -> None:
    async with connect(issuer, **SCOPES) as http:
        assert (await call(http, "read", issuer.token(scope="use"), era)).status_code == 200
        refused = await call(http, "write", issuer.token(scope="use"), era)
        granted = await call(http, "write", issuer.token(scope="use change"), era)
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]
    assert 'scope="use change"' in refused.headers["WWW-Authenticate"]
    assert "written" in granted.text


async def test_a_rejected_token_is_in_no_log(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    token = issuer.token(exp=1)
    async with connect(issuer) as http:
        await call(http, "read", token, STATELESS)
    assert "Rejected a request: The token has expired." in caplog.text
    assert not [record for record in caplog.records if token[:20] in str(vars(record))]


async def test_on_stdio_the_caller_is_the_local_user_and_needs_no_token(issuer: Issuer) -> None:
    async with Client(create_server(issuer, **SCOPES)) as client:
        assert "local of" in (await client.call_tool("read")).content[0].text
        assert (await client.call_tool("write")).content[0].text == "written"


def test_without_an_issuer_anyone_may_call(issuer: Issuer) -> None:
    nothing = {"auth_issuer": "", "auth_audience": "", "auth_public_key": ""}
    assert create_server(issuer, **nothing).auth is None
