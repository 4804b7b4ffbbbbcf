"""Requests to one API, with safeguards that apply to every method.

An API must not be able to fill the memory, hang a call, or redirect the credential elsewhere. And
a failed write must not look like one that did nothing. So requests stay below the base URL and
within limits of time and size, redirects are followed here, and a failure says whether the request
may have been applied.
"""

import json as jsonlib
import re
import uuid
import zlib
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Annotated, Any, Literal, TypedDict, TypeVar, Unpack, overload

import anyio
import httpx2 as httpx
from fastmcp.dependencies import Depends
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import from_json, to_json, to_jsonable_python

from ..results import cut
from ..settings import Settings
from .api_failures import (
    SERVER_ERROR,
    RequestRefused,
    UpstreamFailure,
    UpstreamTimeout,
    has_reason,
    reason_in,
    status_failure,
)
from .api_urls import REDIRECTED_OUTSIDE, Params, refuse_outside, resolve, with_params
from .errors import ToolFailure
from .outgoing import outgoing

Connect = Callable[[], AbstractAsyncContextManager[httpx.AsyncClient]]
Authorization = Callable[[], Awaitable[str]]
Method = Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
Model = TypeVar("Model")

# RFC 9110, sections 9.2.1 and 9.2.2.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
IDEMPOTENT_METHODS = SAFE_METHODS | {"PUT", "DELETE"}
SEE_OTHER = 303
KEEP_THE_METHOD = (307, 308)
MAX_REDIRECTS = 5

MAX_REASON_BYTES = 64 * 1024
REASON_SECONDS = 1
MAX_NAMED_FIELDS = 3
MAX_FIELD_LENGTH = 80

# RFC 9110, section 5.6.2.
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
HEADER_VALUE = re.compile(r"[\t -~]*")
IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")
# The client sets these: the credential, the length of the body, the connection.
OWN_HEADERS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "host", "content-length"}
    | {"transfer-encoding", "accept-encoding", "connection", "upgrade", "te", "trailer", "expect"}
)


def _is_visible_ascii(value: SecretStr) -> SecretStr:
    if not re.fullmatch("[!-~]*", value.get_secret_value()):
        raise ValueError("must be ASCII characters without spaces or line breaks")
    return value


def _is_a_header(value: str) -> str:
    if not TOKEN.fullmatch(value) or value.lower() in OWN_HEADERS | {"accept", "content-type"}:
        raise ValueError("must be the name of a header, such as Idempotency-Key")
    return value


ApiKey = Annotated[SecretStr, AfterValidator(_is_visible_ascii)]


class ApiClientSettings(Settings):
    api_timeout_seconds: float = Field(10, gt=0, lt=60)
    api_connect_timeout_seconds: float = Field(3, gt=0, lt=60)
    api_max_response_bytes: int = Field(1024 * 1024, ge=1024)
    api_idempotency_header: Annotated[str, AfterValidator(_is_a_header)] = "Idempotency-Key"


def new_idempotency_key() -> str:
    """Return a random key. An API does the work of one key only once."""
    return str(uuid.uuid4())


# As the type of a tool's parameter, it is one key for the whole call, so every attempt sends the
# same key.
IdempotencyKey = Annotated[str, Depends(new_idempotency_key)]


class ApiAnswer(BaseModel):
    """The response of the API."""

    model_config = ConfigDict(allow_inf_nan=False)  # Python reads 1e400 as infinity

    status: int
    data: JsonValue
    hint: str = Field("", description="What was left out of data that is too long.")

    def within(self, max_bytes: int) -> "ApiAnswer":
        """Return the answer with as much of its data as fits into a result of `max_bytes`."""
        data, hint = cut(self.data, max_bytes)
        return self.model_copy(update={"data": data, "hint": hint})

    @overload
    def parse(self, model: type[Model]) -> Model: ...

    @overload
    def parse(self, model: Any) -> Any: ...

    def parse(self, model: Any) -> Any:
        """Return the data as a pydantic model, a `list[Model]`, or any type that pydantic supports.

        Raises:
            UpstreamFailure: the data does not match. The message names the fields, not their
                values.
        """
        try:
            return TypeAdapter(model).validate_json(to_json(self.data))
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
        fields = [
            f"{_field(problem['loc'])} ({problem['type']})"
            for problem in problems[:MAX_NAMED_FIELDS]
        ]
        raise UpstreamFailure(
            f"The API's response does not have the expected form, at {', '.join(fields)}.",
            status=self.status,
        )


class RequestOptions(TypedDict, total=False):
    """Options of a request besides its method and path; see `ApiClient.request`."""

    params: Params | None
    json: Any
    headers: Mapping[str, str] | None
    idempotency_key: str | None


@dataclass
class Attempt:
    """One request as the caller made it, and what is known about it.

    Retries and failures refer to this request, wherever its redirects lead.
    """

    request: httpx.Request
    may_be_applied: bool = False
    accepted: bool = False  # the API has redirected to the result

    @property
    def is_in_doubt(self) -> bool:
        applied = self.may_be_applied or self.accepted
        return applied and self.request.method not in IDEMPOTENT_METHODS


class ApiClient:
    """Requests below `base`.

    `connect` returns a client made with `client_options`. `authorization` is awaited once for each
    request, in the context of the call that makes it, and returns the Authorization header, or ""
    for none.
    """

    def __init__(
        self,
        base: httpx.URL,
        connect: Connect,
        authorization: Authorization,
        settings: ApiClientSettings | None = None,
    ) -> None:
        self._base = base
        self._connect = connect
        self._authorization = authorization
        self._settings = settings or ApiClientSettings()

    async def get(self, path: str, **options: Unpack[RequestOptions]) -> ApiAnswer:
        """Return the answer to a GET; see `request`."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Unpack[RequestOptions]) -> ApiAnswer:
        """Return the answer to a POST; see `request`."""
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Unpack[RequestOptions]) -> ApiAnswer:
        """Return the answer to a PUT; see `request`."""
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Unpack[RequestOptions]) -> ApiAnswer:
        """Return the answer to a PATCH; see `request`."""
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Unpack[RequestOptions]) -> ApiAnswer:
        """Return the answer to a DELETE; see `request`."""
        return await self.request("DELETE", path, **options)

    async def request(  # noqa: PLR0913 - a request has many parts
        self,
        method: Method,
        path: str,
        *,
        params: Params | None = None,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> ApiAnswer:
        """Send one request and return the answer; an empty body is null.

        `path` is relative to the base URL; quote parts that a model chooses with `path_segment`.
        `params` are encoded, except those that are None. `json` is anything that pydantic can
        serialize. Retries repeat a POST or PATCH only with an `idempotency_key`.

        Raises:
            RequestRefused: the path, a parameter or the data cannot be sent.
            UpstreamFailure: there is no usable response; the subclass says why. `retryable` is true
                only if the whole tool call can be repeated without doing its work twice.
            ValueError: a header's name is invalid, or is one that the client sets itself.
        """
        url = with_params(resolve(self._base, path), params or {})
        fields = self._fields(headers or {})
        content = None
        if json is not None:
            content = _encoded(json)
            fields.setdefault("content-type", "application/json")
        extensions = {}
        if idempotency_key is not None:
            if not IDEMPOTENCY_KEY.fullmatch(idempotency_key):
                raise RequestRefused(
                    "The idempotency key must be 1 to 255 visible ASCII characters."
                )
            fields[self._settings.api_idempotency_header.lower()] = idempotency_key
            extensions["idempotency_key"] = idempotency_key  # marks it as repeatable
        attempt = Attempt(httpx.Request(method, url, extensions=extensions))
        try:
            return await self._send(attempt, fields, content)
        except ToolFailure as failure:
            if not attempt.is_in_doubt:
                raise
            failure.put_in_doubt()
            if attempt.accepted:
                raise failure from None  # retries inspect the cause, and would repeat the write
            raise

    async def ping(self) -> None:
        """Request the base URL; any answer except a server error passes.

        Raises:
            UpstreamFailure: there was none.
        """
        headers = self._authorized({}, await self._credential())
        async with self._connect() as client:
            response = await client.head(self._base, headers=headers)
        if response.status_code >= SERVER_ERROR:
            raise UpstreamFailure(f"The API answered {response.status_code}.")

    async def _send(
        self, attempt: Attempt, fields: dict[str, str], content: bytes | None
    ) -> ApiAnswer:
        """Send a request and read the answer, with one time limit for both."""
        seconds = self._settings.api_timeout_seconds
        asked = attempt.request
        try:
            try:
                with anyio.fail_after(seconds):  # read timeouts alone do not stop a slow drip
                    credential = await self._credential()
                    async with self._connect() as client:
                        request = client.build_request(
                            asked.method,
                            asked.url,
                            headers=self._authorized(fields, credential),
                            content=content,
                        )
                        async with self._open(client, request, attempt) as response:
                            return await self._answer(response, attempt, credential)
            except TimeoutError as error:
                # As an HTTP error, so that retries see what timed out, and whether it was sent.
                kind = httpx.ReadTimeout if attempt.may_be_applied else httpx.ConnectTimeout
                raise kind("Timed out.") from error
        except httpx.HTTPError as error:
            error.request = asked
            if isinstance(error, httpx.PoolTimeout | httpx.ConnectTimeout | httpx.ConnectError):
                attempt.may_be_applied = False  # nothing was sent
            raise _transport_failure(error, seconds) from error
        except zlib.error as error:
            raise _transport_failure(error, seconds) from error

    @asynccontextmanager
    async def _open(
        self, client: httpx.AsyncClient, request: httpx.Request, attempt: Attempt
    ) -> AsyncIterator[httpx.Response]:
        """Follow redirects by hand: the client would read their bodies, of any size.

        A redirect with 303 leads to the result of a write, one with 307 or 308 asks for the same
        request elsewhere (RFC 9110, section 15.4). After 301 and 302 some clients repeat a write,
        and others turn it into a GET: these two are not followed.
        """
        for _ in range(MAX_REDIRECTS + 1):
            attempt.may_be_applied = True
            with outgoing.sending(request) as answered:
                answer = await client.send(request, stream=True)
                answered(answer.status_code)
            async with aclosing(answer) as response:
                following = response.next_request
                if following is None:
                    yield response
                    return
                if request.method not in SAFE_METHODS:
                    self._check_redirect_of_a_write(response, following, attempt)
                refuse_outside(self._base, following.url, REDIRECTED_OUTSIDE)
                request = following
        raise UpstreamFailure("The API redirects in a loop.")

    def _check_redirect_of_a_write(
        self, response: httpx.Response, following: httpx.Request, attempt: Attempt
    ) -> None:
        if response.status_code == SEE_OTHER:
            attempt.accepted = True
            for name in ("content-type", self._settings.api_idempotency_header):
                following.headers.pop(name, None)
        elif response.status_code in KEEP_THE_METHOD:
            attempt.may_be_applied = False
        else:
            raise UpstreamFailure(
                f"The API redirected the {attempt.request.method} with {response.status_code}."
                " This redirect is not followed: check the path.",
                status=response.status_code,
            )

    async def _answer(
        self, response: httpx.Response, attempt: Attempt, credential: str
    ) -> ApiAnswer:
        status = response.status_code
        try:
            response.raise_for_status()
        except httpx.HTTPStatusError as error:
            error.request = attempt.request
            # A 4xx rejects the request; a 5xx may come from a failure while processing it.
            attempt.may_be_applied = not httpx.codes.is_client_error(status)
            reason = await self._reason(response, credential) if has_reason(status) else ""
            raise status_failure(status, response.headers, reason) from error
        body = await self._read(response, self._settings.api_max_response_bytes)
        try:
            data = from_json(body.removeprefix(BOM_UTF8) or b"null", allow_inf_nan=False)
            return ApiAnswer(status=status, data=data)
        except ValueError as error:
            raise UpstreamFailure("The API did not return JSON.") from error

    async def _reason(self, response: httpx.Response, credential: str) -> str:
        """Return why the API rejects a request, if it says so in JSON and promptly."""
        with (
            anyio.move_on_after(REASON_SECONDS),
            suppress(ValueError, UpstreamFailure, httpx.HTTPError, zlib.error),
        ):
            body = from_json(await self._read(response, MAX_REASON_BYTES))
            return reason_in(body, (credential, credential.partition(" ")[2]))
        return ""

    async def _read(self, response: httpx.Response, max_bytes: int) -> bytes:
        """Read the body, decompressing no further than the limit."""
        if response.is_stream_consumed:  # an answer from memory, such as httpx.MockTransport's
            return response.content
        encoding = response.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip", "deflate"):
            raise UpstreamFailure(
                "The API compressed its response with an encoding that was not requested."
            )
        unpack = zlib.decompressobj(zlib.MAX_WBITS | 32) if encoding != "identity" else None
        body = bytearray()
        async for chunk in response.aiter_raw():
            room = max_bytes - len(body) + 1
            body += unpack.decompress(chunk, room) if unpack else chunk
            if len(body) > max_bytes:
                raise UpstreamFailure(f"The API's response is larger than {max_bytes} bytes.")
        return bytes(body)

    async def _credential(self) -> str:
        """Return the Authorization header for one request.

        Raises:
            UpstreamFailure: it could not be obtained.
            ValueError: no header can carry it.
        """
        try:
            credential = await self._authorization()
        except (httpx.HTTPError, TimeoutError) as error:
            raise UpstreamFailure(
                "The credential for the API could not be obtained.", retryable=True
            ) from error
        if not HEADER_VALUE.fullmatch(credential):
            raise ValueError("The Authorization header must be printable ASCII characters")
        return credential

    def _authorized(self, fields: Mapping[str, str], credential: str) -> dict[str, str]:
        return {**fields, "authorization": credential} if credential else {**fields}

    def _fields(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a tool, with names in lower case."""
        own = OWN_HEADERS | {self._settings.api_idempotency_header.lower()}
        fields = {}
        for name, value in headers.items():
            if not TOKEN.fullmatch(name) or name.lower() in own:
                raise ValueError(f"The header {name[:100]!r} cannot be set by a tool")
            if not HEADER_VALUE.fullmatch(value):
                raise RequestRefused(f"The header {name} must be printable ASCII characters.")
            fields[name.lower()] = value.strip(" \t")
        return fields


def client_options(
    base: httpx.URL, transport: httpx.AsyncBaseTransport | None = None
) -> dict[str, Any]:
    """Return the options of every client of the API, pooled or not."""
    settings = ApiClientSettings()

    async def stay_below_base(request: httpx.Request) -> None:
        refuse_outside(base, request.url)

    return {
        "headers": {
            # These can be unpacked incrementally, so a decompression bomb is stopped at the limit.
            "Accept-Encoding": "gzip, deflate",
            "Accept": "application/json",
        },
        # A cookie would be sent with the next request, which may be another caller's.
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=())),
        "timeout": httpx.Timeout(
            settings.api_timeout_seconds, connect=settings.api_connect_timeout_seconds
        ),
        # Loading certificates blocks the event loop for about 30 ms, so clients share them.
        "verify": httpx.create_ssl_context(),
        "event_hooks": {"request": [stay_below_base]},
        "transport": transport,
    }


def _transport_failure(error: httpx.HTTPError | zlib.error, seconds: float) -> UpstreamFailure:
    match error:
        case httpx.PoolTimeout():
            return UpstreamTimeout("All connections to the API are in use.", retryable=True)
        case httpx.TimeoutException():
            sentence = f"The API did not respond within {seconds:g} seconds."
            return UpstreamTimeout(sentence, retryable=True)
        case _:
            return UpstreamFailure("The connection to the API failed.", retryable=True)


def _encoded(json: Any) -> bytes:
    """Return a value as JSON.

    Raises:
        RequestRefused: it has no such form: NaN, half a surrogate pair, a cycle, great depth.
    """
    try:
        text = jsonlib.dumps(
            to_jsonable_python(json), allow_nan=False, ensure_ascii=False, separators=(",", ":")
        )
        return text.encode()
    except (ValueError, RecursionError) as error:
        raise RequestRefused(
            "The data cannot be sent: it contains NaN, text that is not valid Unicode, or a value"
            " that JSON cannot represent."
        ) from error


def _field(path: tuple[int | str, ...]) -> str:
    """Return the position of a value; names in it may come from the API."""
    text = ".".join(str(step) for step in path) or "the top level"
    return "".join(mark if mark.isprintable() else " " for mark in text)[:MAX_FIELD_LENGTH]
