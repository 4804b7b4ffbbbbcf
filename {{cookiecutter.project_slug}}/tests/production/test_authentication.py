"""A caller without a valid token is refused, and learns where to get one."""

from urllib.parse import urlsplit

import pytest

from {{ cookiecutter.package_name }}.runtime.guards import (
    is_public,
)

from . import wire
from .authentication import Issuer
from .process import ServerProcess
from .report import Observe, Report

requires_tokens = pytest.mark.serving(
    TEST_TOKEN="",
    AUTH_ISSUER="{login.url}",
    AUTH_AUDIENCE="https://mcp.example/mcp",
    AUTH_JWKS_URL="{login.url}/keys",
    AUTH_ALGORITHM="ES256",
    AUTH_SCOPES="use",
    AUTH_WRITE_SCOPES="change",
)


async def status(server: ServerProcess, era: wire.Era, tool: str, token: str) -> int:
    """Return the HTTP status that a call is answered with."""
    async with wire.client(token) as http:
        endpoint = wire.Server(f"{server.url}/mcp", http)
        answer = await endpoint.ask(era, "tools/call", name=tool, arguments={"text": "tea"})
    return answer.status


@requires_tokens
@pytest.mark.checklist("authentication")
@pytest.mark.parametrize("era", wire.ERAS)
async def test_only_a_token_with_the_right_scopes_gets_a_call_through(
    era: wire.Era, server: ServerProcess, login: Issuer, observe: Observe
) -> None:
    read, write = "probe_echo", "probe_fail"
    assert await status(server, era, read, "") == 401
    assert await status(server, era, read, login.token(exp=1)) == 401
    assert await status(server, era, read, login.token()) == 403
    assert await status(server, era, read, login.token(scope="use")) == 200
    assert await status(server, era, write, login.token(scope="use")) == 403
    assert await status(server, era, write, login.token(scope="use change")) == 200
    observe("no or an expired token: HTTP 401, one without the scopes: HTTP 403")


@pytest.mark.checklist("authentication")
async def test_a_server_that_others_can_reach_requires_a_token(
    deployed: wire.Server, report: Report, observe: Observe
) -> None:
    async with wire.client("") as http:
        answer = await wire.Server(deployed.url, http).greet(await deployed.era())
    if not is_public(urlsplit(deployed.url).hostname or ""):
        if report.url:
            pytest.skip("it is on this machine")
        observe(f"on this machine, without a token: HTTP {answer.status}")
        return
    assert answer.status == 401, f"without a token: {answer}"
    observe(f"without a token: HTTP {answer.status}")
