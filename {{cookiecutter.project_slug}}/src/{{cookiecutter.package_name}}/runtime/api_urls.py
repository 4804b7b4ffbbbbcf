"""Build URLs that stay below the API's base URL.

A path chosen by a model must not leave the base path, or lead to another host, which would receive
the API's credential. Values in a path or query are quoted, so that they cannot change the URL's
structure.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated
from urllib.parse import quote, unquote, urlencode, urlsplit

import httpx2 as httpx
from pydantic import AfterValidator

from .api_failures import EndpointRefused, RequestRefused, UpstreamNotConfigured

EXAMPLE = "example"
HIGHEST_PORT = 65535

OUTSIDE = "The path must be relative to the API's base URL and stay below it, such as users/1."
REDIRECTED_OUTSIDE = "The API redirected outside API_BASE_URL; the redirect was not followed."

Param = str | int | float | None
Params = Mapping[str, Param | Sequence[Param]]


def _is_a_base(value: str) -> str:
    if value.lower() == EXAMPLE:
        return EXAMPLE
    if value and not is_base(value):
        raise ValueError(
            "must be `example`, or an http:// or https:// URL"
            " without spaces, credentials, query or fragment"
        )
    return value


# A setting: the base of all paths, `example` for the in-process API, or "".
BaseUrl = Annotated[str, AfterValidator(_is_a_base)]


def is_base(url: str) -> bool:
    """Return whether paths can be appended to `url`, and whether it has no other parts."""
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


def base_url(setting: str) -> httpx.URL:
    """Return the base URL of a `BaseUrl` setting, ending in a slash.

    Raises:
        UpstreamNotConfigured: the setting is empty.
    """
    if not setting:
        raise UpstreamNotConfigured(
            "API_BASE_URL is not set: set it to the URL of your API, or to `example`."
        )
    if setting == EXAMPLE:
        return httpx.URL("http://example.invalid/")
    return httpx.URL(setting.rstrip("/") + "/")


def path_segment(value: str | int) -> str:
    """Quote a value as one segment of a path, whatever it contains.

    Raises:
        EndpointRefused: it is empty, `.` or `..`, which cannot be quoted, or it is not valid
            Unicode.
    """
    text = str(value)
    if text in ("", ".", ".."):
        raise EndpointRefused(OUTSIDE)
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise EndpointRefused("The path contains text that is not valid Unicode.") from None


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


def with_params(url: httpx.URL, params: Params) -> httpx.URL:
    """Return `url` with `params` added to its query.

    A list becomes several parameters of the same name. None is left out.

    Raises:
        RequestRefused: a parameter is not valid Unicode, or the URL becomes too long.
    """
    pairs = []
    for name, value in params.items():
        items = [value] if value is None or isinstance(value, str | int | float) else value
        pairs += [(name, _text(item)) for item in items if item is not None]
    if not pairs:
        return url
    try:
        query = urlencode(pairs, quote_via=quote).encode("ascii")
        return url.copy_with(query=b"&".join(filter(None, [url.query, query])))
    except (UnicodeEncodeError, httpx.InvalidURL):
        raise RequestRefused("The parameters are too long, or not valid Unicode.") from None


def _text(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
