"""Simulates users who log in to a generated server through the local identity provider."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl, urlsplit

import httpx2

from .identity_provider import ALGORITHM, CLIENT_ID, CLIENT_SECRET, IdentityProvider
from .running import UNLIMITED, Running

VERIFIER = "v" * 50  # the PKCE code verifier (RFC 7636)
REDIRECT_URI = "http://127.0.0.1:7/callback"
SIGNING_KEY = "a-signing-key-of-more-than-32-characters"


def login_settings(provider: IdentityProvider, port: int, **variables: str) -> dict[str, str]:
    return {
        **UNLIMITED,
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "OIDC_CONFIG_URL": provider.config_url,
        "OIDC_CLIENT_ID": CLIENT_ID,
        "OIDC_CLIENT_SECRET": CLIENT_SECRET,
        "AUTH_SIGNING_KEY": SIGNING_KEY,
        "AUTH_ALGORITHM": ALGORITHM,
        "AUTH_SCOPES": "use",
        "AUTH_WRITE_SCOPES": "change",
        **variables,
    }


class Browser:
    """A user's MCP client and browser: registers, logs in, consents, and exchanges the code for a token."""

    def __init__(self, url: str, http: httpx2.AsyncClient) -> None:
        self.url = url
        self.http = http
        self.client_id = ""

    async def register(self, redirect_uri: str = REDIRECT_URI) -> httpx2.Response:
        registration = {
            "redirect_uris": [redirect_uri],
            "client_name": "the client",
            "token_endpoint_auth_method": "none",
        }
        answer = await self.http.post("/register", json=registration)
        self.client_id = answer.json().get("client_id", "")
        return answer

    async def ask(self, scope: str = "use") -> httpx2.Response:
        """Send the authorization request, and return the response before login and consent."""
        digest = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
        return await self.http.get(
            "/authorize",
            params={
                "response_type": "code",
                "client_id": self.client_id,
                "redirect_uri": REDIRECT_URI,
                "code_challenge": digest,
                "code_challenge_method": "S256",
                "state": "state",
                "scope": scope,
            },
        )

    async def authorize(self, scope: str = "use") -> dict[str, str]:
        """Log in and consent. Return the query parameters of the redirect to the client, such as `code`."""
        answer = await self.ask(scope)
        assert answer.status_code == 302, answer.text
        page = await self.http.get(answer.headers["Location"])
        assert page.status_code == 200, page.text
        assert "the client" in page.text
        form = dict(re.findall(r'<input[^>]*name="(\w+)"[^>]*value="([^"]*)"', page.text))
        answer = await self.http.post(
            str(page.url), data={**form, "action": "approve"}, headers={"Origin": self.url}
        )
        while "Location" in answer.headers and not answer.headers["Location"].startswith(REDIRECT_URI):
            answer = await self.http.get(answer.headers["Location"])
        assert "Location" in answer.headers, answer.text
        return dict(parse_qsl(urlsplit(answer.headers["Location"]).query))

    async def exchange(self, code: str) -> httpx2.Response:
        return await self.http.post(
            "/token",
            data={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": REDIRECT_URI,
                "client_id": self.client_id,
                "code_verifier": VERIFIER,
            },
        )

    async def refresh(self, token: str) -> httpx2.Response:
        form = {"grant_type": "refresh_token", "refresh_token": token, "client_id": self.client_id}
        return await self.http.post("/token", data=form)

    async def log_in(self, scope: str = "use") -> str:
        """Register, log in, and return an access token."""
        assert (await self.register()).status_code == 201
        answer = await self.exchange((await self.authorize(scope))["code"])
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token


@asynccontextmanager
async def browsing(server: Running) -> AsyncIterator[Browser]:
    url = f"http://{server.address}"
    async with httpx2.AsyncClient(base_url=url, timeout=30) as http:
        yield Browser(url, http)
