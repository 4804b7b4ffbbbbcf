"""How the server is served. The command line's flags set the variables of the same name."""

import ipaddress
import re
import signal
from typing import Literal

from pydantic import Field, field_validator

from ..settings import CommaSeparated, Settings

# Those that exist: Windows has Ctrl-Break instead of SIGTERM.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name)
)

NAME = re.compile(r"[\w.-]+")
# As in a Host header, in lower case; `*` and `?` are wildcards.
HOST = re.compile(r"[a-z0-9._*?-]+(:[0-9]+)?|[0-9a-f:.]+|\[[0-9a-f:.]+\](:[0-9]+)?")
# As in an Origin header, in lower case.
ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://([a-z0-9._*-]+|\[[0-9a-f:.]+\])(:([0-9]+|\*))?/?")
PUBLIC_URL = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]+)?(/[a-z0-9._~%-]+)*")


class ServingSettings(Settings):
    transport: Literal["stdio", "http"] = "stdio"
    http_host: str = "127.0.0.1"
    http_port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)
    allowed_hosts: CommaSeparated = ()
    allowed_origins: CommaSeparated = ()
    trusted_proxies: CommaSeparated = ()
    public_url: str = ""
    allow_unauthenticated: bool = False
    http_sessions: bool = False
    request_read_timeout_seconds: float = Field(30, gt=0, le=600)
    shutdown_delay_seconds: float = Field(0, ge=0, le=600)
    shutdown_grace_seconds: float = Field(20, ge=0, le=600)
    environment: Literal["development", "staging", "production"] = "development"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("http_host")
    @classmethod
    def _is_an_address(cls, host: str) -> str:
        if not NAME.fullmatch(host):
            try:
                ipaddress.ip_address(host)
            except ValueError:
                raise ValueError(
                    "must be an address or a name, such as 127.0.0.1; the port is HTTP_PORT"
                ) from None
        return host

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        if not all(HOST.fullmatch(host.lower()) for host in hosts):
            raise ValueError(
                "must be host names as in a Host header, such as mcp.example.com,"
                " without a scheme, path or network"
            )
        return hosts

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if not all(ORIGIN.fullmatch(origin.lower()) for origin in origins):
            raise ValueError(
                "must be origins as in an Origin header, such as https://app.example.com,"
                " with a scheme and no path"
            )
        return origins

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        try:
            networks = [ipaddress.ip_network(proxy, strict=False) for proxy in proxies]
        except ValueError:
            raise ValueError(
                "must be addresses or networks separated by commas, such as 10.0.0.0/8"
            ) from None
        if any(network.prefixlen == 0 for network in networks):
            raise ValueError("must not contain every address: callers could forge their address")
        return proxies

    @field_validator("public_url")
    @classmethod
    def _is_a_base_url(cls, url: str) -> str:
        url = url.rstrip("/")
        if url and not PUBLIC_URL.fullmatch(url.lower()):
            raise ValueError(
                "must be a URL such as https://mcp.example.com/tools, without credentials, query or"
                " fragment"
            )
        if url.endswith("/mcp"):
            raise ValueError("must be the URL without /mcp, which the server adds")
        return url
