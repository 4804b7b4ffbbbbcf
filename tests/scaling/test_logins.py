"""Logins in Redis and PostgreSQL: replicas share them, recover from outages, and store them encrypted."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ..conftest import Projects
from ..engines import PASSWORD, Engine, PostgresEngine, RedisEngine
from ..identity_provider import IdentityProvider, identity_provider
from ..logins import browsing, login_settings
from ..project import Project
from ..running import ERAS, PATIENCE_SECONDS, Reply, Running, free_port, running
from ..wire import Wire
from .certificates import certificates
from .conftest import EVERY_PATTERN

pytestmark = [
    pytest.mark.engines,
    pytest.mark.matrix,
    pytest.mark.skipif(sys.platform == "win32", reason="the engines do not run there"),
]

ENGINES: dict[str, Callable[[], Engine]] = {
    "redis": lambda: RedisEngine(password=PASSWORD),
    "postgres": PostgresEngine,
}
OTHER_KEY = "another-signing-key-of-more-than-32-characters"
# Tokens of the provider, and data of a client's registration.
SECRETS = ("opaque-access-token", "refresh-token-of-the-provider", "the client", "127.0.0.1:7")


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    with ENGINES[request.param]() as engine:
        yield engine


@pytest.fixture
def project(projects: Projects) -> Project:
    return projects(EVERY_PATTERN)


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with identity_provider() as own:
        yield own


class Replicas:
    """Servers that share a store and have the URL of the first one as their public URL."""

    def __init__(self, project: Project, home: Path, provider: IdentityProvider, store: str) -> None:
        self._project = project
        self._home = home
        self._port = free_port()
        self._settings = login_settings(provider, self._port, AUTH_STORE_URL=store)
        self._started = 0
        self._open = ExitStack()

    def start(self, **variables: str) -> Running:
        home = self._home / f"replica-{self._started}"
        home.mkdir(exist_ok=True)
        flags = () if self._started else ("--port", str(self._port))
        self._started += 1
        settings = {**self._settings, **variables}
        return self._open.enter_context(running(self._project, home, *flags, **settings))

    def end(self) -> None:
        self._open.close()
        self._started = 0


@pytest.fixture
def replicas(
    project: Project, engine: Engine, provider: IdentityProvider, tmp_path: Path
) -> Iterator[Replicas]:
    several = Replicas(project, tmp_path, provider, engine.url)
    yield several
    several.end()


async def call(server: Running, token: str, era: str = ERAS[0]) -> Reply:
    headers = {"Authorization": f"Bearer {token}"}
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await server.call(era, "process_data", {"text": "tea"}, headers)


async def log_in(server: Running) -> str:
    async with browsing(server) as browser:
        return await browser.log_in()


def stored(engine: Engine) -> str:
    """Return all data that the engine has stored, as text."""
    if isinstance(engine, PostgresEngine):
        return "\n".join(engine.fetch("SELECT row_to_json(encrypted_values)::text FROM encrypted_values"))
    assert isinstance(engine, RedisEngine)
    keys = engine.keys()
    return "\n".join(f"{key} {engine.ask('GET', key)}" for key in keys)


def test_a_login_that_begins_at_one_replica_continues_and_is_valid_at_the_others(
    replicas: Replicas, engine: Engine
) -> None:
    one, two = replicas.start(), replicas.start()

    async def log_in_at_both() -> tuple[str, ...]:
        async with browsing(one) as first, browsing(two) as second:
            assert (await first.register()).status_code == 201
            second.client_id = first.client_id
            code = (await second.authorize())["code"]
            answer = await first.exchange(code)
            assert answer.status_code == 200, answer.text
            tokens = answer.json()
            for server in (one, two):
                for era in ERAS:
                    assert (await call(server, tokens["access_token"], era)).status == 200
            refreshed = await second.refresh(tokens["refresh_token"])
            assert refreshed.status_code == 200, refreshed.text
            again = refreshed.json()
            assert (await call(one, again["access_token"])).status == 200
            return code, *(
                each[name] for each in (tokens, again) for name in ("access_token", "refresh_token")
            )

    secrets = asyncio.run(log_in_at_both())
    text = stored(engine)
    assert text
    for secret in (*SECRETS, *secrets):
        assert secret not in text


OUTAGES: dict[str, tuple[Callable[[Engine], None], Callable[[Engine], Any]]] = {
    "down": (Engine.kill, lambda engine: engine.start()),
    "silent": (Engine.pause, Engine.resume),
}


@pytest.mark.parametrize(("begin", "end"), OUTAGES.values(), ids=OUTAGES)
def test_an_outage_of_the_store_is_a_503_and_ends_by_itself(
    replicas: Replicas, engine: Engine, begin: Callable[[Engine], None], end: Callable[[Engine], Any]
) -> None:
    server = replicas.start()

    async def survive() -> None:
        token = await log_in(server)
        assert (await call(server, token)).status == 200
        begin(engine)
        try:
            for era in ERAS:
                reply = await call(server, token, era)
                assert reply.status == 503, reply
                assert int(reply.headers["retry-after"]) >= 1
            async with browsing(server) as browser:
                assert (await browser.register()).status_code == 503
        finally:
            await asyncio.to_thread(end, engine)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await call(server, token)).status != 200:
                await asyncio.sleep(0.1)
        assert (await call(server, await log_in(server))).status == 200

    asyncio.run(survive())
    assert not [line for line in server.log if "Traceback" in line or "password" in line]


def test_a_server_starts_without_its_store_and_finds_it_later(
    project: Project, provider: IdentityProvider, engine: Engine, tmp_path: Path
) -> None:
    with Wire(engine.port) as wire:
        wire.closed = True
        several = Replicas(project, tmp_path, provider, wire.url(engine.url))
        try:
            server = several.start()

            async def wait() -> None:
                async with browsing(server) as browser:
                    assert (await browser.register()).status_code == 503
                    wire.closed = False
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        while (await browser.register()).status_code != 201:
                            await asyncio.sleep(0.1)

            asyncio.run(wait())
        finally:
            several.end()


def test_logins_of_another_signing_key_have_ended_and_users_can_log_in_again(replicas: Replicas) -> None:
    async def log_in_before(server: Running) -> tuple[str, str]:
        async with browsing(server) as browser:
            token = await browser.log_in()
            assert (await call(server, token)).status == 200
            return token, browser.client_id

    async def log_in_after(server: Running, token: str, client_id: str) -> None:
        assert (await call(server, token)).status == 401
        async with browsing(server) as browser:
            browser.client_id = client_id
            assert (await browser.ask()).status_code == 400  # so the client registers again
            assert (await call(server, await browser.log_in())).status == 200

    known = asyncio.run(log_in_before(replicas.start()))
    replicas.end()
    server = replicas.start(AUTH_SIGNING_KEY=OTHER_KEY)
    asyncio.run(log_in_after(server, *known))
    assert not [line for line in server.log if "Traceback" in line]


def test_many_requests_at_once_need_few_connections(replicas: Replicas, engine: Engine) -> None:
    """The first requests also create the table. If both replicas create it at the same time, clients must retry."""
    servers = [replicas.start() for _ in range(2)]

    async def register() -> set[int]:
        async with browsing(servers[0]) as one, browsing(servers[1]) as two:
            answers = await asyncio.gather(*(browser.register() for browser in (one, two) for _ in range(20)))
            return {answer.status_code for answer in answers}

    assert asyncio.run(register()) <= {201, 503}
    assert asyncio.run(register()) == {201}
    assert 0 < connections_to(engine) <= len(servers) * 5


def connections_to(engine: Engine) -> int:
    if isinstance(engine, PostgresEngine):
        [number] = engine.fetch("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'")
        return int(number)
    assert isinstance(engine, RedisEngine)
    return len(str(engine.ask("CLIENT", "LIST")).splitlines()) - 1  # without the connection that asks


@pytest.mark.parametrize("trusted", [True, False])
def test_the_certificate_of_the_store_is_verified(
    project: Project, provider: IdentityProvider, tmp_path: Path, trusted: bool
) -> None:
    authority, context = certificates(tmp_path)
    with RedisEngine() as redis, Wire(redis.port, tls=context) as wire:
        url = wire.url(redis.url).replace("redis://", "rediss://")
        several = Replicas(project, tmp_path, provider, f"{url}?ssl_ca_certs={authority}" if trusted else url)
        try:
            server = several.start()

            async def register() -> int:
                async with browsing(server) as browser:
                    return (await browser.register()).status_code

            assert asyncio.run(register()) == (201 if trusted else 503)
        finally:
            several.end()
