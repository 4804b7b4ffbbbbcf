"""Find out who is calling behind a proxy.

A proxy names the caller in a header, but so can anyone. A header is believed only if the connection
comes from an address in `TRUSTED_PROXIES`. Each proxy appends the address that it was called from,
so the list is read from the right: the first address that is not a trusted proxy is the caller.
"""

import ipaddress
import re
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# An address with an optional port: 192.0.2.1:80, 2001:db8::1, [2001:db8::1]:80.
WITH_PORT = re.compile(r"\[([^\]]*)\](?::\d+)?|([^:]*):\d+|(.*)")
# A parameter of the Forwarded header (RFC 7239, section 4): for=192.0.2.1, proto="https".
PARAMETER = re.compile(r'\s*(\w+)\s*=\s*(?:"([^"\\]*)"|([^\s";,]*))\s*')
SCHEMES = ("http", "https")


class TrustedProxies:
    """An ASGI wrapper that sets `client` and `scheme` from the headers of trusted proxies."""

    def __init__(self, app: ASGIApp, proxies: Iterable[str]) -> None:
        self._app = app
        self._networks = [ipaddress.ip_network(proxy, strict=False) for proxy in proxies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._networks and scope.get("client"):
            scope = self._as_forwarded(scope)
        await self._app(scope, receive, send)

    def _as_forwarded(self, scope: Scope) -> Scope:
        peer = parse_address(scope["client"][0])
        if peer is None or not self._trusts(peer):
            return scope
        headers = Headers(scope=scope)
        hops, protocols = forwarded(headers.getlist("forwarded"))
        if "x-forwarded-for" in headers:
            named = _elements(headers.getlist("x-forwarded-for"))
            if hops and self._caller(peer, hops) != self._caller(peer, named):
                # The proxy has set one of the headers. The caller may have made up the other.
                return scope
            hops = named
        protocols = _elements(headers.getlist("x-forwarded-proto")) or protocols
        scope = {**scope, "client": (str(self._caller(peer, hops)), 0)}
        if protocols and protocols[-1].lower() in SCHEMES:
            scope["scheme"] = protocols[-1].lower()
        return scope

    def _caller(self, peer: Address, hops: list[str]) -> Address:
        """Return the first untrusted address from the right, or the last one that can be read."""
        caller = peer
        for hop in reversed(hops):
            address = parse_address(hop)
            if address is None:
                break
            caller = address
            if not self._trusts(address):
                break
        return caller

    def _trusts(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


def parse_address(text: str) -> Address | None:
    """Return the address in `text`, with or without a port, or None if there is none."""
    found = WITH_PORT.fullmatch(text)
    host = "" if found is None else next(part for part in found.groups() if part is not None)
    try:
        address = ipaddress.ip_address(host.partition("%")[0])  # without the zone
    except ValueError:
        return None
    # ::ffff:192.0.2.1 is an IPv4 peer of a socket that accepts both.
    return getattr(address, "ipv4_mapped", None) or address


def forwarded(values: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the `for` and `proto` parameters of a Forwarded header (RFC 7239), in order."""
    hops, protocols = [], []
    for element in _elements(values):
        parameters = {}
        for parameter in element.split(";"):
            if found := PARAMETER.fullmatch(parameter):
                value = found[3] if found[2] is None else found[2]
                parameters[found[1].lower()] = value
        hops.append(parameters.get("for", ""))
        if "proto" in parameters:
            protocols.append(parameters["proto"])
    return hops, protocols


def _elements(values: Iterable[str]) -> list[str]:
    return [part.strip() for value in values for part in value.split(",") if part.strip()]
