"""Authentication over HTTP in both eras: tokens, scopes, keys, metadata, browsers, and logins shared by replicas."""

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from joserfc.jwk import ECKey

from .conftest import Bake, Projects
from .identity_provider import ALGORITHM, CLIENT_ID, IdentityProvider, identity_provider
from .logins import SIGNING_KEY, browsing, login_settings
from .project import Project, assert_passed
from .running import (
    ERAS,
    MODERN,
    PATIENCE_SECONDS,
    UNLIMITED,
    Reply,
    Running,
    free_port,
    headers_of,
    http_request,
    message,
    running,
    start,
    tool_call,
)

pytestmark = [pytest.mark.anyio, pytest.mark.sweep, pytest.mark.matrix]

METADATA = "/.well-known/oauth-protected-resource"


def settings(provider: IdentityProvider, **variables: str) -> dict[str, str]:
    return {
        **UNLIMITED,
        "PUBLIC_URL": "https://mcp.example",
        "AUTH_ISSUER": provider.url,
        "AUTH_AUDIENCE": "https://mcp.example/mcp",
        "AUTH_JWKS_URL": f"{provider.url}/keys",
        "AUTH_ALGORITHM": ALGORITHM,
        "AUTH_SCOPES": "use",
        "AUTH_WRITE_SCOPES": "change",
        **variables,
    }


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def project(projects: Projects) -> Project:
    return projects("all")


@pytest.fixture(scope="module")
def shared_provider() -> Iterator[IdentityProvider]:
    with identity_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def shared(
    project: Project, shared_provider: IdentityProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """Run one server for all tests that do not change the provider."""
    allowed = {"ALLOWED_ORIGINS": "https://app.example"}
    home = tmp_path_factory.mktemp("home")
    with running(project, home, **settings(shared_provider, **allowed)) as server:
        yield server


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as own:
        yield own


async def call(
    server: Running, token: str | None, era: str = MODERN, tool: str = "process_data", **headers: str
) -> Reply:
    sent = {**({"Authorization": f"Bearer {token}"} if token is not None else {}), **headers}
    arguments = {"text": "tea"} if tool == "process_data" else {"name": "visits"}
    return await server.call(era, tool, arguments, sent)


def challenge(reply: Reply) -> dict[str, str]:
    """Return the parameters of the challenge, which must contain the URL of the metadata."""
    header = reply.headers["www-authenticate"]
    assert header.startswith("Bearer ")
    found = dict(re.findall(r'(\w+)="([^"]*)"', header))
    assert found["resource_metadata"] == f"https://mcp.example{METADATA}/mcp"
    return found


# The status that the specification requires for each kind of token, as in the table of the reference.
HOUR = 3600
TOKENS: dict[str, tuple[int, Callable[[IdentityProvider], str | None]]] = {
    "none": (401, lambda _: None),
    "good": (200, lambda login: login.token()),
    "garbage": (401, lambda _: "garbage"),
    "empty": (401, lambda _: ""),
    "wrong audience": (401, lambda login: login.token(aud="https://other.example/mcp")),
    "no audience": (401, lambda login: login.token(aud=None)),
    "audience is the base URL": (401, lambda login: login.token(aud="https://mcp.example")),
    "audience with a slash": (401, lambda login: login.token(aud="https://mcp.example/mcp/")),
    "a list of audiences": (200, lambda login: login.token(aud=["x", "https://mcp.example/mcp"])),
    "wrong issuer": (401, lambda login: login.token(iss="https://evil.example")),
    "no issuer": (401, lambda login: login.token(iss=None)),
    "issuer with a slash": (401, lambda login: login.token(iss=f"{login.url}/")),
    "expired": (401, lambda login: login.token(exp=1)),
    "expired within the skew": (200, lambda login: login.token(exp=now() - 1)),
    "no end": (401, lambda login: login.token(exp=None)),
    "end as text": (401, lambda login: login.token(exp=str(now() + HOUR))),
    "end in a billion years": (401, lambda login: login.token(exp=10**18)),
    "not before, within the skew": (200, lambda login: login.token(nbf=now() + 10)),
    "not before an hour": (401, lambda login: login.token(nbf=now() + HOUR)),
    "issued in an hour": (401, lambda login: login.token(iat=now() + HOUR)),
    "alg none": (401, lambda login: unsigned(login, "none")),
    "alg nOnE": (401, lambda login: unsigned(login, "nOnE")),
    "another algorithm": (
        401,
        lambda login: login.token(key=ECKey.generate_key("P-384", {"kid": "first"}), header={"alg": "ES384"}),
    ),
    "wrong key under the same id": (
        401,
        lambda login: login.token(key=ECKey.generate_key("P-256", {"kid": "first"})),
    ),
    "unknown key id": (401, lambda login: login.token(header={"kid": "unknown"})),
    "no key id": (200, lambda login: login.token(header={"kid": None})),
    "typ at+jwt": (200, lambda login: login.token(header={"typ": "at+jwt"})),
    "no scope": (403, lambda login: login.token(scope=None)),
    "another scope": (403, lambda login: login.token(scope="useful")),
    "scp as a list": (200, lambda login: login.token(scope=None, scp=["use"])),
    "no subject": (401, lambda login: login.token(sub=None)),
    "subject as a number": (401, lambda login: login.token(sub=7)),
}


def now() -> int:
    return int(time.time())


def unsigned(login: IdentityProvider, algorithm: str) -> str:
    header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).decode().rstrip("=")
    return f"{header}.{login.token().split('.')[1]}."


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("status", "token"), TOKENS.values(), ids=TOKENS)
async def test_a_token_gets_the_answer_of_the_specification(
    shared: Running,
    shared_provider: IdentityProvider,
    era: str,
    status: int,
    token: Callable[[IdentityProvider], str | None],
) -> None:
    sent = token(shared_provider)
    reply = await call(shared, sent, era)
    assert reply.status == status, reply
    if status == 401:
        assert challenge(reply).get("error") == ("invalid_token" if sent else None)
    if status == 403:
        assert challenge(reply)["error"] == "insufficient_scope"
        assert challenge(reply)["scope"] == "use"


@pytest.mark.parametrize(
    "header", ["bearer {}", "BEARER {}", "Bearer  {}"], ids=["lower case", "upper case", "two spaces"]
)
async def test_the_name_of_the_scheme_may_have_any_case(
    shared: Running, shared_provider: IdentityProvider, header: str
) -> None:
    reply = await call(shared, None, Authorization=header.format(shared_provider.token()))
    assert reply.status == 200


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Token x"])
async def test_another_scheme_is_as_good_as_none(shared: Running, header: str) -> None:
    reply = await call(shared, None, Authorization=header)
    assert reply.status == 401
    assert "error" not in challenge(reply)


@pytest.mark.parametrize("others", [("", "bad"), ("bad", ""), ("", "")], ids=["first", "last", "both"])
async def test_a_request_with_two_tokens_is_malformed_although_one_of_them_is_valid(
    shared: Running, shared_provider: IdentityProvider, others: tuple[str, str]
) -> None:
    good = shared_provider.token()
    body = json.dumps(tool_call(MODERN, "process_data", {"text": "tea"})).encode()
    headers = headers_of(MODERN, json.loads(body))
    request = http_request(shared.address, body, headers)
    twice = "".join(f"Authorization: Bearer {token or good}\r\n" for token in others).encode()
    reply = await shared.send(request.replace(b"\r\n", b"\r\n" + twice, 1))
    assert reply.status == 400
    assert challenge(reply)["error"] == "invalid_request"


async def test_a_token_in_the_query_does_not_count(
    shared: Running, shared_provider: IdentityProvider
) -> None:
    path = f"/mcp?access_token={shared_provider.token()}"
    request = f"POST {path} HTTP/1.1\r\nHost: {shared.address}\r\nContent-Length: 2\r\n"
    reply = await shared.send(f"{request}Connection: close\r\n\r\n{{}}".encode())
    assert reply.status == 401


@pytest.mark.parametrize("era", ERAS)
async def test_every_method_needs_a_token(shared: Running, era: str) -> None:
    methods = ("server/discover", "tools/list") if era == MODERN else ("initialize", "tools/list")
    for method in methods:
        body = json.dumps(message(era, method)).encode()
        assert (await shared.post(body, {"Content-Type": "application/json"})).status == 401
    assert (await shared.get("/mcp")).status == 401
    assert (await shared.get("/livez")).status == 200


@pytest.mark.parametrize("era", ERAS)
async def test_a_tool_that_writes_needs_the_write_scopes_and_one_that_reads_does_not(
    shared: Running, shared_provider: IdentityProvider, era: str
) -> None:
    reader, writer = shared_provider.token(), shared_provider.token(scope="use change")
    refused = await call(shared, reader, era, "increment_counter")
    assert refused.status == 403
    assert challenge(refused)["scope"] == "use change"
    assert (await call(shared, writer, era, "increment_counter")).status == 200
    assert (await call(shared, reader, era)).status == 200


async def test_a_forged_name_in_a_header_does_not_help(
    shared: Running, shared_provider: IdentityProvider
) -> None:
    reply = await call(shared, shared_provider.token(), MODERN, "increment_counter", **{"Mcp-Name": "x"})
    assert reply.status in {400, 403}


@pytest.mark.parametrize("era", ERAS)
async def test_tools_that_are_refused_are_listed(
    shared: Running, shared_provider: IdentityProvider, era: str
) -> None:
    body = message(era, "tools/list")
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": era,
        "Mcp-Method": "tools/list",
        "Authorization": f"Bearer {shared_provider.token()}",
    }
    reply = await shared.post(json.dumps(body).encode(), headers)
    assert "increment_counter" in {tool["name"] for tool in reply.result["tools"]}


async def test_the_metadata_is_at_both_places_and_exact(
    shared: Running, shared_provider: IdentityProvider
) -> None:
    replies = [await shared.get(path) for path in (METADATA, f"{METADATA}/mcp")]
    assert [reply.status for reply in replies] == [200, 200]
    assert replies[0].body == replies[1].body
    assert json.loads(replies[0].body) == {
        "resource": "https://mcp.example/mcp",
        "authorization_servers": [shared_provider.url],
        "scopes_supported": ["use", "change"],
        "bearer_methods_supported": ["header"],
    }


async def test_a_web_page_of_an_allowed_origin_can_ask_and_read_refusals(shared: Running) -> None:
    origin = "https://app.example"
    preflight = (
        f"OPTIONS /mcp HTTP/1.1\r\nHost: {shared.address}\r\nOrigin: {origin}\r\n"
        "Access-Control-Request-Method: POST\r\n"
        "Access-Control-Request-Headers: authorization\r\nConnection: close\r\n\r\n"
    )
    asked = await shared.send(preflight.encode())
    assert asked.status == 200
    assert asked.headers["access-control-allow-origin"] == origin
    refused = await call(shared, None, Origin=origin)
    assert refused.status == 401
    assert refused.headers["access-control-allow-origin"] == origin
    assert "www-authenticate" in refused.headers["access-control-expose-headers"].lower()
    assert (await call(shared, None, Origin="https://evil.example")).status == 403


async def test_a_rejected_request_is_one_line_of_the_log_without_the_token(
    project: Project, provider: IdentityProvider, tmp_path: Path
) -> None:
    with running(project, tmp_path, **settings(provider)) as server:
        token = provider.token(exp=1)
        await call(server, token)
        line = json.loads(server.logged("The token has expired."))
        assert line["client"] == "desktop"
        assert line["address"] == "127.0.0.1"
        assert line["status"] == 401
        await call(server, provider.token())
        record = json.loads(server.logged("tool call"))
        assert record["caller"] == f"{provider.url} desktop ada"
        rejections = [text for text in server.log if "eject" in text or "Auth error" in text]
        assert len(rejections) == 1
        assert not [text for text in server.log if token[:20] in text]


async def test_an_address_that_is_rejected_too_often_has_to_wait_and_valid_tokens_do_not(
    project: Project, provider: IdentityProvider, tmp_path: Path
) -> None:
    with running(project, tmp_path, **settings(provider)) as server:
        bad = provider.token(exp=1)
        statuses = [(await call(server, bad)).status for _ in range(102)]
        assert statuses == [401] * 100 + [429] * 2
        reply = await call(server, bad)
        assert 0 < int(reply.headers["retry-after"]) <= 60
        assert (await call(server, None)).status == 401
        assert (await call(server, provider.token())).status == 200


# Failures of the identity provider


@contextmanager
def served(project: Project, home: Path, provider: IdentityProvider, **variables: str) -> Iterator[Running]:
    with running(project, home, **settings(provider, **variables)) as server:
        yield server


def is_told_to_retry(reply: Reply) -> bool:
    return reply.status == 503 and 1 <= int(reply.headers["retry-after"]) <= 10 and bool(challenge(reply))


@pytest.mark.parametrize("era", ERAS)
async def test_keys_that_cannot_be_fetched_at_the_start_are_a_503_until_they_can(
    project: Project, provider: IdentityProvider, tmp_path: Path, era: str
) -> None:
    with served(project, tmp_path, provider) as server:
        provider.stop()
        assert is_told_to_retry(await call(server, provider.token(), era))
        assert (await server.get("/livez")).status == 200
        provider.start()
        assert (await call(server, provider.token(), era)).status == 200


async def test_known_keys_stay_in_use_while_the_provider_is_down(
    project: Project, provider: IdentityProvider, tmp_path: Path
) -> None:
    with served(project, tmp_path, provider) as server:
        assert (await call(server, provider.token())).status == 200
        provider.stop()
        assert (await call(server, provider.token())).status == 200
        unknown = provider.token(header={"kid": "unknown"})
        assert is_told_to_retry(await call(server, unknown))


async def test_a_slow_provider_is_asked_once_for_all_and_stops_nobody_else(
    project: Project, provider: IdentityProvider, tmp_path: Path
) -> None:
    with served(project, tmp_path, provider) as server:
        provider.delay_seconds = 1
        replies: list[Reply] = []

        async def ask() -> None:
            replies.append(await call(server, provider.token()))

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask)
            await anyio.sleep(0.3)
            assert (await server.get("/livez")).status == 200
            assert not replies
        assert [reply.status for reply in replies] == [200] * 5
        assert provider.requests == ["/keys"]


async def test_a_silent_provider_is_a_503_and_not_a_hanging_request(
    project: Project, provider: IdentityProvider, tmp_path: Path
) -> None:
    with served(project, tmp_path, provider) as server:
        provider.fall_silent()
        assert is_told_to_retry(await call(server, provider.token()))


async def test_a_new_key_works_at_once_and_the_old_one_no_longer(
    project: Project, provider: IdentityProvider, tmp_path: Path
) -> None:
    with served(project, tmp_path, provider) as server:
        old = provider.token()
        assert (await call(server, old)).status == 200
        provider.rotate("second")
        assert (await call(server, provider.token())).status == 200
        assert (await call(server, old)).status == 401


@pytest.mark.parametrize(
    "answer",
    [b"<html>", b"[]", b'{"keys": null}', b'{"keys": []}', b'{"keys": [7]}', b"", b"\xff"],
    ids=str,
)
async def test_an_invalid_key_set_is_a_503_and_replaces_no_known_key(
    project: Project, provider: IdentityProvider, tmp_path: Path, answer: bytes
) -> None:
    with served(project, tmp_path, provider) as server:
        provider.keys_instead = answer
        assert is_told_to_retry(await call(server, provider.token()))
        provider.keys_instead = None
        assert (await call(server, provider.token())).status == 200
        provider.keys_instead = answer
        assert is_told_to_retry(await call(server, provider.token(header={"kid": "unknown"})))
        assert (await call(server, provider.token())).status == 200


async def test_invented_key_ids_cost_the_provider_next_to_nothing(
    project: Project, provider: IdentityProvider, tmp_path: Path
) -> None:
    with served(project, tmp_path, provider) as server:
        assert (await call(server, provider.token())).status == 200
        for number in range(50):
            reply = await call(server, provider.token(header={"kid": f"invented {number}"}))
            assert reply.status in {401, 503}
        assert len(provider.requests) <= 5
        assert (await call(server, provider.token())).status == 200


# Invalid settings


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"AUTH_ISSUER": "https://login.example"}, "AUTH_AUDIENCE: is required"),
        ({"AUTH_SCOPES": "use"}, "AUTH_SCOPES: has no effect without AUTH_ISSUER"),
        ({"OIDC_CLIENT_ID": "x"}, "OIDC_CONFIG_URL: is required"),
        ({"AUTH_SIGNING_KEY": SIGNING_KEY}, "AUTH_SIGNING_KEY: has no effect"),
        ({"AUTH_STORE_URL": "mongodb://x"}, "AUTH_STORE_URL: must be memory://"),
        ({"AUTH_REDIRECT_URIS": "https://*.example"}, "AUTH_REDIRECT_URIS: must be complete https URIs"),
    ],
)
def test_a_partial_configuration_is_one_line_and_exit_code_2(
    project: Project, tmp_path: Path, variables: dict[str, str], text: str
) -> None:
    ended = project.run("-m", project.package_name, HOME=str(tmp_path), **variables)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert text in ended.stderr


def test_http_in_production_without_authentication_is_a_warning(project: Project, tmp_path: Path) -> None:
    with running(project, tmp_path, ENVIRONMENT="production") as server:
        assert "does not require authentication, in production" in "".join(server.log)


# Logins through the server


@contextmanager
def logging_in(
    project: Project, home: Path, provider: IdentityProvider, **variables: str
) -> Iterator[Running]:
    """Run a server with login on a port that is chosen in advance, since the settings contain it."""
    port = free_port()
    flags = ("--port", str(port))
    with running(project, home, *flags, **login_settings(provider, port, **variables)) as server:
        yield server


async def test_a_user_logs_in_with_consent_and_may_do_what_was_granted(
    project: Project, provider: IdentityProvider, tmp_path: Path
) -> None:
    with logging_in(project, tmp_path, provider) as server:
        async with browsing(server) as browser:
            token = await browser.log_in("use")
        for era in ERAS:
            assert (await call(server, token, era)).status == 200
            assert (await call(server, token, era, "increment_counter")).status == 403
        record = json.loads(server.logged("tool call"))
        assert record["caller"] == f"{provider.url} {CLIENT_ID} ada"
        async with browsing(server) as browser:
            writer = await browser.log_in("use change")
        assert (await call(server, writer, MODERN, "increment_counter")).status == 200
        assert (await call(server, provider.token())).status == 401  # issued by the provider
        assert not [line for line in server.log if "opaque-access-token" in line or token in line]


@pytest.mark.parametrize("era", ERAS)
async def test_on_stdio_no_token_is_needed_and_the_provider_is_never_asked(
    project: Project, provider: IdentityProvider, tmp_path: Path, era: str
) -> None:
    requests = (
        [message(era, "initialize"), message(era, "notifications/initialized")] if era != MODERN else []
    )
    requests += [
        tool_call(era, "process_data", {"text": "tea"}),
        tool_call(era, "increment_counter", {"name": "x"}),
    ]
    for number, request in enumerate(requests):
        request["id"] = number
        if request["method"].startswith("notifications/"):
            del request["id"]
    lines = "".join(f"{json.dumps(request)}\n" for request in requests).encode()
    for variables in (settings(provider), login_settings(provider, free_port())):
        with start(project, tmp_path, **variables) as process:
            out, errors = process.communicate(lines, PATIENCE_SECONDS)
        answers = [json.loads(line) for line in out.splitlines()]
        assert len(answers) == len([request for request in requests if "id" in request]), errors
        assert not [answer for answer in answers if answer["result"].get("isError")], answers
        assert b'"caller":"local"' in errors
    assert provider.requests == []


@pytest.mark.parametrize(
    "redirect_uri",
    ["https://evil.example/callback", "http://localhost.evil.example/callback", "javascript:alert(1)"],
)
async def test_a_client_may_not_have_codes_sent_anywhere(
    project: Project, provider: IdentityProvider, tmp_path: Path, redirect_uri: str
) -> None:
    named = "https://client.example/callback"
    with logging_in(project, tmp_path, provider, AUTH_REDIRECT_URIS=named) as server:
        async with browsing(server) as browser:
            assert (await browser.register(redirect_uri)).status_code == 400
            assert (await browser.register(named)).status_code == 201
            assert (await browser.register("http://localhost:1234/callback")).status_code == 201


async def test_the_server_starts_while_the_provider_is_down_and_says_when_to_retry(
    project: Project, provider: IdentityProvider, tmp_path: Path
) -> None:
    provider.stop()
    with logging_in(project, tmp_path, provider) as server:
        assert (await server.get("/livez")).status == 200
        reply = await server.get("/.well-known/oauth-authorization-server")
        assert reply.status == 503
        assert int(reply.headers["retry-after"]) >= 1
        assert (await call(server, "x")).status == 503
        assert json.loads((await server.get(METADATA)).body)["authorization_servers"]
        provider.start()
        assert (await server.get("/.well-known/oauth-authorization-server")).status == 200
        assert not [line for line in server.log if "Traceback" in line]


async def test_the_event_loop_is_free_while_the_provider_is_silent(
    project: Project, provider: IdentityProvider, tmp_path: Path
) -> None:
    provider.fall_silent()
    with logging_in(project, tmp_path, provider) as server:
        replies: list[Reply] = []

        async def ask() -> None:
            replies.append(await server.get("/.well-known/oauth-authorization-server"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            with anyio.fail_after(PATIENCE_SECONDS):
                while not provider.requests:
                    await anyio.sleep(0.05)
            assert (await server.get("/livez")).status == 200
            assert not replies
            provider.wake()
        assert replies[0].status == 200


async def test_replicas_share_a_login(project: Project, provider: IdentityProvider, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    ports = [free_port(), free_port()]
    # Both have the same public URL, as behind a proxy.
    variables = login_settings(provider, ports[0], AUTH_STORE_URL=(tmp_path / "logins").as_uri())
    with (
        running(project, tmp_path / "one", "--port", str(ports[0]), **variables) as one,
        running(project, tmp_path / "two", "--port", str(ports[1]), **variables) as two,
    ):
        async with browsing(one) as browser:
            token = await browser.log_in()
        assert (await call(one, token)).status == 200
        assert (await call(two, token)).status == 200
    stored = b"".join(path.read_bytes() for path in (tmp_path / "logins").rglob("*") if path.is_file())
    assert stored
    for secret in (b"opaque-access-token", b"refresh-token-of-the-provider", b"the client"):
        assert secret not in stored


# The tests of a project that requires tokens


OWN_AUTH = """\
from fastmcp.server.auth import JWTVerifier

mcp.auth = JWTVerifier(public_key="a-secret-of-32-characters-or-more", algorithm="HS256", required_scopes=["use"])
"""


def test_the_suite_and_the_checklist_pass_although_the_server_has_an_auth_of_its_own(bake: Bake) -> None:
    project = bake()
    with (project.package / "server.py").open("a", encoding="utf-8") as file:
        file.write(OWN_AUTH)
    files = ("checklist", "calls", "authentication", "rate_limiting", "workers")
    ran = project.run_tests("tests/test_server.py", *(f"tests/production/test_{name}.py" for name in files))
    assert_passed(ran)
    assert re.search(r"^Authentication +holds ", ran.stdout, flags=re.MULTILINE)


# A third-party scanner


def authlab(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    browser = f"{sys.executable} {Path(__file__).with_name('consenting_browser.py')} %s"
    return subprocess.run(
        [str(Path(sys.executable).with_name("mcp-authlab")), *arguments],
        env={"HOME": str(home), "PATH": os.environ["PATH"], "BROWSER": browser},
        capture_output=True,
        text=True,
        check=False,
    )


def scan(home: Path, server: Running, *arguments: str) -> dict[str, str]:
    """Return the status of each check of mcp-authlab that did not pass, by ID, except those in `EXPLAINED`."""
    url = f"http://{server.address}/mcp"
    scanned = authlab(home, "scan", url, "--tool", "process_data", "--format", "json", *arguments)
    report = json.loads(scanned.stdout)
    found = {check["id"]: check["status"] for check in report["results"] if check["status"] != "pass"}
    return {key: status for key, status in found.items() if key not in EXPLAINED}


# A warning about plain HTTP on loopback, and checks of sessions, which the server does not have. See
# `docs/authentication.md`.
EXPLAINED = {"TLS-01", "SESS-01", "SESS-02"}
# Checks that need a login through this server, which a resource server does not have.
OF_A_LOGIN = {f"ASF-0{number}" for number in range(1, 7)}
# Checks that need a token for another resource, which the server refuses to issue.
REFUSED_AT_LOGIN = {"ASF-03", "TOK-03"}


def test_a_scanner_finds_nothing_in_a_resource_server(
    project: Project, provider: IdentityProvider, tmp_path: Path
) -> None:
    port = free_port()
    audience = f"http://127.0.0.1:{port}/mcp"
    variables = settings(provider, PUBLIC_URL=f"http://127.0.0.1:{port}", AUTH_AUDIENCE=audience)
    token, foreign = provider.token(aud=audience), provider.token(aud="https://other.example/mcp")
    with running(project, tmp_path, "--port", str(port), **variables) as server:
        found = scan(tmp_path, server, "--no-login", "--token", token, "--foreign-token", foreign)
    assert found == dict.fromkeys(OF_A_LOGIN, "skip")


def test_a_scanner_that_logs_in_finds_nothing(
    project: Project, provider: IdentityProvider, tmp_path: Path
) -> None:
    with logging_in(project, tmp_path, provider) as server:
        login = authlab(tmp_path, "login", f"http://{server.address}/mcp", "--thorough")
        assert login.returncode == 0, login.stdout + login.stderr
        assert scan(tmp_path, server) == dict.fromkeys(REFUSED_AT_LOGIN, "skip")
