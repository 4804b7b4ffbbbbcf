"""The caller is the first address from the right that is not a trusted proxy."""

import pytest
from starlette.types import Message, Receive, Scope, Send

from my_mcp_server.runtime.proxies import (
    TrustedProxies,
)

PROXY = "192.0.2.1"


async def seen(peer: str, headers: dict[str, str], *proxies: str) -> tuple[str, str]:
    """Return the caller's address and the scheme that an app sees."""
    scopes: list[Scope] = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        scopes.append(scope)

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        """Discard it."""

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "client": (peer, 1), "scheme": "http", "headers": raw}
    await TrustedProxies(app, proxies)(scope, receive, send)
    return scopes[0]["client"][0], scopes[0]["scheme"]


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ({"x-forwarded-for": "203.0.113.1"}, "203.0.113.1"),
        ({"x-forwarded-for": "198.51.100.1, 203.0.113.1, 10.1.2.3"}, "203.0.113.1"),
        ({"x-forwarded-for": "[2001:db8::1]:80"}, "2001:db8::1"),
        ({"x-forwarded-for": "::ffff:203.0.113.1"}, "203.0.113.1"),
        ({"x-forwarded-for": "10.1.2.3, 10.1.2.4"}, "10.1.2.3"),
        ({"x-forwarded-for": "nobody, 10.1.2.3"}, "10.1.2.3"),
        ({"forwarded": 'for=198.51.100.1, For="203.0.113.1:80";proto=https'}, "203.0.113.1"),
        ({"forwarded": "for=unknown"}, PROXY),
        ({"forwarded": "for=198.51.100.1", "x-forwarded-for": "203.0.113.1"}, PROXY),
        ({}, PROXY),
    ],
)
async def test_a_trusted_proxy_names_the_caller(headers: dict[str, str], caller: str) -> None:
    assert (await seen(PROXY, headers, PROXY, "10.0.0.0/8"))[0] == caller
    assert (await seen(f"::ffff:{PROXY}", headers, PROXY, "10.0.0.0/8"))[0] in {
        caller,
        f"::ffff:{PROXY}",
    }


@pytest.mark.parametrize("proxies", [(), ("192.0.2.2",), ("10.0.0.0/8",)])
async def test_headers_from_untrusted_addresses_are_ignored(proxies: tuple[str, ...]) -> None:
    headers = {"x-forwarded-for": "203.0.113.1", "x-forwarded-proto": "https"}
    assert await seen(PROXY, headers, *proxies) == (PROXY, "http")


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-proto": "https"},
        {"x-forwarded-proto": "http, HTTPS"},
        {"forwarded": "for=203.0.113.1;proto=https"},
    ],
)
async def test_a_trusted_proxy_names_the_scheme(headers: dict[str, str]) -> None:
    assert (await seen(PROXY, headers, PROXY))[1] == "https"


async def test_an_unknown_scheme_is_ignored() -> None:
    assert (await seen(PROXY, {"x-forwarded-proto": "gopher"}, PROXY))[1] == "http"
