"""The database opens and closes properly, and its failures are readable."""

import asyncio
import gc
import importlib
import re
import shutil
import sqlite3
import ssl
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing, nullcontext
from pathlib import Path
from typing import Any

import anyio
import platformdirs
import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from my_mcp_server.database import (
    Database,
    DatabaseSettings,
    DatabaseUnavailable,
    StatementRefused,
    Transaction,
    check_postgres,
    checked_url,
    default_database_url,
    explain,
    is_postgres,
    open_database,
)

TABLE = "CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)"
INSERT = "INSERT INTO notes (id, text) VALUES (:id, :text)"
HOSTILE_TEXT = "'; DROP TABLE notes; -- :id"


@pytest.fixture(autouse=True)
async def _threads_end_before_the_event_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Wait for the driver: the thread of a failed connection still calls its event loop."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        await asyncio.to_thread(thread.join, timeout=5)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "notes.db"


async def count(database: Database) -> int:
    (row,) = await database.fetch("SELECT count(*) AS number FROM notes")
    number: int = row["number"]
    return number


async def test_written_rows_are_read_after_reopening(file: Path) -> None:
    async with open_database(f"sqlite:///{file}") as database:
        await database.execute(TABLE)
        await database.execute(INSERT, {"id": 1, "text": "one"})
    async with open_database(f"sqlite:///{file}") as database:
        assert await database.fetch("SELECT * FROM notes") == [{"id": 1, "text": "one"}]


async def test_a_missing_folder_is_created(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "notes.db"
    async with open_database(f"sqlite:///{file}"):
        assert file.exists()


async def test_parameters_are_bound_and_never_sql() -> None:
    async with open_database("sqlite://") as database:
        await database.execute(TABLE)
        await database.execute(INSERT, {"id": 1, "text": HOSTILE_TEXT})
        found = await database.fetch("SELECT id FROM notes WHERE text = :text", text=HOSTILE_TEXT)
        assert found == [{"id": 1}]


async def test_a_statement_runs_once_for_each_row_and_counts_them() -> None:
    async with open_database("sqlite://") as database:
        await database.execute(TABLE)
        rows = [{"id": number, "text": "same"} for number in range(3)]
        assert await database.execute(INSERT, *rows) == 3
        assert await database.execute("UPDATE notes SET text = 'new' WHERE id > 0") == 2


async def test_a_statement_that_fails_changes_nothing() -> None:
    async with open_database("sqlite://") as database:
        await database.execute(TABLE)
        with pytest.raises(DatabaseUnavailable):
            await database.execute(INSERT, {"id": 1, "text": "one"}, {"id": 1, "text": "again"})
        assert await count(database) == 0


async def test_a_transaction_commits_all_of_its_statements_or_none() -> None:
    async def write_two(transaction: Transaction) -> int:
        await transaction.execute(INSERT, {"id": 1, "text": "one"})
        await transaction.execute(INSERT, {"id": 2, "text": "two"})
        return len(await transaction.fetch("SELECT id FROM notes"))

    async def write_and_raise(transaction: Transaction) -> None:
        await transaction.execute(INSERT, {"id": 3, "text": "three"})
        raise ZeroDivisionError

    async with open_database("sqlite://") as database:
        await database.execute(TABLE)
        assert await database.transaction(write_two) == 2
        with pytest.raises(ZeroDivisionError):
            await database.transaction(write_and_raise)
        with pytest.raises(StatementRefused):
            await database.transaction(write_two)
        assert len(await database.fetch("SELECT id FROM notes")) == 2


@pytest.mark.parametrize(
    "url",
    [
        "",
        "notes.db",
        "mysql://user:hunter2@localhost/notes",
        "postgresql://user:hunter2@localhost/notes?x=hunter2",
        "postgresql://user:hunter2@localhost:port/notes",
    ],
)
async def test_any_other_url_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(DatabaseUnavailable) as refusal:
        async with open_database(url):
            pass
    assert str(refusal.value).startswith("The database URL ")
    assert "hunter2" not in str(refusal.value)
    assert refusal.value.__suppress_context__


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_missing_driver_is_named(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)  # as if it were not installed
    with pytest.raises(ValueError, match="needs the package asyncpg: install the extra `postgres`"):
        checked_url(f"{scheme}://user:hunter2@localhost/notes")


@pytest.mark.parametrize("scheme", ["postgresql", "POSTGRES", "postgresql+psycopg"])
def test_urls_in_the_format_of_hosting_providers_are_accepted(scheme: str) -> None:
    url = checked_url(f"{scheme}://user:secret@db.example/app?ssl=require")
    assert url == "postgresql://user:secret@db.example/app?sslmode=require"


@pytest.mark.parametrize(
    "rest",
    [
        "user:a%20b@host/name",
        "host1,host2:5433/name",
        "[::1]:5432/name",
        "/name?host=/var/run/postgresql",
        "host/name?host=one:5432&host=two",
        "host/name?application_name=x&connect_timeout=3",
        "host/name?options=-c+search_path%3Dapp",
        "host/name?target_session_attrs=read-write&sslmode=verify-full",
    ],
)
def test_what_postgresql_tools_accept_is_accepted(rest: str) -> None:
    assert is_postgres(checked_url(f"postgresql://{rest}"))


@pytest.mark.parametrize(
    ("rest", "hosts"),
    [
        ("one:1,two/name", ["one:1/name", "two/name"]),
        ("/name?host=one:1&host=two&port=5", ["one:1/name", "two:5/name"]),
        ("host/name?host=one,two&port=1,2", ["one:1/name", "two:2/name"]),
        ("/name?host=/run/pg&port=5", ["%2Frun%2Fpg:5/name"]),
        ("/name?port=5", ["/name?port=5"]),
        ("/name", ["/name"]),
        (
            "one,two/name?target_session_attrs=prefer-standby",
            [
                *("one/name?target_session_attrs=standby", "two/name?target_session_attrs=standby"),
                *("one/name?target_session_attrs=any", "two/name?target_session_attrs=any"),
            ],
        ),
    ],
)
async def test_hosts_are_tried_one_after_the_other(
    rest: str, hosts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    async def connect(url: str, **_: object) -> None:
        tried.append(url)
        raise TimeoutError

    monkeypatch.setattr("asyncpg.connect", connect)
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await check_postgres(checked_url(f"postgresql://ada:p%40@{rest}"), DatabaseSettings())
    assert tried == [f"postgresql://ada:p%40@{host}" for host in hosts]


async def test_a_host_that_refuses_the_password_is_the_last_to_be_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asyncpg = importlib.import_module("asyncpg")
    tried: list[str] = []

    async def connect(url: str, **_: object) -> None:
        tried.append(url)
        raise asyncpg.InvalidPasswordError("password authentication failed")

    monkeypatch.setattr("asyncpg.connect", connect)
    with pytest.raises(StatementRefused, match="refuses the password"):
        await check_postgres(checked_url("postgresql://one,two/name"), DatabaseSettings())
    assert tried == ["postgresql://one/name"]


def test_a_password_may_contain_any_character() -> None:
    url = checked_url("postgresql://ada:p/#?:s@db.example:5432/users")
    assert url == "postgresql://ada:p%2F%23%3F%3As@db.example:5432/users"
    assert checked_url(url) == url


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://host/0", "must be sqlite:///file or postgresql://"),
        ("postgresql:/host/name", "must be sqlite:///file or postgresql://"),
        ("postgresql://", "must be sqlite:///file or postgresql://"),
        ("sqlite://file", "must be sqlite:///file"),
        ("postgresql://host:abc/name", "has an invalid port"),
        ("postgresql://host:0/name", "has an invalid port"),
        ("postgresql://host:65536/name", "has an invalid port"),
        ("postgresql://one,two:/name", "has an invalid port"),
        ("postgresql://host/name?port=x", "has an invalid port"),
        ("postgresql://one,two/name?port=1,2,3", "must have one port, or one for each host"),
        ("postgresql://::1/name", "write an IPv6 address in brackets"),
        ("postgresql://ada:hunter2@hunter2@host/name", "and @ in a password as %40"),
        ("postgresql://host/na me", "write a space as %20"),
        ("postgresql://host/name?pgbouncer=true", "the option pgbouncer, which is not supported"),
        ("postgresql://host/name?sslmode", "an option that is not name=value"),
        ("postgresql://host/name?sslmode=on", "an invalid sslmode: use one of disable, allow"),
        ("postgresql://host/name?target_session_attrs=first", "invalid target_session_attrs"),
        ("postgresql://host/name?connect_timeout=soon", "an invalid connect_timeout"),
        (
            "postgresql://host/name?ssl_min_protocol_version=1.2",
            "an invalid ssl_min_protocol_version",
        ),
        ("postgresql://host/name?sslrootcert=/missing", "sslrootcert that does not exist"),
        (f"postgresql://host/name?sslrootcert={__file__}", "without a readable certificate"),
    ],
)
def test_a_url_that_cannot_work_is_refused_with_the_reason(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)) as refusal:
        checked_url(url)
    assert "hunter2" not in str(refusal.value)


async def test_a_folder_that_cannot_be_created_is_a_readable_failure(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(DatabaseUnavailable, match="folder of the database"):
        async with open_database(f"sqlite:///{tmp_path}/taken/notes.db"):
            pass


async def test_a_folder_in_place_of_the_file_is_a_readable_failure(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        async with open_database(f"sqlite:///{tmp_path}"):
            pass


async def test_a_file_that_is_not_a_database_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("Long enough to be looked at, but no database. " * 20)
    with pytest.raises(StatementRefused, match="not an SQLite database"):
        async with open_database(f"sqlite:///{tmp_path}/notes.db") as database:
            await database.fetch("SELECT * FROM notes")


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("SELECT * FROM missing", "The database has no table missing."),
        ("SELECT colour FROM notes", "A table of the database has no column colour."),
        ("INSERT INTO notes (colour) VALUES (1)", "A table of the database has no column colour."),
        ("INSERT INTO notes VALUES (1, NULL)", "The database refuses the statement."),
        ("SELEC", "The database refuses the statement."),
    ],
)
async def test_a_statement_that_cannot_succeed_is_not_retryable(
    statement: str, sentence: str
) -> None:
    async with open_database("sqlite://") as database:
        await database.execute(TABLE)
        with pytest.raises(StatementRefused) as refusal:
            await database.execute(statement)
    assert str(refusal.value) == sentence
    assert not refusal.value.retryable


async def test_a_refusal_repeats_no_value() -> None:
    async with open_database("sqlite://") as database:
        await database.execute(TABLE)
        with pytest.raises(StatementRefused) as refusal:
            await database.fetch("SELECT missing FROM notes WHERE text = :text", text="canary")
    assert "canary" not in str(refusal.value)


async def test_a_read_only_database_is_reported_as_such(file: Path) -> None:
    async with open_database(f"sqlite:///{file}") as database:
        await database.execute(TABLE)
        await database.execute("PRAGMA query_only = ON")
        with pytest.raises(StatementRefused, match="read-only"):
            await database.execute(INSERT, {"id": 1, "text": "one"})
        assert await count(database) == 0


class PostgresError(Exception):
    """An asyncpg error with a PostgreSQL error code."""

    def __init__(self, sqlstate: str, text: str) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("statement", "sqlstate", "attempts"),
    [
        (TABLE, "23505", 2),
        (TABLE, "42P07", 2),
        (TABLE, "42710", 2),
        (TABLE, "42501", 1),
        ("CREATE TABLE notes (id INTEGER)", "42P07", 1),
        ("INSERT INTO notes (id, text) VALUES (1, 'one')", "23505", 1),
    ],
)
async def test_a_table_that_another_process_creates_at_the_same_time_is_not_a_failure(
    statement: str, sqlstate: str, attempts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = AsyncConnection.execute
    tried: list[object] = []

    async def refuse_once(connection: AsyncConnection, *arguments: Any) -> Any:
        tried.append(connection)
        if len(tried) == 1:
            raise DBAPIError(statement, (), PostgresError(sqlstate, "already exists"))
        return await execute(connection, *arguments)

    async with open_database("sqlite://") as database:
        monkeypatch.setattr(AsyncConnection, "execute", refuse_once)
        with nullcontext() if attempts > 1 else pytest.raises(StatementRefused):
            await database.execute(statement)
    assert len(tried) == attempts


@pytest.mark.parametrize(
    ("sqlstate", "text", "retryable", "sentence"),
    [
        ("42P01", 'relation "notes" does not exist', False, "The database has no table notes."),
        ("42703", 'column "colour" does not exist', False, "has no column colour."),
        ("42703", 'column "a" of relation "notes" does not exist', False, "has no column a."),
        ("42501", "permission denied for table notes", False, "does not permit this"),
        ("25006", "cannot execute INSERT in a read-only transaction", False, "is read-only"),
        ("28P01", 'password authentication failed for user "ada"', False, "refuses the password"),
        ("28000", 'no pg_hba.conf entry for host "canary"', False, "does not permit this"),
        ("28000", 'role "canary" does not exist', False, "that does not exist"),
        ("3D000", 'database "canary" does not exist', False, "that does not exist"),
        ("23505", "duplicate key value: canary", False, "refuses the statement"),
        ("54000", "index row requires 9016 bytes: canary", False, "refuses the statement"),
        ("26000", 'prepared statement "canary" does not exist', False, "use its session mode"),
        ("42P05", 'prepared statement "canary" already exists', False, "use its session mode"),
        ("40001", "could not serialize access", True, "does not answer"),
        ("53300", "sorry, too many clients already", True, "has no free connection"),
        ("57P03", "the database system is starting up", True, "does not answer"),
        ("55P03", "canceling statement due to lock timeout", True, "does not answer"),
        ("57P01", "terminating connection", True, "does not answer"),
    ],
)
def test_postgresql_error_codes_determine_what_is_retryable(
    sqlstate: str, text: str, retryable: bool, sentence: str
) -> None:
    failure = explain(PostgresError(sqlstate, text))
    assert failure.retryable is retryable
    assert failure.engine_code == sqlstate
    assert sentence in str(failure)
    assert "canary" not in str(failure)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConnectionError('server at "canary" rejected SSL upgrade'), "does not offer TLS"),
        (ssl.SSLCertVerificationError("certificate verify failed: canary"), "is not trusted"),
        (ssl.SSLError(1, "[SSL] PEM lib (canary)"), "TLS handshake with the database failed"),
        (
            importlib.import_module("asyncpg").ClientConfigurationError(
                'root certificate file "canary" does not exist'
            ),
            "set sslrootcert in the URL",
        ),
    ],
)
def test_a_refused_tls_connection_is_not_retryable(error: Exception, sentence: str) -> None:
    failure = explain(error)
    assert not failure.retryable
    assert sentence in str(failure)
    assert "canary" not in str(failure)


def test_a_connection_that_ends_during_the_tls_handshake_is_retryable() -> None:
    assert explain(ssl.SSLEOFError(8, "[SSL: UNEXPECTED_EOF_WHILE_READING] canary")).retryable


@pytest.mark.parametrize(
    ("lost", "in_doubt"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (PostgresError("57P01", "terminating connection"), True),
        (PostgresError("40001", "could not serialize access"), False),
    ],
)
async def test_a_lost_answer_to_a_commit_leaves_the_write_in_doubt(
    lost: Exception, in_doubt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_database("sqlite://") as database:
        await database.execute(TABLE)
        commit = AsyncConnection.commit

        async def commit_and_lose(connection: AsyncConnection) -> None:
            await commit(connection)
            raise DBAPIError("COMMIT", {}, lost) from lost

        monkeypatch.setattr(AsyncConnection, "commit", commit_and_lose)
        with pytest.raises(DatabaseUnavailable) as failure:
            await database.execute(INSERT, {"id": 1, "text": "one"})
    assert failure.value.in_doubt is in_doubt
    assert failure.value.retryable is not in_doubt


async def test_a_statement_that_fails_before_its_commit_is_not_in_doubt() -> None:
    async with open_database("sqlite://") as database:
        with pytest.raises(DatabaseUnavailable) as failure:
            await database.execute(INSERT, {"id": 1, "text": "one"})
    assert not failure.value.in_doubt


async def test_a_deleted_database_is_a_readable_failure(tmp_path: Path) -> None:
    async with open_database(f"sqlite:///{tmp_path}/folder/notes.db") as database:
        shutil.rmtree(tmp_path / "folder")
        # The open connection would not notice, so request a second one.
        answers = await asyncio.gather(database.ping(), database.ping(), return_exceptions=True)
        assert [type(answer) for answer in answers if answer] == [DatabaseUnavailable]


async def test_during_another_write_reads_succeed_and_writes_are_retryable(
    file: Path,
) -> None:
    async with open_database(f"sqlite:///{file}") as database:
        await database.execute(TABLE)
        await database.fetch("PRAGMA busy_timeout = 1")  # instead of 30 seconds
        with closing(sqlite3.connect(file)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await count(database) == 0
            with pytest.raises(DatabaseUnavailable) as failure:
                await database.execute(INSERT, {"id": 1, "text": "one"})
            assert failure.value.retryable
        assert await database.execute(INSERT, {"id": 1, "text": "one"}) == 1


async def test_the_same_new_file_can_be_opened_concurrently(file: Path) -> None:
    async def write(number: int) -> None:
        async with open_database(f"sqlite:///{file}") as database:
            await database.execute(TABLE)
            await database.execute(INSERT, {"id": number, "text": "one"})

    await asyncio.gather(*(write(number) for number in range(10)))
    async with open_database(f"sqlite:///{file}") as database:
        assert await count(database) == 10


async def test_cancelled_statements_leave_the_database_usable(file: Path) -> None:
    async with open_database(f"sqlite:///{file}") as database:
        await database.execute(TABLE)
        started = asyncio.Semaphore(0)

        async def write(number: int) -> None:
            started.release()
            await database.execute(INSERT, {"id": number, "text": "one"})

        writes = [asyncio.create_task(write(number)) for number in range(30)]
        for write_task in writes:
            await started.acquire()
            write_task.cancel()
        await asyncio.gather(*writes, return_exceptions=True)
        async with asyncio.timeout(5):
            await database.execute(INSERT, {"id": 100, "text": "after"})


async def test_a_cancelled_statement_completes_and_releases_its_lock(file: Path) -> None:
    """anyio cancels a server's calls again at each await, including those in the driver."""
    scope = anyio.CancelScope()

    def cancel(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT"):
            asyncio.get_running_loop().call_soon(scope.cancel)

    async with open_database(f"sqlite:///{file}") as database:
        await database.execute(TABLE)
        event.listen(Engine, "before_cursor_execute", cancel)
        with scope:
            await database.execute(INSERT, *({"id": n, "text": "one"} for n in range(2000)))
        event.remove(Engine, "before_cursor_execute", cancel)
        assert scope.cancelled_caught
        with closing(sqlite3.connect(file, timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")
        assert await count(database) == 2000


async def test_a_cancelled_statement_that_fails_later_logs_no_values(
    file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    def begin(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT"):
            begun.set()

    async with open_database(f"sqlite:///{file}") as database:
        await database.execute(TABLE)
        await database.execute(INSERT, {"id": 1, "text": "one"})
        others = asyncio.all_tasks()
        event.listen(Engine, "before_cursor_execute", begin)
        with closing(sqlite3.connect(file)) as other:
            other.execute("BEGIN IMMEDIATE")
            call = asyncio.create_task(database.execute(INSERT, {"id": 1, "text": "canary"}))
            await begun.wait()
            call.cancel()
            with monkeypatch.context() as patched:
                patched.setattr("my_mcp_server.database.CLOSE_SECONDS", 0)
                await asyncio.wait([call])
            unfinished = asyncio.all_tasks() - others
        event.remove(Engine, "before_cursor_execute", begin)
        assert call.cancelled()
        assert unfinished
        await asyncio.wait(unfinished)
        del unfinished, call
        gc.collect()  # asyncio reports an error that nobody has read when it forgets the task
    assert caplog.text == ""


async def test_the_file_is_closed_at_the_end(file: Path) -> None:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(f"sqlite:///{file}"))
        await database.execute(TABLE)
        # SQLite keeps its log next to the file until the last connection is closed.
        assert file.with_name("notes.db-wal").exists()
    assert not file.with_name("notes.db-wal").exists()


def test_the_default_file_is_in_the_users_data_folder_from_any_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(default_database_url("notes.db").removeprefix("sqlite:///"))
    assert path.name == "notes.db"
    assert path.is_relative_to(platformdirs.user_data_path())
    assert not path.is_relative_to(tmp_path)
