"""Refuse requests that a web page or another machine must not be able to send.

Host and Origin checks stop DNS rebinding and cross-site requests. FastMCP's refusals do not say
which setting is missing; these do, to the client and in the log. An unauthenticated server answers
on loopback addresses only, whichever server program runs the app.
"""

import ipaddress
import logging
import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from http import HTTPStatus

from fastmcp.server.http import HostOriginGuardMiddleware
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

# How many different refused values are logged: anyone can send any number of them.
MAX_LOGGED_VALUES = 100
MAX_VALUE_LENGTH = 100
EXPLANATIONS = {
    HTTPStatus.MISDIRECTED_REQUEST: (
        "host",
        "This server does not accept this Host. Its operator can add it to ALLOWED_HOSTS,"
        " or set PUBLIC_URL.",
    ),
    HTTPStatus.FORBIDDEN: (
        "origin",
        "Web pages of this Origin may not call this server. Its operator can add it to"
        " ALLOWED_ORIGINS.",
    ),
}
NOT_PUBLIC = (
    "This server does not require authentication, so it answers on loopback addresses only."
    " Its operator can set ALLOW_UNAUTHENTICATED=true."
)
# What browsers need to read besides the body of an answer.
EXPOSED_HEADERS = (
    "Mcp-Session-Id",
    "MCP-Protocol-Version",
    "Retry-After",
    "WWW-Authenticate",
)
ORIGIN_WITHOUT_PORT = re.compile(r"(https?)://(?:\[[^\]]*\]|[^:\[]*)")
DEFAULT_PORTS = {"http": 80, "https": 443}


class HostAndOrigin:
    """An ASGI wrapper around FastMCP's check that explains each refusal and logs it once."""

    def __init__(self, app: ASGIApp, hosts: Collection[str], origins: Collection[str]) -> None:
        self._app = app
        self._hosts = tuple(hosts)
        self._origins = tuple(origins)
        self._logged: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None

        async def passed(_scope: Scope, _receive: Receive, _send: Send) -> None:
            nonlocal status
            status = None

        async def refused(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)

        await HostOriginGuardMiddleware(passed, self._hosts, self._origins, mode="strict")(
            scope, receive, refused
        )
        if status is None:
            await self._app(scope, receive, send)
            return
        header, explanation = EXPLANATIONS[HTTPStatus(status)]
        self._log(header, Headers(scope=scope).get(header, ""))
        await PlainTextResponse(explanation, status)(scope, receive, send)

    def _log(self, header: str, value: str) -> None:
        value = f"{header.title()} {value[:MAX_VALUE_LENGTH]!r}"
        if value not in self._logged and len(self._logged) < MAX_LOGGED_VALUES:
            self._logged.add(value)
            logger.warning("Refused a request: %s is not in ALLOWED_%sS", value, header.upper())


class AllowedOrigins(CORSMiddleware):
    """CORS for the entries of `ALLOWED_ORIGINS`, compared as the Origin check compares them."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=EXPOSED_HEADERS,
            allow_private_network=True,
        )
        self._allowed = [with_port(origin) for origin in origins]

    def is_allowed_origin(self, origin: str) -> bool:
        return any(fnmatchcase(with_port(origin), entry) for entry in self._allowed)


class PublicAddress:
    """An ASGI wrapper that refuses requests that arrive on an address other machines can reach."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._is_logged = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        listener = (scope.get("server") or ("",))[0]
        if scope["type"] != "http" or not _is_public_address(listener):
            await self._app(scope, receive, send)
            return
        if not self._is_logged:
            self._is_logged = True
            logger.error("Refused a request to %s: set ALLOW_UNAUTHENTICATED=true", listener)
        await PlainTextResponse(NOT_PUBLIC, HTTPStatus.FORBIDDEN)(scope, receive, send)


def with_port(origin: str) -> str:
    """Return an origin, or one with wildcards, in lower case and with its port."""
    origin = origin.lower().rstrip("/")
    found = ORIGIN_WITHOUT_PORT.fullmatch(origin)
    return f"{origin}:{DEFAULT_PORTS[found[1]]}" if found else origin


def is_public(host: str) -> bool:
    """Return whether other machines can reach `host`; an unknown name counts as public."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host != "localhost"
    return _is_public_address(host)


def _is_public_address(host: str) -> bool:
    """The same for the address of a socket: a Unix socket has a path instead."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not (getattr(address, "ipv4_mapped", None) or address).is_loopback
