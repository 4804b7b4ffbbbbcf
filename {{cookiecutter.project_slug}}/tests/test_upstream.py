"""The API client: it stays below its base URL, within its limits, and fails in plain words."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from pathlib import Path

import httpx2 as httpx
import pytest
from fastmcp import FastMCP
from fastmcp.utilities.tests import asgi_client

from {{ cookiecutter.package_name }}.runtime.readiness import (
    readiness,
)
from {{ cookiecutter.package_name }}.settings import (
    InvalidSettings,
    check_settings,
)
from {{ cookiecutter.package_name }}.upstream import (
    Api,
    ApiAnswer,
    EndpointRefused,
    UpstreamApi,
    UpstreamBusy,
    UpstreamFailure,
    UpstreamNotConfigured,
    UpstreamNotFound,
    UpstreamSettings,
    UpstreamTimeout,
    base_url,
    check_configuration,
    client_options,
    upstream_api,
)

from .upstream import DROPPED, RESET, TRUNCATED, Answer, Upstream, answer, local_upstream, unending

SMALLEST_LIMIT = 1024


@pytest.fixture(autouse=True)
def _no_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Loading the system's takes some 30 ms, and plain HTTP needs none."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


@pytest.fixture
async def upstream(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Upstream]:
    async with local_upstream() as upstream:
        monkeypatch.setenv("API_BASE_URL", f"{upstream.url}/v1")
        yield upstream


@pytest.fixture
async def api(upstream: Upstream) -> AsyncIterator[UpstreamApi]:
    async with upstream_api() as api:
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
async def test_an_endpoint_that_leads_elsewhere_is_refused_before_a_byte_is_sent(
    endpoint: str, api: UpstreamApi, upstream: Upstream
) -> None:
    host = upstream.url.removeprefix("http://")
    with pytest.raises(EndpointRefused, match="below the API's base URL"):
        await api.get(endpoint.replace("HOST", host))
    assert upstream.connections == 0


async def test_a_path_below_the_base_is_requested(api: UpstreamApi, upstream: Upstream) -> None:
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


async def test_a_resource_id_is_one_segment_of_the_path(
    api: UpstreamApi, upstream: Upstream
) -> None:
    segments = {
        "a/b": "a%2Fb",
        "?x": "%3Fx",
        "#x": "%23x",
        "a;b": "a%3Bb",
        "%41": "%2541",
        " x ": "%20x%20",
        "...": "...",
        "//evil.example": "%2F%2Fevil.example",
        "http://evil.example/": "http%3A%2F%2Fevil.example%2F",
    }
    for resource_id in segments:
        await api.get_resource("resources", resource_id)
    assert upstream.paths == [f"/v1/resources/{segment}" for segment in segments.values()]


async def test_a_resource_id_that_a_server_could_take_for_a_path_is_refused(
    api: UpstreamApi, upstream: Upstream
) -> None:
    for resource_id in (".", "..", "../../v2", "..\\v2", "%2e%2e"):
        with pytest.raises(EndpointRefused):
            await api.get_resource("resources", resource_id)
    assert upstream.connections == 0


@pytest.mark.parametrize("location", ["/v1/new", "new", "http://HOST/v1/new"])
async def test_a_redirect_below_the_base_is_followed(
    location: str, api: UpstreamApi, upstream: Upstream
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
    location: str, api: UpstreamApi, upstream: Upstream
) -> None:
    async with local_upstream() as other:
        for name, server in (("HOST", upstream), ("OTHER", other)):
            location = location.replace(name, server.url.removeprefix("http://"))
        upstream.answers.append(answer(302, headers={"Location": location}))
        with pytest.raises(EndpointRefused, match="redirects out of API_BASE_URL"):
            await api.get("users")
        assert other.connections == 0
    assert upstream.paths == ["/v1/users"]


async def test_redirects_in_circles_end(api: UpstreamApi, upstream: Upstream) -> None:
    upstream.default = answer(302, headers={"Location": "/v1/again"})
    with pytest.raises(UpstreamFailure, match="circles"):
        await api.get("again")
    assert len(upstream.requests) <= 10


async def test_the_body_of_a_redirect_is_not_waited_for(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TIMEOUT_SECONDS", "2")
    endless = Answer(b"HTTP/1.1 302 Found\r\nLocation: /v1/new\r\nContent-Length: 1000000\r\n\r\n")
    upstream.answers.append(endless)
    async with upstream_api() as api:
        assert (await api.get("old")).data == {"ok": True}


async def test_a_redirect_is_closed_and_leaves_its_connection_to_the_next_request(
    upstream: Upstream,
) -> None:
    settings = UpstreamSettings()
    one = httpx.Limits(max_connections=1)
    async with httpx.AsyncClient(limits=one, **client_options(settings)) as client:
        api = UpstreamApi(
            base_url(settings), lambda: nullcontext(client), timeout=2, max_bytes=SMALLEST_LIMIT
        )
        for _ in range(3):
            upstream.answers.append(answer(302, b"moved", headers={"Location": "/v1/new"}))
            assert (await api.get("old")).data == {"ok": True}


async def test_the_key_goes_to_the_api_as_a_bearer_token(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", "secret\n")  # as files and `kubectl create secret` leave it
    async with upstream_api() as api:
        await api.get("users")
    assert upstream.requests[0][1]["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    "key", ["s\N{LATIN SMALL LETTER E WITH ACUTE}cret", "two words", "two\nlines", "a\x7fb"]
)
def test_a_key_that_no_header_can_carry_is_refused_at_the_start(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", key)
    with pytest.raises(InvalidSettings, match=r"^API_KEY: must be ASCII") as refusal:
        check_settings()
    assert key not in str(refusal.value)


async def test_a_byte_order_mark_is_no_part_of_the_answer(
    api: UpstreamApi, upstream: Upstream
) -> None:
    upstream.answers.append(answer(body=b"\xef\xbb\xbf[1]"))
    assert (await api.get("users")).data == [1]


async def test_the_client_itself_sends_nothing_elsewhere(upstream: Upstream) -> None:
    async with (
        local_upstream() as other,
        httpx.AsyncClient(**client_options(UpstreamSettings())) as client,
    ):
        with pytest.raises(EndpointRefused):
            await client.post(other.url, json={})
        assert other.connections == 0


async def call_api(api: Api) -> ApiAnswer:
    return await api.get("users")


async def test_nothing_that_a_caller_sends_in_headers_reaches_the_api(upstream: Upstream) -> None:
    server = FastMCP("test", tools=[call_api])
    sent = {"Authorization": "Bearer canary", "Cookie": "session=canary", "X-Tenant": "canary"}
    async with asgi_client(server, headers=sent) as client:
        await client.call_tool("call_api")
    [(_, headers)] = upstream.requests
    assert "authorization" not in headers
    assert "canary" not in json.dumps(headers)


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
    async with upstream_api() as api:
        with pytest.raises(UpstreamFailure, match="larger than 1024 bytes"):
            await api.get("users")
        assert (await api.get("users")).data == {"ok": True}


async def test_a_bomb_takes_little_memory_before_it_is_cut_off(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_MAX_RESPONSE_BYTES", str(SMALLEST_LIMIT))
    bomb = gzip.compress(bytes(16_000_000))
    upstream.answers.append(unending(bomb, headers={"Content-Encoding": "gzip"}))
    async with upstream_api() as api:
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
async def test_an_answer_as_large_as_the_limit_passes(
    encoding: str,
    pack: Callable[[bytes], bytes],
    upstream: Upstream,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_MAX_RESPONSE_BYTES", str(SMALLEST_LIMIT))
    text = "a" * (SMALLEST_LIMIT - 2)
    packed = pack(json.dumps(text).encode())
    upstream.answers.append(answer(body=packed, headers={"Content-Encoding": encoding}))
    async with upstream_api() as api:
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
            answer(body=b"?", headers={"Content-Encoding": "br"}), "compresses", id="compressed"
        ),
        pytest.param(answer(body=b"<html>Welcome</html>"), "JSON", id="HTML"),
        pytest.param(answer(body=b'{"name": "A'), "JSON", id="cut short"),
        pytest.param(answer(body=b"NaN"), "JSON", id="not a number"),
        pytest.param(answer(body=b'"\xff"'), "JSON", id="not UTF-8"),
        pytest.param(answer(body=b'"\\ud800"'), "JSON", id="half a character"),
        pytest.param(answer(body=b"[" * 100_000), "JSON", id="deeply nested"),
        pytest.param(answer(body=b"[" * 250 + b"]" * 250), "JSON", id="nested"),
        pytest.param(answer(302), "answered 302", id="redirect to nowhere"),
        pytest.param(answer(400), "answered 400", id="bad request"),
        pytest.param(answer(500, b"<html>Traceback</html>"), "answered 500", id="server error"),
    ],
)
async def test_an_unusable_answer_is_a_readable_failure(
    bad: Answer, problem: str, api: UpstreamApi, upstream: Upstream
) -> None:
    upstream.answers.append(bad)
    with pytest.raises(UpstreamFailure, match=rf"^(The|This) .*{problem}.*\.$"):
        await api.get("users")
    assert len(upstream.requests) == 1
    assert (await api.get("users")).data == {"ok": True}


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, UpstreamFailure, False),
        (401, UpstreamFailure, False),
        (404, UpstreamNotFound, False),
        (429, UpstreamBusy, True),
        (500, UpstreamFailure, True),
        (503, UpstreamFailure, True),
    ],
)
async def test_an_error_status_is_told_with_whether_to_try_again(
    status: int, kind: type[UpstreamFailure], retryable: bool, api: UpstreamApi, upstream: Upstream
) -> None:
    upstream.answers.append(answer(status))
    with pytest.raises(UpstreamFailure) as failure:
        await api.get("users")
    assert type(failure.value) is kind
    assert failure.value.details == {"status": status}
    assert failure.value.retryable is retryable


async def test_an_answer_without_a_body_is_null(api: UpstreamApi, upstream: Upstream) -> None:
    upstream.answers.append(answer(204, b""))
    assert await api.get("users") == ApiAnswer(status=204, data=None)


async def test_a_refusal_for_a_while_says_how_long(api: UpstreamApi, upstream: Upstream) -> None:
    upstream.answers.append(answer(429, headers={"Retry-After": "7"}))
    with pytest.raises(UpstreamBusy, match="wait: 7"):
        await api.get("users")


@pytest.mark.parametrize(
    "slow",
    [
        pytest.param(answer(pause_seconds=5), id="hanging"),
        pytest.param(Answer(answer(body="a" * 1000).raw, drip_seconds=0.005), id="dripping"),
    ],
)
async def test_a_slow_answer_ends_at_the_total_time(
    slow: Answer, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_TIMEOUT_SECONDS", "0.05")
    upstream.answers.append(slow)
    async with upstream_api() as api:
        with pytest.raises(UpstreamTimeout, match=r"within 0\.05 seconds") as failure:
            await api.get("users")
    assert failure.value.retryable


async def test_without_a_base_url_a_call_names_the_variable() -> None:
    with pytest.raises(UpstreamNotConfigured, match="API_BASE_URL is not set"):
        await check_configuration()
    with pytest.raises(UpstreamNotConfigured, match="API_BASE_URL is not set"):
        async with upstream_api():
            pass


@pytest.mark.parametrize(
    "url",
    [
        "api.example.com",
        "/v1",
        "http://",
        "http://[::1",
        "ftp://api.example.com",
        "https://user:secret@api.example.com",
        "https://api.example.com/?key=secret",
        "https://api.example.com/v1#part",
        "https://api.example.com:99999",
        "https://api.example.com:0",
        "https://api.example.com:port",
        "https://api example.com",
        "https://api.example.com/a b",
        "https://api.example.com/\nsecret",
    ],
)
def test_a_bad_base_url_is_refused_at_the_start_and_not_repeated(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_BASE_URL", url)
    with pytest.raises(InvalidSettings, match=r"^API_BASE_URL: must be") as refusal:
        check_settings()
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("name", ["example", " Example\r"])
async def test_the_example_api_answers_without_a_network(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_BASE_URL", name)
    await check_configuration()
    async with upstream_api() as api:
        assert (await api.get("")).data == {"name": "example API"}
        assert (await api.get("users/1")).data == {"id": "1", "name": "Ada"}
        assert (await api.get("users")).data == {
            "users": [
                {"id": "1", "name": "Ada"},
                {"id": "2", "name": "Grace"},
                {"id": "3", "name": "Radia"},
            ]
        }
        resource = await api.get_resource("resources", "a/b")
        assert resource.data == {"id": "a/b", "text": "Resource a/b"}
        with pytest.raises(UpstreamNotFound):
            await api.get("users/4")
        await api.ping()


async def test_readiness_asks_the_api_while_it_is_open_and_not_after(upstream: Upstream) -> None:
    with readiness.serving():
        async with upstream_api():
            report = await readiness.report()
        assert report.checks["api"] == "ok"
        assert upstream.paths == ["/v1/"]
        await readiness.report()
    assert len(upstream.requests) == 1


async def test_an_api_that_answers_with_server_errors_is_not_ready(upstream: Upstream) -> None:
    upstream.default = answer(503)
    with readiness.serving():
        async with upstream_api():
            report = await readiness.report()
    assert report.status == "unready"
    assert report.checks["api"] == "The API answered 503."
