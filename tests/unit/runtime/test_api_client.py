"""The API client stays below its base URL and within its limits, and reports uncertain writes."""

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from pydantic import BaseModel, JsonValue

from my_mcp_server.runtime.api_client import (
    ApiAnswer,
    ApiClient,
    client_options,
    new_idempotency_key,
)
from my_mcp_server.runtime.api_failures import (
    EndpointRefused,
    RequestRefused,
    UpstreamBusy,
    UpstreamFailure,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamTimeout,
    reason_in,
)
from my_mcp_server.runtime.api_urls import (
    base_url,
    path_segment,
)
from my_mcp_server.settings import (
    InvalidSettings,
    check_settings,
)

from ...upstream import (
    DROPPED,
    RESET,
    TRUNCATED,
    Answer,
    Upstream,
    answer,
    local_upstream,
    unending,
)

SMALLEST_LIMIT = 1024
ONE_CONNECTION = httpx.Limits(max_connections=1)
IN_DOUBT = "The work may have been done: check before you repeat it."


@pytest.fixture(autouse=True)
def _no_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Skip loading the system's certificates, which takes 30 ms: plain HTTP does not need them."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


async def nobody() -> str:
    return ""


@asynccontextmanager
async def connected(
    upstream: Upstream, authorization: Callable[[], Awaitable[str]] = nobody, **options: Any
) -> AsyncIterator[ApiClient]:
    base = base_url(f"{upstream.url}/v1")
    async with httpx.AsyncClient(**client_options(base), **options) as client:
        yield ApiClient(base, lambda: nullcontext(client), authorization)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with local_upstream() as upstream:
        yield upstream


@pytest.fixture
async def api(upstream: Upstream) -> AsyncIterator[ApiClient]:
    async with connected(upstream) as api:
        yield api


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://HOST/v1/users",
        "HTTP://HOST/v1/users",
        " http://HOST/v1/users",
        "/http://evil.example/v1/users",
        "http:users",
        "http:///users",
        "file:///etc/passwd",
        "users:1",
        "//HOST/v1/users",
        "//evil.example/v1/users",
        "//[",
        "http://user@HOST/v1/users",
        "//user:password@HOST/v1/users",
        "http://HOST@evil.example/v1/users",
        "http://127.0.0.1:1/v1/users",
        "//127.0.0.1:1/v1/users",
        "..",
        "../",
        "../v2/users",
        "/../v2/users",
        "users/../../v2",
        "../v10/users",
        "%2e%2e/v2",
        "users/%2E./%2e%2E/v2",
        "..%2fv2",
        "%252e%252e/v2",
        "..%252fv2",
        "..;/v2",
        "users/..;a=b/..%3b/v2",
        "\\\\HOST\\v1",
        "/\\HOST/v1",
        "..\\v2",
        "..%5cv2",
        "..%255cv2",
        "users\r\nHost: evil.example",
        "us\ters",
        "users\x00",
    ],
)
async def test_an_endpoint_outside_the_base_is_refused_before_anything_is_sent(
    endpoint: str, api: ApiClient, upstream: Upstream
) -> None:
    host = upstream.url.removeprefix("http://")
    with pytest.raises(EndpointRefused, match="relative to the API's base URL"):
        await api.get(endpoint.replace("HOST", host))
    assert upstream.connections == 0


async def test_a_path_below_the_base_is_requested(api: ApiClient, upstream: Upstream) -> None:
    paths = {
        "users/1": "/v1/users/1",
        "/users/1": "/v1/users/1",
        " users ": "/v1/users",
        "": "/v1/",
        "users/": "/v1/users/",
        "v1..v2/notes...txt": "/v1/v1..v2/notes...txt",
        "users/mail:ada@example.com": "/v1/users/mail:ada@example.com",
        "users/J%C3%BCrgen": "/v1/users/J%C3%BCrgen",
        "users/Jürgen": "/v1/users/J%C3%BCrgen",
        "pages?next=http://example.com/../x": "/v1/pages?next=http://example.com/../x",
    }
    for endpoint in paths:
        assert await api.get(endpoint) == ApiAnswer(status=200, data={"ok": True})
    assert upstream.paths == list(paths.values())


@pytest.mark.parametrize("location", ["/v1/new", "new", "http://HOST/v1/new"])
async def test_a_redirect_below_the_base_is_followed(
    location: str, api: ApiClient, upstream: Upstream
) -> None:
    location = location.replace("http://HOST", upstream.url)
    upstream.answers.append(answer(302, headers={"Location": location}))
    assert (await api.get("old")).data == {"ok": True}
    assert upstream.paths == ["/v1/old", "/v1/new"]


@pytest.mark.parametrize(
    "location",
    [
        "http://OTHER/v1/users",
        "//OTHER/v1/users",
        "http://169.254.169.254/latest/meta-data/",
        "https://HOST/v1/users",
        "http://user@HOST/v1/users",
        "/v2/users",
        "/v1/%2e%2e/v2",
        "file:///etc/passwd",
    ],
)
async def test_a_redirect_out_of_the_base_is_refused_and_nothing_is_sent_there(
    location: str, api: ApiClient, upstream: Upstream
) -> None:
    async with local_upstream() as other:
        for name, server in (("HOST", upstream), ("OTHER", other)):
            location = location.replace(name, server.url.removeprefix("http://"))
        upstream.answers.append(answer(302, headers={"Location": location}))
        with pytest.raises(EndpointRefused, match="redirected outside API_BASE_URL"):
            await api.get("users")
        assert other.connections == 0
    assert upstream.paths == ["/v1/users"]


async def test_a_redirect_loop_ends(api: ApiClient, upstream: Upstream) -> None:
    upstream.default = answer(302, headers={"Location": "/v1/again"})
    with pytest.raises(UpstreamFailure, match="in a loop"):
        await api.get("again")
    assert len(upstream.requests) <= 10


async def test_the_body_of_a_redirect_is_not_awaited(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TIMEOUT_SECONDS", "2")
    endless = Answer(b"HTTP/1.1 302 Found\r\nLocation: /v1/new\r\nContent-Length: 1000000\r\n\r\n")
    upstream.answers.append(endless)
    async with connected(upstream) as api:
        assert (await api.get("old")).data == {"ok": True}


async def test_a_redirect_is_closed_and_its_connection_is_reused(
    upstream: Upstream,
) -> None:
    async with connected(upstream, limits=ONE_CONNECTION) as api:
        for _ in range(3):
            upstream.answers.append(answer(302, b"moved", headers={"Location": "/v1/new"}))
            assert (await api.get("old")).data == {"ok": True}


async def test_a_byte_order_mark_is_not_part_of_the_answer(
    api: ApiClient, upstream: Upstream
) -> None:
    upstream.answers.append(answer(body=b"\xef\xbb\xbf[1]"))
    assert (await api.get("users")).data == [1]


async def test_the_http_client_sends_nothing_outside_the_base(upstream: Upstream) -> None:
    options = client_options(base_url(f"{upstream.url}/v1"))
    async with local_upstream() as other, httpx.AsyncClient(**options) as client:
        with pytest.raises(EndpointRefused):
            await client.post(other.url, json={})
        assert other.connections == 0


LARGE = b'"%s"' % (b"a" * 100_000)


@pytest.mark.parametrize(
    "large",
    [
        pytest.param(answer(body=LARGE), id="plain"),
        pytest.param(unending(LARGE), id="chunked, without an end"),
        pytest.param(
            unending(gzip.compress(LARGE), headers={"Content-Encoding": "gzip"}), id="gzip bomb"
        ),
        pytest.param(
            unending(zlib.compress(LARGE), headers={"Content-Encoding": "deflate"}),
            id="deflate bomb",
        ),
    ],
)
async def test_an_answer_over_the_limit_is_cut_off(
    large: Answer, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_MAX_RESPONSE_BYTES", str(SMALLEST_LIMIT))
    upstream.answers.append(large)
    async with connected(upstream) as api:
        with pytest.raises(UpstreamFailure, match="larger than 1024 bytes"):
            await api.get("users")
        assert (await api.get("users")).data == {"ok": True}


async def test_a_decompression_bomb_is_cut_off_before_it_uses_much_memory(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_MAX_RESPONSE_BYTES", str(SMALLEST_LIMIT))
    bomb = gzip.compress(bytes(16_000_000))
    upstream.answers.append(unending(bomb, headers={"Content-Encoding": "gzip"}))
    async with connected(upstream) as api:
        tracemalloc.start()
        try:
            with pytest.raises(UpstreamFailure, match="larger than 1024 bytes"):
                await api.get("users")
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("identity", bytes), ("gzip", gzip.compress), ("deflate", zlib.compress)],
)
async def test_an_answer_of_exactly_the_limit_is_accepted(
    encoding: str,
    pack: Callable[[bytes], bytes],
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_MAX_RESPONSE_BYTES", str(SMALLEST_LIMIT))
    text = "a" * (SMALLEST_LIMIT - 2)
    packed = pack(json.dumps(text).encode())
    upstream.answers.append(answer(body=packed, headers={"Content-Encoding": encoding}))
    async with connected(upstream) as api:
        assert (await api.get("users")).data == text


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        pytest.param(Answer(b"SSH-2.0-OpenSSH\r\n\r\n", drop=True), "connection", id="not HTTP"),
        pytest.param(DROPPED, "connection", id="dropped"),
        pytest.param(RESET, "connection", id="reset"),
        pytest.param(TRUNCATED, "connection", id="truncated"),
        pytest.param(
            answer(body=b"no gzip", headers={"Content-Encoding": "gzip"}),
            "connection",
            id="not as compressed as it says",
        ),
        pytest.param(
            answer(body=b"?", headers={"Content-Encoding": "br"}),
            "compressed its response",
            id="compressed",
        ),
        pytest.param(answer(body=b"<html>Welcome</html>"), "JSON", id="HTML"),
        pytest.param(answer(body=b'{"name": "A'), "JSON", id="cut short"),
        pytest.param(answer(body=b"NaN"), "JSON", id="not a number"),
        pytest.param(answer(body=b'"\xff"'), "JSON", id="not UTF-8"),
        pytest.param(answer(body=b'"\\ud800"'), "JSON", id="half a character"),
        pytest.param(answer(body=b"[" * 100_000), "JSON", id="deeply nested"),
        pytest.param(answer(body=b"[" * 250 + b"]" * 250), "JSON", id="nested"),
        pytest.param(answer(302), "answered 302", id="redirect to nowhere"),
        pytest.param(answer(400), "rejects", id="bad request"),
        pytest.param(answer(500, b"<html>Traceback</html>"), "answered 500", id="server error"),
    ],
)
async def test_an_unusable_answer_is_a_readable_failure(
    bad: Answer, problem: str, api: ApiClient, upstream: Upstream
) -> None:
    upstream.answers.append(bad)
    with pytest.raises(UpstreamFailure, match=rf"^(The|This) .*{problem}.*\.$"):
        await api.get("users")
    assert len(upstream.requests) == 1
    assert (await api.get("users")).data == {"ok": True}


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, UpstreamRejected, False),
        (401, UpstreamFailure, False),
        (404, UpstreamNotFound, False),
        (409, UpstreamFailure, False),
        (410, UpstreamNotFound, False),
        (422, UpstreamRejected, False),
        (429, UpstreamBusy, True),
        (500, UpstreamFailure, True),
        (503, UpstreamFailure, True),
    ],
)
async def test_an_error_status_is_reported_with_whether_it_is_retryable(
    status: int, kind: type[UpstreamFailure], retryable: bool, api: ApiClient, upstream: Upstream
) -> None:
    upstream.answers.append(answer(status))
    with pytest.raises(UpstreamFailure) as failure:
        await api.get("users")
    assert type(failure.value) is kind
    assert failure.value.details == {"status": status}
    assert failure.value.retryable is retryable


async def test_an_answer_without_a_body_is_null(api: ApiClient, upstream: Upstream) -> None:
    upstream.answers.append(answer(204, b""))
    assert await api.get("users") == ApiAnswer(status=204, data=None)


async def test_a_temporary_refusal_reports_how_long_to_wait(
    api: ApiClient, upstream: Upstream
) -> None:
    upstream.answers.append(answer(429, headers={"Retry-After": "7"}))
    with pytest.raises(UpstreamBusy, match="Retry-After: 7"):
        await api.get("users")


@pytest.mark.parametrize(
    "slow",
    [
        pytest.param(answer(pause_seconds=5), id="hanging"),
        pytest.param(Answer(answer(body="a" * 1000).raw, drip_seconds=0.005), id="dripping"),
    ],
)
async def test_a_slow_answer_is_cut_off_at_the_total_timeout(
    slow: Answer, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TIMEOUT_SECONDS", "0.05")
    upstream.answers.append(slow)
    async with connected(upstream) as api:
        with pytest.raises(UpstreamTimeout, match=r"within 0\.05 seconds") as failure:
            await api.get("users")
    assert failure.value.retryable


# Parameters, paths, headers and bodies.


async def test_parameters_stay_values(api: ApiClient, upstream: Upstream) -> None:
    await api.get(
        "issues",
        params={
            "q": "a&b=c#d?/../e f%26\n\N{GREEK SMALL LETTER ALPHA}",
            "absent": None,
            "label": ["red", None, "blue"],
            "open": True,
            "page": 2,
            "empty": "",
        },
    )
    await api.get("issues?state=open", params={"page": 2})
    await api.get("issues", params={"absent": None})
    assert upstream.paths == [
        "/v1/issues?q=a%26b%3Dc%23d%3F%2F..%2Fe%20f%2526%0A%CE%B1"
        "&label=red&label=blue&open=true&page=2&empty=",
        "/v1/issues?state=open&page=2",
        "/v1/issues",
    ]


def test_a_value_is_quoted_as_one_path_segment() -> None:
    segments: dict[str | int, str] = {
        "a/b": "a%2Fb",
        "?x": "%3Fx",
        "#x": "%23x",
        "a;b": "a%3Bb",
        "%41": "%2541",
        " x ": "%20x%20",
        "...": "...",
        "//evil.example": "%2F%2Fevil.example",
        7: "7",
    }
    assert [path_segment(value) for value in segments] == list(segments.values())


@pytest.mark.parametrize("value", ["", ".", "..", "\ud800"])
def test_a_value_that_is_not_a_path_segment_is_refused(value: str) -> None:
    with pytest.raises(EndpointRefused):
        path_segment(value)


async def test_an_invalid_request_is_refused_before_anything_is_sent(
    api: ApiClient, upstream: Upstream
) -> None:
    requests: list[dict[str, Any]] = [
        {"params": {"q": "\ud800"}},
        {"params": {"q": "x" * 100_000}},
        {"json": {"estimate": float("nan")}},
        {"json": [float("inf")]},
        {"json": "\ud800"},
        {"json": object()},
        {"headers": {"X-Trace": "a\r\nAuthorization: Bearer stolen"}},
        {"headers": {"X-Trace": "J\N{LATIN SMALL LETTER U WITH DIAERESIS}rgen"}},
        {"idempotency_key": ""},
        {"idempotency_key": "two words"},
        {"idempotency_key": "k\N{LATIN SMALL LETTER E WITH ACUTE}y"},
        {"idempotency_key": "line\nbreak"},
        {"idempotency_key": "k" * 256},
    ]
    for request in requests:
        with pytest.raises(RequestRefused, match=r"^[A-Z].*\.$"):
            await api.post("issues", **request)
    assert upstream.connections == 0


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "cookie",
        "HOST",
        "Content-Length",
        "Transfer-Encoding",
        "Accept-Encoding",
        "Connection",
        "Idempotency-Key",
        "X-Trace\r\nHost",
        "X Trace",
        "",
    ],
)
async def test_a_tool_cannot_set_the_clients_own_headers(
    name: str, api: ApiClient, upstream: Upstream
) -> None:
    with pytest.raises(ValueError, match="cannot be set by a tool"):
        await api.get("users", headers={name: "1"})
    assert upstream.connections == 0


class Issue(BaseModel):
    id: int
    title: str = ""


async def test_json_and_headers_are_sent_with_every_method(
    api: ApiClient, upstream: Upstream
) -> None:
    await api.post("issues", json=Issue(id=1, title="茶"))
    await api.put("issues/1", json={"title": "new"}, headers={"If-Match": '"1"'})
    await api.patch("issues/1", json=[], headers={"Content-Type": "application/merge-patch+json"})
    await api.delete("issues/1", params={"force": True})
    assert upstream.methods == ["POST", "PUT", "PATCH", "DELETE"]
    assert upstream.bodies == ['{"id":1,"title":"茶"}'.encode(), b'{"title":"new"}', b"[]", b""]
    sent = [headers for _, headers in upstream.requests]
    assert sent[0]["content-type"] == "application/json"
    assert sent[1]["if-match"] == '"1"'
    assert sent[2]["content-type"] == "application/merge-patch+json"
    assert upstream.paths[3] == "/v1/issues/1?force=true"
    assert "idempotency-key" not in sent[0]


async def test_the_idempotency_key_is_sent_in_the_configured_header(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = new_idempotency_key()
    assert key != new_idempotency_key()
    async with connected(upstream) as api:
        await api.post("issues", idempotency_key=key)
    monkeypatch.setenv("API_IDEMPOTENCY_HEADER", "X-Request-Key")
    async with connected(upstream) as api:
        await api.post("issues", idempotency_key=key)
        with pytest.raises(ValueError, match="cannot be set by a tool"):
            await api.post("issues", headers={"x-request-key": key})
    first, second = (headers for _, headers in upstream.requests)
    assert first["idempotency-key"] == second["x-request-key"] == key


@pytest.mark.parametrize("name", ["two words", "a:b", "a\nb", "Authorization", "content-type"])
def test_an_invalid_idempotency_header_is_refused_at_startup(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_IDEMPOTENCY_HEADER", name)
    with pytest.raises(InvalidSettings, match=r"^API_IDEMPOTENCY_HEADER: must be the name of"):
        check_settings()


# Typed answers.


def test_data_is_parsed_as_any_type() -> None:
    found = ApiAnswer(status=200, data=[{"id": 1, "title": "a"}, {"id": "2"}])
    assert found.parse(list[Issue]) == [Issue(id=1, title="a"), Issue(id=2)]
    assert ApiAnswer(status=200, data={"id": 1}).parse(Issue) == Issue(id=1)
    assert ApiAnswer(status=204, data=None).parse(Issue | None) is None


def test_invalid_data_is_reported_with_its_location_but_without_its_value() -> None:
    found = ApiAnswer(status=200, data=[{"id": "canary"}, {"title": "canary"}, 5, 6, 7])
    with pytest.raises(UpstreamFailure) as failure:
        found.parse(list[Issue])
    assert str(failure.value) == (
        "The API's response does not have the expected form, at 0.id (int_parsing), 1.id (missing),"
        " 2 (model_type)."
    )
    assert not failure.value.retryable
    assert "canary" not in repr(failure.value.__cause__)
    with pytest.raises(UpstreamFailure, match=r"at the top level \(int_type\)"):
        ApiAnswer(status=204, data=None).parse(int)


# The reasons of the API.

PROBLEM = {
    "type": "https://example.com/problems/invalid",
    "title": "Your request is not valid.",
    "status": 422,
    "detail": "Two fields are wrong.",
    "errors": [{"detail": "must be positive", "pointer": "#/age"}],
}
FASTAPI = {
    "detail": [
        {
            "type": "missing",
            "loc": ["body", "title"],
            "msg": "Field required",
            "input": {"password": "canary"},
        },
        {"type": "int_parsing", "loc": ["body", 0], "msg": "Not an integer", "input": "canary"},
    ]
}
ASP_NET = {"title": "Invalid", "errors": {"Title": ["Is required."], "Password": ["canary"]}}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"error": "title is required"}, "title is required"),
        ({"message": "title is required."}, "title is required"),
        ({"error": {"message": "no such model", "code": 7}}, "no such model"),
        ({"message": "Invalid", "errors": [{"field": "title", "code": 1}]}, "Invalid"),
        ({"error": "invalid_grant", "error_description": "Expired"}, "invalid_grant; Expired"),
        ({"errors": ["one", "two", "one"]}, "one; two"),
        (
            PROBLEM,
            "Your request is not valid; Two fields are wrong; must be positive (#/age)",
        ),
        (FASTAPI, "Field required (body.title); Not an integer (body.0)"),
        (ASP_NET, "Invalid; Is required. (Title); not valid (Password)"),
        ("title is required", "title is required"),
        ({"ok": False}, ""),
        (None, ""),
        ([{"error": {"error": {"error": {"error": {"error": "deep"}}}}}], ""),
        ({"error": "a\r\nb\x00\x1b[31m\u202ec\u2028d"}, "a b [31m c d"),
    ],
)
def test_the_reason_of_an_error_body_is_found(body: JsonValue, reason: str) -> None:
    assert reason_in(body) == reason


@pytest.mark.parametrize(
    "text",
    [
        "the key canary-of-the-server is not known",
        "Authorization: Bearer canary",
        "bearer canary is expired",
        "Basic Y2FuYXJ5",
        "password=canary is too short",
        "the field 'api_key': 'canary canary' is not known",
        '{"client_secret": "canary", "a": 1}',
        "see https://user:canary@example.com/",
        "eyJhbGciOiJub25lIn0.canary.canary was refused",
    ],
)
def test_secrets_in_a_reason_are_redacted(text: str) -> None:
    reason = reason_in({"error": text}, ("Bearer canary-of-the-server", "canary-of-the-server"))
    assert "[redacted]" in reason
    assert "canary" not in reason
    assert "Y2FuYXJ5" not in reason


def test_a_long_reason_is_redacted_before_it_is_shortened() -> None:
    reason = reason_in(
        {"error": "x" * 290 + " canary-of-the-server" + "y" * 10_000}, ("canary-of-the-server",)
    )
    assert len(reason) == 300
    assert "canary" not in reason


@pytest.mark.parametrize("status", [400, 422])
async def test_a_model_sees_why_its_request_was_rejected(
    status: int, api: ApiClient, upstream: Upstream
) -> None:
    upstream.answers.append(answer(status, {"error": "title is required"}))
    with pytest.raises(UpstreamRejected) as failure:
        await api.post("issues", json={})
    assert str(failure.value) == f"The API rejects the request ({status}): title is required."
    assert not failure.value.retryable


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_credential_is_never_quoted(status: int, upstream: Upstream) -> None:
    async def credential() -> str:
        return "Bearer canary"

    upstream.answers.append(answer(status, {"error": "the token canary has expired"}))
    async with connected(upstream, credential) as api:
        with pytest.raises(UpstreamFailure, match=r"credential .*: .* API_KEY\.$") as failure:
            await api.post("issues", json={})
    assert "canary" not in str(failure.value)
    assert "expired" not in str(failure.value)


async def test_the_servers_own_credential_is_redacted_in_a_reason(upstream: Upstream) -> None:
    async def credential() -> str:
        return "Key canary"

    upstream.answers.append(answer(409, {"error": "canary was used before"}))
    async with connected(upstream, credential) as api:
        with pytest.raises(UpstreamFailure, match=r"\(409\): \[redacted\] was used before\.$"):
            await api.post("issues", json={})


@pytest.mark.parametrize(
    "bad",
    [
        answer(422, b"<html>canary</html>"),
        answer(422, b'{"error": "canary'),
        answer(422, b"\xff"),
        answer(422, b"canary", headers={"Content-Encoding": "br"}),
        answer(422, b'{"error": "' + b"x" * 100_000 + b'"}'),
        Answer(b"HTTP/1.1 422 No\r\nContent-Length: 100\r\n\r\n{", drop=True),
    ],
)
async def test_an_unreadable_reason_leaves_only_the_status(
    bad: Answer, api: ApiClient, upstream: Upstream
) -> None:
    upstream.answers.append(bad)
    with pytest.raises(UpstreamRejected) as failure:
        await api.post("issues", json={})
    assert str(failure.value) == "The API rejects the request (422)."


# Redirects of writes.


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_that_keeps_the_method_repeats_the_request(
    status: int, api: ApiClient, upstream: Upstream
) -> None:
    upstream.answers.append(answer(status, headers={"Location": "/v1/new"}))
    await api.post("issues", json={"title": "a"}, idempotency_key="key")
    assert upstream.methods == ["POST", "POST"]
    assert upstream.paths == ["/v1/issues", "/v1/new"]
    assert upstream.bodies == [b'{"title":"a"}'] * 2
    assert [headers["idempotency-key"] for _, headers in upstream.requests] == ["key", "key"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_redirect_to_the_result_of_a_write_is_followed(
    method: Any, api: ApiClient, upstream: Upstream
) -> None:
    upstream.answers.append(answer(303, headers={"Location": "/v1/issues/1"}))
    result = await api.request(method, "issues", json={"title": "a"}, idempotency_key="key")
    assert result.data == {"ok": True}
    assert upstream.methods == [method, "GET"]
    assert upstream.bodies[1] == b""
    assert (
        not {"content-type", "content-length", "idempotency-key"} & upstream.requests[1][1].keys()
    )


@pytest.mark.parametrize("status", [301, 302])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_redirect_that_would_change_the_method_of_a_write_is_not_followed(
    method: Any, status: int, api: ApiClient, upstream: Upstream
) -> None:
    upstream.answers.append(answer(status, headers={"Location": "/v1/new"}))
    with pytest.raises(UpstreamFailure, match=f"redirected the {method} with {status}") as failure:
        await api.request(method, "issues", json={"title": "a"})
    assert upstream.methods == [method]
    assert failure.value.in_doubt == (method in ("POST", "PATCH"))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_write_is_never_redirected_out_of_the_base(
    status: int, api: ApiClient, upstream: Upstream
) -> None:
    async with local_upstream() as other:
        upstream.answers.append(answer(status, headers={"Location": f"{other.url}/v1/issues"}))
        with pytest.raises((EndpointRefused, UpstreamFailure)) as failure:
            await api.post("issues", json={"title": "a"})
        assert other.connections == 0
    assert upstream.methods == ["POST"]
    assert failure.value.in_doubt == (status in (301, 302, 303))


@pytest.mark.parametrize("result", [answer(503), answer(404), answer(429), DROPPED], ids=repr)
async def test_an_unreadable_result_does_not_cause_another_write(
    result: Answer, api: ApiClient, upstream: Upstream
) -> None:
    upstream.answers.extend([answer(303, headers={"Location": "/v1/issues/1"}), result])
    with pytest.raises(UpstreamFailure) as failure:
        await api.post("issues", json={"title": "a"}, idempotency_key="key")
    assert failure.value.in_doubt
    assert not failure.value.retryable
    assert failure.value.__cause__ is None  # so that it is not retried


# The outcome of a write.

LOST = [
    answer(500),
    answer(503, headers={"Retry-After": "1"}),
    answer(302),
    answer(200, b"<html>Created</html>"),
    unending(b'"%s"' % (b"a" * 2**21)),
    DROPPED,
    RESET,
    TRUNCATED,
    answer(pause_seconds=5),
]


@pytest.mark.parametrize("lost", LOST, ids=lambda lost: str(lost.raw[:20]))
@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("key", [None, "key"])
async def test_a_write_that_may_have_been_applied_is_reported_as_such_and_not_retryable(
    key: str | None, method: Any, lost: Answer, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TIMEOUT_SECONDS", "0.2")
    upstream.answers.append(lost)
    async with connected(upstream) as api:
        with pytest.raises(UpstreamFailure) as failure:
            await api.request(method, "issues", json={"title": "a"}, idempotency_key=key)
    assert str(failure.value).endswith(f". {IN_DOUBT}")
    assert not failure.value.retryable
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_idempotent_requests_are_retryable(
    method: Any, api: ApiClient, upstream: Upstream
) -> None:
    for lost in (answer(503), DROPPED):
        upstream.answers.append(lost)
        with pytest.raises(UpstreamFailure) as failure:
            await api.request(method, "issues/1")
        assert failure.value.retryable
        assert not failure.value.in_doubt


async def test_a_write_that_was_refused_did_nothing(api: ApiClient, upstream: Upstream) -> None:
    for status in (400, 401, 403, 404, 405, 408, 409, 410, 412, 413, 418, 422, 429):
        upstream.answers.append(answer(status))
        with pytest.raises(UpstreamFailure) as failure:
            await api.post("issues", json={"title": "a"})
        assert not failure.value.in_doubt
        assert failure.value.retryable == (status == 429)


@pytest.mark.parametrize("kind", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
async def test_a_write_that_was_never_sent_is_retryable(kind: type[httpx.TransportError]) -> None:
    def refuse(_request: httpx.Request) -> httpx.Response:
        raise kind("")

    base = base_url("http://api.example.com")
    async with httpx.AsyncClient(**client_options(base, httpx.MockTransport(refuse))) as client:
        api = ApiClient(base, lambda: nullcontext(client), nobody)
        with pytest.raises(UpstreamFailure) as failure:
            await api.post("issues", json={"title": "a"})
    assert failure.value.retryable
    assert not failure.value.in_doubt


async def test_nothing_is_sent_if_the_credential_takes_too_long(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> str:
        await asyncio.sleep(5)
        return ""

    monkeypatch.setenv("API_TIMEOUT_SECONDS", "0.05")
    async with connected(upstream, hang) as api:
        with pytest.raises(UpstreamTimeout) as failure:
            await api.post("issues")
    assert failure.value.retryable
    assert isinstance(failure.value.__cause__, httpx.ConnectTimeout)
    assert upstream.connections == 0


# Credentials.

caller: ContextVar[str] = ContextVar("caller")


async def test_concurrent_callers_share_connections_but_not_credentials(upstream: Upstream) -> None:
    async def credential() -> str:
        name = caller.get()
        await asyncio.sleep(0)
        return f"Bearer {name}"

    async with connected(upstream, credential, limits=ONE_CONNECTION) as api:

        async def call(number: int) -> None:
            caller.set(f"caller-{number}")
            await api.get(f"users/caller-{number}")

        await asyncio.gather(*(call(number) for number in range(50)))
    assert upstream.connections == 1
    assert len(upstream.requests) == 50
    for path, headers in upstream.requests:
        assert headers["authorization"] == f"Bearer {path.rpartition('/')[2]}"


async def test_a_session_of_one_caller_is_not_sent_with_the_request_of_another(
    api: ApiClient, upstream: Upstream
) -> None:
    upstream.answers.append(answer(body={}, headers={"Set-Cookie": "session=canary; Path=/"}))
    await api.get("users/1")
    await api.get("users/2")
    assert "cookie" not in upstream.requests[1][1]


async def test_the_credential_is_requested_once_per_request(upstream: Upstream) -> None:
    asked = 0

    async def credential() -> str:
        nonlocal asked
        asked += 1
        return f"Bearer {asked}"

    upstream.answers.append(answer(307, headers={"Location": "/v1/new"}))
    async with connected(upstream, credential) as api:
        await api.post("old")
        await api.post("new")
    sent = [headers["authorization"] for _, headers in upstream.requests]
    assert sent == ["Bearer 1", "Bearer 1", "Bearer 2"]


async def test_a_credential_that_cannot_be_obtained_is_a_readable_failure(
    upstream: Upstream,
) -> None:
    async def credential() -> str:
        raise httpx.ReadTimeout("canary")

    async with connected(upstream, credential) as api:
        with pytest.raises(UpstreamFailure, match="could not be obtained") as failure:
            await api.post("issues")
    assert failure.value.retryable
    assert upstream.connections == 0


async def test_a_credential_that_is_invalid_in_a_header_is_not_sent(upstream: Upstream) -> None:
    async def credential() -> str:
        return "Bearer a\r\nHost: evil.example"

    async with connected(upstream, credential) as api:
        with pytest.raises(ValueError, match="printable ASCII") as failure:
            await api.post("issues")
    assert "evil" not in str(failure.value)
    assert upstream.connections == 0
