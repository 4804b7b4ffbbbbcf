"""Engines and replicas that the tests of this folder share. Each test leaves them healthy."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..conftest import Projects
from ..engines import Engine, PostgresEngine, RedisEngine, find_redis_programs
from ..fault_server import FaultServer, Request, fault_server
from ..wire import Wire
from .replicas import Replicas, replicas_of

# One call per second, and bursts of a hundred. The tests set X-Forwarded-For, as a trusted proxy on loopback does.
RATE_PER_MINUTE, BURST = 60, 100
EVERY_PATTERN = "all-but-self_contained"
STATE_MAX_KEYS = 40
SETTINGS = {
    "STATE_MAX_KEYS": str(STATE_MAX_KEYS),
    "RATE_LIMIT_PER_MINUTE": str(RATE_PER_MINUTE),
    "RATE_LIMIT_BURST": str(BURST),
    "TRUSTED_PROXIES": "127.0.0.1",
    "API_BASE_URL": "example",
}
LOAD_SECONDS = 0.3


@dataclass
class Fleet:
    """Replicas with a shared engine, and the wire between them. SQLite has neither."""

    replicas: Replicas
    engine: Engine | None = None
    wire: Wire | None = None

    @property
    def ports(self) -> list[int]:
        return self.replicas.ports


Fleets = Callable[[str], Fleet]
names = itertools.count()


@pytest.fixture
def name() -> str:
    """Return a unique name for a counter or a resource."""
    return f"test-{next(names)}"


@pytest.fixture(scope="package")
def redis() -> Iterator[RedisEngine]:
    with RedisEngine() as engine:
        yield engine


@pytest.fixture(scope="package")
def other_redis() -> Iterator[RedisEngine]:
    """Run Redis if the fixture `redis` is Valkey, and vice versa."""
    with RedisEngine(find_redis_programs()[1]) as engine:
        yield engine


@pytest.fixture(scope="package")
def postgres() -> Iterator[PostgresEngine]:
    with PostgresEngine() as engine:
        yield engine


async def slow_resource(request: Request) -> bool:
    await asyncio.sleep(LOAD_SECONDS)
    return await request.answer(body=b'{"fetched": true}')


@pytest.fixture(scope="package")
def api() -> Iterator[FaultServer]:
    """Serve resources so slowly that concurrent calls overlap. The server records its requests."""
    with fault_server({"slow": slow_resource}) as server:
        yield server


@pytest.fixture(scope="package")
def fleets(
    projects: Projects,
    api: FaultServer,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Fleets]:
    """Return a function that starts three replicas with an engine, and closes those with another engine."""
    running: dict[str, Fleet] = {}

    with ExitStack() as stack:

        def fleet(kind: str) -> Fleet:
            if kind not in running:
                stack.close()
                running.clear()
                running[kind] = start(kind)
            return running[kind]

        def start(kind: str) -> Fleet:
            home = tmp_path_factory.mktemp(kind)
            engine: Engine | None = None
            wire: Wire | None = None
            if kind == "sqlite":
                variables = {"STATE_URL": f"sqlite:///{home / 'state.db'}"}
            else:
                engine = request.getfixturevalue(kind)
                wire = stack.enter_context(Wire(engine.port))
                url = wire.url(engine.url)
                names = ENGINE_VARIABLES[kind]
                variables = dict.fromkeys(names, url)
            variables |= {**SETTINGS, "API_BASE_URL": api.url}
            replicas = stack.enter_context(replicas_of(projects(EVERY_PATTERN), home, **variables))
            return Fleet(replicas, engine, wire)

        yield fleet


ENGINE_VARIABLES = {
    "redis": ("CACHE_URL", "RATE_LIMIT_URL", "STATE_URL"),
    "other_redis": ("CACHE_URL", "RATE_LIMIT_URL", "STATE_URL"),
    "postgres": ("DATABASE_URL", "STATE_URL"),
}


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")
