"""The API of this server: its address, its credential, its endpoints, and the example."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fastmcp import FastMCP
from fastmcp.utilities.tests import asgi_client

from {{ cookiecutter.package_name }}.runtime.api_client import (
    ApiAnswer,
)
from {{ cookiecutter.package_name }}.runtime.api_failures import (
    EndpointRefused,
    UpstreamNotConfigured,
    UpstreamNotFound,
    UpstreamRejected,
)
from {{ cookiecutter.package_name }}.runtime.readiness import (
    readiness,
)
from {{ cookiecutter.package_name }}.settings import (
    InvalidSettings,
    check_settings,
)
from {{ cookiecutter.package_name }}.upstream import (
    Api,
    UpstreamApi,
    UpstreamSettings,
    check_configuration,
    upstream_api,
)

from .upstream import Upstream, answer, local_upstream


@pytest.fixture(autouse=True)
def _no_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Skip loading certificates, which takes about 30 ms."""
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


async def test_a_resource_id_that_a_server_could_read_as_a_path_is_refused(
    api: UpstreamApi, upstream: Upstream
) -> None:
    for resource_id in (".", "..", "../../v2", "..\\v2", "%2e%2e"):
        with pytest.raises(EndpointRefused):
            await api.get_resource("resources", resource_id)
    assert upstream.connections == 0


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
def test_an_api_key_that_is_invalid_in_a_header_is_refused_at_startup(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_KEY", key)
    with pytest.raises(InvalidSettings, match=r"^API_KEY: must be ASCII") as refusal:
        check_settings()
    assert key not in str(refusal.value)


async def call_api(api: Api) -> ApiAnswer:
    return await api.get("users")


async def test_no_header_of_a_caller_reaches_the_api(upstream: Upstream) -> None:
    server = FastMCP("test", tools=[call_api])
    sent = {"Authorization": "Bearer canary", "Cookie": "session=canary", "X-Tenant": "canary"}
    async with asgi_client(server, headers=sent) as client:
        await client.call_tool("call_api")
    [(_, headers)] = upstream.requests
    assert "authorization" not in headers
    assert "canary" not in json.dumps(headers)


async def test_without_a_base_url_a_call_names_the_variable() -> None:
    with pytest.raises(UpstreamNotConfigured, match="API_BASE_URL is not set"):
        await check_configuration(UpstreamSettings())
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
def test_an_invalid_base_url_is_refused_at_startup_without_showing_it(
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
    await check_configuration(UpstreamSettings())
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


async def test_the_example_api_tracks_issues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_BASE_URL", "example")
    async with upstream_api() as api:
        created = await api.post("issues", json={"title": "Tea"}, idempotency_key="key")
        assert created == ApiAnswer(status=201, data={"id": 3, "title": "Tea", "state": "open"})
        assert await api.post("issues", json={"title": "Tea"}, idempotency_key="key") == created
        changed = await api.patch("issues/3", json={"state": "closed"})
        assert changed.data == {"id": 3, "title": "Tea", "state": "closed"}
        assert (await api.get("issues/3")).data == changed.data
        found = await api.get("issues", params={"state": "open"})
        assert found.data == {"issues": [{"id": 1, "title": "The build is red", "state": "open"}]}
        with pytest.raises(UpstreamRejected, match="title is required"):
            await api.post("issues", json={})
        with pytest.raises(UpstreamRejected, match="state must be open or closed"):
            await api.patch("issues/3", json={"state": "lost"})
        with pytest.raises(UpstreamNotFound):
            await api.patch("issues/4", json={"state": "closed"})
    async with upstream_api() as api:
        with pytest.raises(UpstreamNotFound):
            await api.get("issues/3")


async def test_readiness_checks_the_api_only_while_it_is_open(upstream: Upstream) -> None:
    with readiness.serving():
        async with upstream_api():
            report = await readiness.report()
        assert report.checks["api"] == "ok"
        assert upstream.paths == ["/v1/"]
        await readiness.report()
    assert len(upstream.requests) == 1


async def test_an_api_that_has_never_answered_leaves_the_server_degraded(
    upstream: Upstream,
) -> None:
    """All replicas have the same API: if they were unready, none would get a call."""
    upstream.default = answer(503)
    with readiness.serving():
        async with upstream_api():
            report = await readiness.report()
            strict = await readiness.report(strict=True)
    assert report.status == "degraded"
    assert report.checks["api"] == "The API answered 503."
    assert strict.status == "unready"
