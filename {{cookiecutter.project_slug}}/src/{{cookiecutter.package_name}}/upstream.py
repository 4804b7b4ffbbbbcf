"""The API that the tools call: a client for GET requests below one base URL.

A path chosen by a model must not lead to another host, where it would carry the API's credential,
nor out of the base path; and an upstream must not be able to fill the memory or to hold a call
for ever.
"""

import re
import zlib
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager{{ ", nullcontext" if cookiecutter.connection_pooling else "" }}
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlsplit

import anyio
import httpx2 as httpx
from fastmcp import FastMCP
from fastmcp.dependencies import Shared
from fastmcp.server.lifespan import lifespan
from pydantic import BaseModel, ConfigDict, Field, JsonValue, SecretStr, field_validator
from pydantic_core import from_json

from .example_api import EXAMPLE_API
{% if cookiecutter.connection_pooling %}
from .patterns.connection_pooling import (
    ConnectionPoolingSettings,
    connection_pool,
)
{% endif %}
from .results import cut
from .runtime.errors import ToolFailure
from .runtime.readiness import readiness
from .settings import Settings

Connect = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]

NOT_FOUND = 404
TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500
MAX_REDIRECTS = 5
HIGHEST_PORT = 65535
EXAMPLE = "example"

OUTSIDE = "The path must stay below the API's base URL, as users/1 does."
REDIRECTED_OUTSIDE = "The API redirects out of API_BASE_URL; the redirect was not followed."


class UpstreamSettings(Settings):
    # `example` is a small API inside this process.
    api_base_url: str = ""
    api_key: SecretStr = SecretStr("")
    api_timeout_seconds: float = Field(10, gt=0, lt=60)
    api_connect_timeout_seconds: float = Field(3, gt=0, lt=60)
    api_max_response_bytes: int = Field(1024 * 1024, ge=1024)

    @field_validator("api_base_url")
    @classmethod
    def _is_a_base(cls, value: str) -> str:
        if value.lower() == EXAMPLE:
            return EXAMPLE
        if value and not is_base(value):
            raise ValueError(
                "must be `example`, or an http:// or https:// URL"
                " with no space, user, password, query or fragment"
            )
        return value

    @field_validator("api_key")
    @classmethod
    def _fits_into_a_header(cls, value: SecretStr) -> SecretStr:
        if not re.fullmatch("[!-~]*", value.get_secret_value()):
            raise ValueError("must be ASCII characters with no space or line break among them")
        return value


class UpstreamNotConfigured(ToolFailure):
    """There is no API to call yet."""


class EndpointRefused(ToolFailure):
    """The path leads out of the API; nothing was sent there."""


class UpstreamFailure(ToolFailure):
    """The API did not give a usable answer."""


class UpstreamNotFound(UpstreamFailure):
    """The API does not know the path."""


class UpstreamTimeout(UpstreamFailure):
    """The API took too long."""


class UpstreamBusy(UpstreamFailure):
    """The API asks for fewer requests."""


class ApiAnswer(BaseModel):
    """What the API answered."""

    model_config = ConfigDict(allow_inf_nan=False)  # 1e400 is infinite for Python

    status: int
    data: JsonValue
    hint: str = Field("", description="What is missing of data that is too long.")

    def within(self, max_bytes: int) -> "ApiAnswer":
        """Return the answer with as much of its data as a result of `max_bytes` has room for."""
        data, hint = cut(self.data, max_bytes)
        return self.model_copy(update={"data": data, "hint": hint})


class UpstreamApi:
    """GET requests below `base`, each within `timeout` seconds and `max_bytes`, unpacked."""

    def __init__(
        self, base: httpx.URL, connect: Connect, *, timeout: float, max_bytes: int
    ) -> None:
        self._base = base
        self._connect = connect
        self._timeout = timeout
        self._max_bytes = max_bytes

    async def get(self, endpoint: str) -> ApiAnswer:
        """Return the API's answer to a GET of `endpoint`, a path relative to the base URL.

        Raises:
            EndpointRefused: `endpoint` is no such path, or the API redirects out of its base.
            UpstreamFailure: there is no usable answer; a subclass says why.
        """
        url = resolve(self._base, endpoint)
        try:
            status, body = await self._fetch(url)
            text = body.removeprefix(BOM_UTF8) or b"null"
            return ApiAnswer(status=status, data=from_json(text, allow_inf_nan=False))
        except httpx.HTTPStatusError as error:
            raise _status_failure(error) from error
        except httpx.PoolTimeout as error:
            raise UpstreamTimeout(
                "All connections to the API are in use.", retryable=True
            ) from error
        except httpx.TimeoutException as error:
            raise UpstreamTimeout(
                f"The API did not answer within {self._timeout:g} seconds.", retryable=True
            ) from error
        except ValueError as error:
            raise UpstreamFailure("The API did not answer with JSON.") from error
        except (httpx.HTTPError, zlib.error) as error:
            raise UpstreamFailure("The connection to the API failed.", retryable=True) from error

    async def get_resource(self, collection: str, resource_id: str) -> ApiAnswer:
        """Return one resource; its id counts as one path segment, whatever it contains."""
        if resource_id in (".", ".."):  # which no quoting turns into a name
            raise EndpointRefused(OUTSIDE)
        return await self.get(f"{collection}/{quote(resource_id, safe='')}")

    async def ping(self) -> None:
        """Ask for the base URL; any answer but a server error will do.

        Raises:
            UpstreamFailure: there was none.
        """
        async with self._connect() as client:
            response = await client.head(self._base)
        if response.status_code >= SERVER_ERROR:
            raise UpstreamFailure(f"The API answered {response.status_code}.")

    async def _fetch(self, url: httpx.URL) -> tuple[int, bytes]:
        """Return status and body, within the time for both."""
        try:
            with anyio.fail_after(self._timeout):  # read timeouts alone never end a slow drip
                async with self._connect() as client, self._open(client, url) as response:
                    response.raise_for_status()
                    return response.status_code, await self._read(response)
        except TimeoutError as error:
            # As an HTTP error, so that retries see the request that timed out.
            request = httpx.Request("GET", url)
            raise httpx.ReadTimeout("The time is over.", request=request) from error

    @asynccontextmanager
    async def _open(
        self, client: httpx.AsyncClient, url: httpx.URL
    ) -> AsyncIterator[httpx.Response]:
        """Follow redirects by hand: the client would read their bodies, of whatever size."""
        request = client.build_request("GET", url)
        for _ in range(MAX_REDIRECTS + 1):
            async with aclosing(await client.send(request, stream=True)) as response:
                if response.next_request is None:
                    yield response
                    return
                request = response.next_request
                refuse_outside(self._base, request.url, REDIRECTED_OUTSIDE)
        raise UpstreamFailure("The API redirects in circles.")

    async def _read(self, response: httpx.Response) -> bytes:
        """Read the body, decompressing no further than the limit."""
        if response.is_stream_consumed:  # from memory, as httpx.MockTransport answers
            return response.content
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip", "deflate"):
            raise UpstreamFailure("The API compresses its answer in a way that was not asked for.")
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding != "identity" else None
        body = bytearray()
        async for chunk in response.aiter_raw():
            room = self._max_bytes - len(body) + 1
            body += unpack.decompress(chunk, room) if unpack else chunk
            if len(body) > self._max_bytes:
                raise UpstreamFailure(f"The API's answer is larger than {self._max_bytes} bytes.")
        return bytes(body)


def _status_failure(error: httpx.HTTPStatusError) -> UpstreamFailure:
    status = error.response.status_code
    if status == NOT_FOUND:
        return UpstreamNotFound("The API knows nothing under this path.", status=status)
    if status == TOO_MANY_REQUESTS:
        after = error.response.headers.get("retry-after", "")
        hint = f" It asks to wait: {after[:40]}." if after else ""
        return UpstreamBusy(f"The API refuses more requests.{hint}", retryable=True, status=status)
    return UpstreamFailure(
        f"The API answered {status}.", retryable=status >= SERVER_ERROR, status=status
    )


def resolve(base: httpx.URL, endpoint: str) -> httpx.URL:
    """Return the URL of `endpoint` below `base`.

    Raises:
        EndpointRefused: it is an absolute URL, or leaves the base path.
    """
    try:
        parts = urlsplit(endpoint.strip())
        url = base.join(endpoint.strip().lstrip("/"))
    except (ValueError, httpx.InvalidURL):
        raise EndpointRefused(OUTSIDE) from None
    if parts.scheme or parts.netloc or "\\" in endpoint or not endpoint.isprintable():
        raise EndpointRefused(OUTSIDE)
    refuse_outside(base, url)
    return url


def refuse_outside(base: httpx.URL, url: httpx.URL, reason: str = OUTSIDE) -> None:
    """Raise `EndpointRefused` unless `url` has the origin of `base` and stays below its path."""
    path = unquote(unquote(url.raw_path.decode("ascii").partition("?")[0]))
    same_origin = (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port)
    if (
        not same_origin
        or url.userinfo
        or not path.startswith(base.path)
        or "\\" in path
        or ".." in re.split("[/;]", path)  # some servers read `..;` as `..`
    ):
        raise EndpointRefused(reason)


def is_base(url: str) -> bool:
    """Tell whether paths can be put below `url`, and whether it holds nothing else."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return (
        parsed.scheme in ("http", "https")
        and bool(parsed.host)
        and (parsed.port is None or 0 < parsed.port <= HIGHEST_PORT)
        and not (parsed.userinfo or parsed.query or parsed.fragment)
        and not re.search(r"\s|[?#]", url)
    )


def base_url(settings: UpstreamSettings) -> httpx.URL:
    """Return the base URL, ending in a slash.

    Raises:
        UpstreamNotConfigured: `API_BASE_URL` is not set.
    """
    if not settings.api_base_url:
        raise UpstreamNotConfigured(
            "API_BASE_URL is not set: set it to the URL of your API, or to `example`."
        )
    if settings.api_base_url == EXAMPLE:
        return httpx.URL("http://example.invalid/")
    return httpx.URL(settings.api_base_url.rstrip("/") + "/")


async def check_configuration() -> None:
    """Raise `UpstreamNotConfigured` while there is no API to call; opens nothing."""
    base_url(UpstreamSettings())


@lifespan
async def api_configuration(_server: FastMCP[Any]) -> AsyncIterator[dict[str, Any]]:
    """Report unready while there is no API to call; the API itself answers once it is open."""
    with readiness.reporting("api", check_configuration):
        yield {}


def client_options(settings: UpstreamSettings) -> dict[str, Any]:
    """Return how every client is made, pooled or not."""
    base = base_url(settings)

    async def stay_below_base(request: httpx.Request) -> None:
        refuse_outside(base, request.url)

    key = settings.api_key.get_secret_value()
    return {
        "headers": {
            # Formats that can be unpacked step by step, so that a small bomb is no large answer.
            "Accept-Encoding": "gzip, deflate",
            "Accept": "application/json",
            **({"Authorization": f"Bearer {key}"} if key else {}),
        },
        "timeout": httpx.Timeout(
            settings.api_timeout_seconds, connect=settings.api_connect_timeout_seconds
        ),
        # Loading certificates takes some 30 ms, in which nothing else runs: not for each client.
        "verify": httpx.create_ssl_context(),
        "event_hooks": {"request": [stay_below_base]},  # of whatever method is added above, too
        "transport": EXAMPLE_API if settings.api_base_url == EXAMPLE else None,
    }


@asynccontextmanager
async def upstream_api() -> AsyncIterator[UpstreamApi]:
    settings = UpstreamSettings()
    options = client_options(settings)
{% if cookiecutter.connection_pooling %}
    async with connection_pool(ConnectionPoolingSettings(), **options) as client:
        api = _api(settings, lambda: nullcontext(client))
        with readiness.reporting("api", api.ping):
            yield api
{% else %}
    api = _api(settings, lambda: httpx.AsyncClient(**options))
    with readiness.reporting("api", api.ping):
        yield api
{% endif %}


def _api(settings: UpstreamSettings, connect: Connect) -> UpstreamApi:
    return UpstreamApi(
        base_url(settings),
        connect,
        timeout=settings.api_timeout_seconds,
        max_bytes=settings.api_max_response_bytes,
    )


Api = Annotated[UpstreamApi, Shared(upstream_api)]
