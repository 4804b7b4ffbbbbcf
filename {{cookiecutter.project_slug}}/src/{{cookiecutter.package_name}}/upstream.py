"""The API that the tools call: its address, its endpoints and the credential for it.

This file is yours. `runtime/api_client.py` sends the requests, with its safeguards.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager{{ ", nullcontext" if cookiecutter.connection_pooling else "" }}
from functools import partial
from typing import Annotated, Any

{% if not cookiecutter.connection_pooling %}
import httpx2 as httpx
{% endif %}
from fastmcp import FastMCP
from fastmcp.dependencies import Shared
from fastmcp.server.lifespan import lifespan
from pydantic import SecretStr

from .example_api import example_api
{% if cookiecutter.connection_pooling %}
from .patterns.connection_pooling import (
    ConnectionPoolingSettings,
    connection_pool,
)
{% endif %}
from .runtime.api_client import ApiAnswer, ApiClient, ApiKey, client_options
from .runtime.api_urls import EXAMPLE, BaseUrl, base_url, path_segment
from .runtime.readiness import readiness
from .settings import Settings


class UpstreamSettings(Settings):
    # `example` is a small in-process API.
    api_base_url: BaseUrl = ""
    api_key: ApiKey = SecretStr("")


class UpstreamApi(ApiClient):
    """The endpoints that several tools call, one method each.

    `get`, `post`, `put`, `patch` and `delete` take any path below the base URL.
    """

    async def get_resource(self, collection: str, resource_id: str) -> ApiAnswer:
        """Return one resource; its id counts as one path segment, whatever it contains."""
        return await self.get(f"{collection}/{path_segment(resource_id)}")


async def authorization(settings: UpstreamSettings) -> str:
    """Return the Authorization header of a request, or "" for none.

    Awaited for each attempt, on behalf of the tool's caller. To act with the caller's own rights,
    exchange their token here (RFC 8693); `token_identity()` identifies them. Never return the token
    itself: it was issued for this server, not for the API. Readiness checks call this too, without
    a caller.
    """
    key = settings.api_key.get_secret_value()
    return f"Bearer {key}" if key else ""


async def check_configuration(settings: UpstreamSettings) -> None:
    """Raise `UpstreamNotConfigured` if there is no API to call; opens nothing."""
    base_url(settings.api_base_url)


@lifespan
async def api_configuration(_server: FastMCP[Any]) -> AsyncIterator[dict[str, Any]]:
    """Report unready if no API is configured; the first call replaces this check by a ping.

    An API that is down makes the server degraded only, even if it has never answered: the server
    cannot know before the first call, and all replicas have the same API.
    """
    with readiness.reporting("api", partial(check_configuration, UpstreamSettings())):
        yield {}


@asynccontextmanager
async def upstream_api() -> AsyncIterator[UpstreamApi]:
    settings = UpstreamSettings()
    base = base_url(settings.api_base_url)
    options = client_options(base, example_api() if settings.api_base_url == EXAMPLE else None)
{% if cookiecutter.connection_pooling %}
    async with connection_pool(ConnectionPoolingSettings(), **options) as client:
        api = UpstreamApi(base, lambda: nullcontext(client), partial(authorization, settings))
        with readiness.reporting("api", api.ping, has_passed=True):
            yield api
{% else %}
    connect = partial(httpx.AsyncClient, **options)
    api = UpstreamApi(base, connect, partial(authorization, settings))
    with readiness.reporting("api", api.ping, has_passed=True):
        yield api
{% endif %}


Api = Annotated[UpstreamApi, Shared(upstream_api)]
