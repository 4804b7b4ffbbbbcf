"""During every PostgreSQL failure, calls end in time and acknowledged writes are kept, and the server recovers."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ..conftest import Projects
from ..engines import PostgresEngine
from ..running import environment, running
from .conftest import EVERY_PATTERN, SETTINGS, Fleet, Fleets
from .loads import LONGEST_CALL_SECONDS, healthy_afterwards, under_load
from .replicas import call, counting, failure, ready, stored, until_more, until_ready, until_refused

pytestmark = [
    pytest.mark.engines,
    pytest.mark.matrix,
    pytest.mark.skipif(sys.platform == "win32", reason="the engines do not run there"),
]

TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'"


@pytest.fixture
def fleet(fleets: Fleets) -> Iterator[Fleet]:
    with healthy_afterwards(fleets("postgres")) as used:
        yield used


def test_a_killed_database_is_used_again_when_it_is_back(
    fleet: Fleet, postgres: PostgresEngine, name: str
) -> None:
    asyncio.run(under_load(fleet, name, postgres.kill, postgres.start))


def test_a_paused_database_holds_no_call_and_is_used_again(
    fleet: Fleet, postgres: PostgresEngine, name: str
) -> None:
    asyncio.run(under_load(fleet, name, postgres.pause, postgres.resume))


def test_a_restart_of_the_database_loses_nothing(fleet: Fleet, postgres: PostgresEngine, name: str) -> None:
    asyncio.run(under_load(fleet, name, postgres.restart))


def test_a_network_that_swallows_packets_holds_no_call_of_the_database(fleet: Fleet, name: str) -> None:
    assert fleet.wire
    wire = fleet.wire

    def cut() -> None:
        wire.cut = True

    def join() -> None:
        wire.cut = False
        wire.reset()

    asyncio.run(under_load(fleet, name, cut, join))


def test_terminated_backends_lose_nothing(fleet: Fleet, postgres: PostgresEngine, name: str) -> None:
    asyncio.run(under_load(fleet, name, lambda: postgres.execute(TERMINATE)))


def test_idle_connections_that_were_dropped_fail_no_call(
    fleet: Fleet, postgres: PostgresEngine, name: str
) -> None:
    async def call_again() -> None:
        async with counting(fleet.ports, name) as tally:
            await until_more(tally)
        await asyncio.to_thread(postgres.execute, TERMINATE)
        async with counting(fleet.ports, name) as again:
            await until_more(again)
        assert again.acknowledged == again.calls, again
        assert await stored(fleet.ports[0], name) == tally.acknowledged + again.acknowledged

    asyncio.run(call_again())


def test_too_many_connections_are_a_retryable_failure(
    fleet: Fleet, postgres: PostgresEngine, name: str
) -> None:
    def take_all() -> None:
        postgres.execute("ALTER ROLE app CONNECTION LIMIT 0", TERMINATE)

    def give_back() -> None:
        postgres.execute("ALTER ROLE app CONNECTION LIMIT -1")

    asyncio.run(under_load(fleet, name, take_all, give_back))
    assert "53300" in "".join(line for server in fleet.replicas.servers for line in server.log)


def test_a_long_lock_holds_no_call_beyond_its_limit(
    fleet: Fleet, postgres: PostgresEngine, name: str
) -> None:
    async def lock() -> None:
        async with counting(fleet.ports, name) as tally:
            await until_more(tally)
            holder: Any = await postgres.connection("app")
            transaction = holder.transaction()
            await transaction.start()
            await holder.execute("LOCK TABLE state IN ACCESS EXCLUSIVE MODE")
            try:
                await until_refused(tally)
                for server in fleet.replicas.servers:
                    assert (await ready(server)).code == 200
            finally:
                await transaction.rollback()
                await holder.close()
            await until_more(tally)
        value = await stored(fleet.ports[0], name)
        assert tally.agrees_with(value), (tally, value)
        assert tally.slowest < LONGEST_CALL_SECONDS

    asyncio.run(lock())


@contextmanager
def changed_password(postgres: PostgresEngine) -> Iterator[None]:
    postgres.execute("ALTER ROLE app PASSWORD 'other'", TERMINATE)
    try:
        yield
    finally:
        postgres.execute("ALTER ROLE app PASSWORD 'a secret'")


def test_a_changed_password_of_the_database_is_named_and_not_retryable(
    fleet: Fleet, postgres: PostgresEngine, name: str
) -> None:
    asyncio.run(stored(fleet.ports[0], name))
    with changed_password(postgres):
        error = failure(asyncio.run(call(fleet.ports[0], "increment_counter", name=name)))
    assert error is not None
    assert not error["retryable"], error
    assert "28P01" in "".join(fleet.replicas.servers[0].log)


def test_a_role_that_may_only_read_serves_what_only_reads(
    fleet: Fleet, postgres: PostgresEngine, name: str
) -> None:
    async def read_and_write() -> None:
        for port in fleet.ports:
            reply = await call(port, "database_operation", limit=1)
            assert failure(reply) is None, reply
        error = failure(await call(fleet.ports[0], "increment_counter", name=name))
        assert error is not None
        assert "read-only" in error["message"]
        assert not error["retryable"]

    # A read-only server cannot create the table, so create it first.
    assert failure(asyncio.run(call(fleet.ports[0], "database_operation", limit=1))) is None
    postgres.execute("ALTER ROLE app SET default_transaction_read_only = on", TERMINATE)
    try:
        asyncio.run(read_and_write())
    finally:
        postgres.execute("ALTER ROLE app RESET default_transaction_read_only", TERMINATE)


# Opens the state and the rows of a project twice. Eight processes run this at the same time.
OPEN = """
import asyncio, os, sys
import asyncpg, sqlalchemy.ext.asyncio
from {package}.patterns.lazy_initialization import user_directory
from {package}.patterns.state_management import state_store

async def main():
    async with state_store() as state, user_directory() as rows:
        await state.update("replicas", lambda value: (value or 0) + 1)
        assert (await rows.search("", 1, ""))[0]

async def twice():
    await asyncio.gather(main(), main())

reader, writer = os.pipe()
for number in range(8):
    if os.fork() == 0:
        os.close(writer)
        os.read(reader, 1)
        asyncio.run(twice())
        os._exit(0)
os.close(writer)
sys.exit(sum(os.waitpid(-1, 0)[1] != 0 for _ in range(8)))
"""


def test_eight_replicas_that_start_at_once_find_an_empty_database_together(
    projects: Projects, postgres: PostgresEngine, tmp_path: Path
) -> None:
    project = projects(EVERY_PATTERN)
    url = postgres.create_database("fresh")
    opened = subprocess.run(
        [project.python, "-c", OPEN.format(package=project.package_name)],
        env=environment(project, tmp_path, STATE_URL=url, DATABASE_URL=url),
        capture_output=True,
        text=True,
        check=False,
    )
    assert opened.returncode == 0, opened.stderr
    assert postgres.fetch("SELECT version FROM state", "fresh") == [16]


def test_a_server_starts_without_its_database_and_finds_it_later(
    projects: Projects, postgres: PostgresEngine, tmp_path: Path, name: str
) -> None:
    """The readiness check fails until the database has worked once."""
    url = postgres.database_url("later")
    with running(projects(EVERY_PATTERN), tmp_path, **SETTINGS, STATE_URL=url, DATABASE_URL=url) as server:
        error = failure(asyncio.run(call(server.port, "increment_counter", name=name)))
        assert error is not None
        assert not error["retryable"], error  # the database does not exist
        assert asyncio.run(until_ready(server, "unready", "database")).code == 503
        postgres.create_database("later")
        assert asyncio.run(stored(server.port, name)) == 0
        assert asyncio.run(until_ready(server)).code == 200
