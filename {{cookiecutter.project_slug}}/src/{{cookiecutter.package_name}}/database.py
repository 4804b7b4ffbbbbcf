"""The database of everything that stores rows: SQLite by default, PostgreSQL by URL.

By default, a driver waits for a minute on a server that does not respond, so each statement has a
time limit here. SQLAlchemy takes a third as long to import as FastMCP, so it is imported when a
database is opened.
"""

import asyncio
import importlib.util
import re
import sqlite3
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode

import anyio
import platformdirs
from pydantic import Field

from .runtime.errors import ToolFailure
from .settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

POSTGRES = ("postgresql", "postgres")
# Options of a PostgreSQL URL that the driver, or this module, understands. The names are libpq's
# (PostgreSQL's manual, 34.1.2).
OPTIONS = {
    *("host", "port", "dbname", "user", "password", "passfile", "connect_timeout"),
    *("application_name", "options", "target_session_attrs"),
    *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
}
TLS_VERSIONS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": (
        *("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    ),
    "ssl_min_protocol_version": TLS_VERSIONS,
    "ssl_max_protocol_version": TLS_VERSIONS,
}
CERTIFICATES = ("sslcert", "sslrootcert")
FILES = ("passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl")
# How long a statement waits for the lock of an SQLite file.
LOCK_SECONDS = 30
# How long a cancelled call waits for its statement, and a shutdown for all connections.
CLOSE_SECONDS = 2
# How long a connection to PostgreSQL may take to say goodbye.
GOODBYE_SECONDS = 0.5

# Faults that last until someone changes the statement, the database or its permissions: codes of
# SQLite (sqlite.org/rescode.html), and classes of SQLSTATE (PostgreSQL's manual, appendix A).
LASTING_SQLITE = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_NOTADB,
}
LASTING_SQLSTATE = ("0A", "22", "23", "25006", "26", "28", "3D", "3F", "42", "54")
# A COMMIT that fails with one of these, or without a code, may have been applied.
UNKNOWN_OUTCOME = ("08", "57", "58", "XX")
# PostgreSQL has rolled the transaction back, because of another one.
ROLLED_BACK = "40"
# When several create the same table at once, PostgreSQL answers all but one with one of these,
# although they say IF NOT EXISTS: unique_violation, duplicate_table, duplicate_object. The second
# attempt finds the table.
CREATED_AT_ONCE = ("23505", "42P07", "42710")
ATTEMPTS_TO_CREATE = 3
# What a caller may read: names that occur in this server's own statements, never their values.
EXPLANATIONS = {
    r"no such column: (?:\w+\.)?(\w+)|has no column named (\w+)"
    r"|column \"?(?:\w+\.)?(\w+)\"? (?:of relation \"\w+\" )?does not exist": (
        "A table of the database has no column {}."
    ),
    r"no such table: (?:\w+\.)?(\w+)|relation \"(\w+)\" does not exist": (
        "The database has no table {}."
    ),
    r"password authentication failed|no password (?:was )?(?:provided|supplied)": (
        "The database refuses the password: check the database URL."
    ),
    r"permission denied|must be owner|pg_hba\.conf": (
        "The database does not permit this: check the rights of its user."
    ),
    r"(?:role|database) \"[^\"]*\" does not exist": (
        "The database URL names a user or a database that does not exist."
    ),
    r"readonly database|read-only transaction": "The database is read-only.",
    r"not a database|malformed": "The file is damaged, or is not an SQLite database.",
    r"rejected SSL upgrade": (
        "The database server does not offer TLS: check sslmode in the database URL."
    ),
    r"CERTIFICATE_VERIFY_FAILED|certificate verify failed": (
        "The certificate of the database server is not trusted: check sslrootcert in the URL."
    ),
    r"root certificate file": (
        "The certificate of the database server cannot be checked: set sslrootcert in the URL."
    ),
    r"\[SSL": "The TLS handshake with the database failed: check the ssl options in the URL.",
    r"prepared statement \"[^\"]*\" (?:does not exist|already exists)": (
        "A pooler in front of the database loses prepared statements: use its session mode."
    ),
    r"too many (?:clients|connections)|remaining connection slots": (
        "The database has no free connection."
    ),
}
DOES_NOT_ANSWER = "The database does not answer."
REFUSES = "The database refuses the statement."

Result = TypeVar("Result")


class DatabaseSettings(Settings):
    # Per process. PostgreSQL accepts 100 connections by default, from all processes together.
    database_pool_size: int = Field(10, ge=1, le=1000)
    database_connect_seconds: float = Field(2, gt=0)
    # Of one statement on PostgreSQL, including the wait for a connection.
    database_timeout_seconds: float = Field(4, gt=0)


class DatabaseUnavailable(ToolFailure):
    """The database could not be opened, or did not carry out a statement."""


class StatementRefused(DatabaseUnavailable):
    """The database answered that it will not carry this out, now or later."""


class Transaction:
    """Statements on one connection, none of them committed."""

    def __init__(self, connection: "AsyncConnection", text: "Callable[[str], TextClause]") -> None:
        self._connection = connection
        self._text = text

    async def fetch(self, statement: str, **values: Any) -> list[Mapping[str, Any]]:
        """Return the rows of a query."""
        result = await self._connection.execute(self._text(statement), values)
        return [dict(row) for row in result.mappings()]

    async def execute(self, statement: str, *rows: Mapping[str, Any]) -> int:
        """Run a statement, once for each of `rows`, and return how many rows it changed."""
        result = await self._connection.execute(
            self._text(statement), [dict(row) for row in rows] or None
        )
        return result.rowcount


class Database:
    """An open engine. Statements are SQL with `:name` parameters, each its own transaction.

    One that has begun completes, even if its call is cancelled. `seconds` is its time limit.
    `check` connects once, for a ping while calls use all connections of the pool.
    """

    def __init__(
        self,
        engine: "AsyncEngine",
        text: "Callable[[str], TextClause]",
        errors: tuple[type[Exception], ...],
        seconds: float | None = None,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._engine = engine
        self._text = text
        self._errors = errors
        self._seconds = seconds
        self._check = check

    async def fetch(self, statement: str, **values: Any) -> list[Mapping[str, Any]]:
        """Return the rows of a query.

        Raises:
            StatementRefused: the query does not fit the database.
            DatabaseUnavailable: the query could not be run.
        """

        async def run() -> list[Mapping[str, Any]]:
            async with self._engine.connect() as connection:
                return await Transaction(connection, self._text).fetch(statement, **values)

        return await self._carry_out(run())

    async def execute(self, statement: str, *rows: Mapping[str, Any]) -> int:
        """Run a statement, once for each of `rows`, and return how many rows it changed.

        Raises:
            StatementRefused: the statement does not fit the database; nothing has changed.
            DatabaseUnavailable: the statement could not be run. Nothing has changed, unless the
                failure is `in_doubt`: the answer to COMMIT was lost.
        """
        for attempt in range(1, ATTEMPTS_TO_CREATE + 1):
            try:
                return await self._execute(statement, rows)
            except DatabaseUnavailable as failure:
                created_at_once = (
                    failure.engine_code in CREATED_AT_ONCE and "IF NOT EXISTS" in statement
                )
                if attempt == ATTEMPTS_TO_CREATE or not created_at_once:
                    raise
        raise AssertionError

    async def _execute(self, statement: str, rows: tuple[Mapping[str, Any], ...]) -> int:
        return await self.transaction(lambda opened: opened.execute(statement, *rows))

    async def transaction(self, work: "Callable[[Transaction], Awaitable[Result]]") -> Result:
        """Return what `work` returns, with all of its statements in one transaction.

        What `work` raises undoes them. It should only wait for statements: it holds a connection.

        Raises:
            StatementRefused: a statement does not fit the database; nothing has changed.
            DatabaseUnavailable: as `execute`.
        """
        committing = False

        async def run() -> Result:
            nonlocal committing
            async with self._engine.connect() as connection:
                result = await work(Transaction(connection, self._text))
                committing = True
                await connection.commit()
                committing = False
                return result

        try:
            return await self._carry_out(run())
        except DatabaseUnavailable as failure:
            code = failure.engine_code
            if committing and (not code or code.startswith(UNKNOWN_OUTCOME)):
                failure.put_in_doubt()
            raise

    async def columns(self, table: str) -> set[str]:
        """Return the names of a table's columns; none if there is no such table."""

        async def run() -> set[str]:
            async with self._engine.connect() as connection:
                return await connection.run_sync(_columns, table)

        return await self._carry_out(run())

    async def ping(self) -> None:
        """Ask the database for an answer. It does not wait for calls that use the whole pool.

        Raises:
            DatabaseUnavailable: there is no answer.
        """

        async def run() -> None:
            pool: Any = self._engine.pool
            if self._check is not None and pool.checkedout() >= pool.size():
                await self._check()
                return
            async with self._engine.connect() as connection:
                await connection.execute(self._text("SELECT 1"))

        await self._carry_out(run())

    async def _carry_out(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            return await _to_its_end(_within(self._seconds, work))
        except self._errors as error:
            raise explain(error) from error


async def _within(seconds: float | None, work: Coroutine[Any, Any, Result]) -> Result:
    async with asyncio.timeout(seconds):
        return await work


def explain(error: Exception) -> DatabaseUnavailable:
    """Return the failure for an error of the driver. The error's own text may contain values."""
    cause = getattr(error, "orig", None) or error
    text = str(cause)
    code = getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None) or ""
    lasts = _lasts(error, cause)
    sentence = REFUSES if lasts else DOES_NOT_ANSWER
    for pattern, explanation in EXPLANATIONS.items():
        if found := re.search(pattern, text):
            sentence = explanation.format(*filter(None, found.groups()))
            break
    failure = StatementRefused(sentence) if lasts else DatabaseUnavailable(sentence, retryable=True)
    failure.engine_code = str(code)
    return failure


def _lasts(error: Exception, cause: Any) -> bool:
    if code := getattr(cause, "sqlite_errorcode", None):
        return code & 0xFF in LASTING_SQLITE
    if state := getattr(cause, "sqlstate", None):
        return str(state).startswith(LASTING_SQLSTATE)
    if isinstance(cause, OSError):
        return _is_refused_by_tls(cause)
    # The driver's own objection to the URL, as SQLAlchemy passes it on, or as it is.
    if isinstance(cause.__cause__ or cause, ValueError):
        return True
    from sqlalchemy import exc  # noqa: PLC0415 - slow to import

    if isinstance(error, exc.DBAPIError):
        return isinstance(error, (exc.ProgrammingError, exc.DataError, exc.NotSupportedError))
    # A mistake in the use of SQLAlchemy, such as a parameter without a value.
    return isinstance(error, (exc.StatementError, exc.InvalidRequestError))


def _is_refused_by_tls(error: OSError) -> bool:
    if isinstance(error, ssl.SSLError):
        return not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    return "rejected SSL upgrade" in str(error)


def _columns(connection: "Connection", table: str) -> set[str]:
    from sqlalchemy import inspect  # noqa: PLC0415 - slow to import

    found = inspect(connection)
    return {
        column["name"] for column in (found.get_columns(table) if found.has_table(table) else [])
    }


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    """Open `sqlite:///file` or `postgresql://user:password@host/name`, and close it at the end.

    Raises:
        DatabaseUnavailable: the URL is of another kind, a driver is missing, or there is no answer.
    """
    from sqlalchemy import event, text  # noqa: PLC0415 - slow to import
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    try:
        url = checked_url(url)
    except ValueError as error:
        raise DatabaseUnavailable(f"The database URL {error}.") from None
    settings = DatabaseSettings()
    check: Callable[[], Awaitable[None]] | None = None
    errors: tuple[type[Exception], ...] = (SQLAlchemyError, OSError)
    if is_postgres(url):
        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=partial(_connect, url, settings),
            pool_size=settings.database_pool_size,
            max_overflow=0,
            pool_timeout=settings.database_timeout_seconds,
            pool_pre_ping=True,
            pool_recycle=1800,
        )
        errors += _driver_errors()
        limit: float | None = settings.database_timeout_seconds
        check = partial(check_postgres, url, settings)
    else:
        file = url.removeprefix("sqlite://").removeprefix("/").partition("?")[0]
        if file not in ("", ":memory:"):
            _create_folder(Path(file).parent)
        engine = create_async_engine(
            url.replace("sqlite:", "sqlite+aiosqlite:", 1),
            connect_args={"timeout": LOCK_SECONDS},
        )
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
        limit = None  # LOCK_SECONDS, and an interrupted statement would keep its lock
    try:
        database = Database(engine, text, errors, limit, check)
        try:
            await database.ping()
        except TypeError as error:
            raise DatabaseUnavailable(
                "The database URL has an option that SQLite does not know."
            ) from error
        yield database
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await engine.dispose()


async def check_postgres(url: str, settings: DatabaseSettings) -> None:
    """Connect to PostgreSQL, and close the connection again.

    For a readiness check before the first call opens the database. It needs no SQLAlchemy.

    Raises:
        DatabaseUnavailable: PostgreSQL does not answer, or refuses.
    """
    try:
        connection = await _connect(url, settings)
        await connection.close()
    except _driver_errors() as error:
        raise explain(error) from error


async def _connect(url: str, settings: DatabaseSettings) -> Any:
    """Return a connection of asyncpg to the first host of the URL that accepts one.

    Raises:
        OSError: no host can be reached.
        PostgresError, InterfaceError, InternalClientError: a host refuses the connection.
    """
    asyncpg = _driver()

    async def close(self: Any, **_: Any) -> None:
        # A server that does not respond must not hold up a call that has failed.
        await asyncpg.Connection.close(self, timeout=GOODBYE_SECONDS)

    addresses, seconds = _for_driver(url)
    connect = partial(
        asyncpg.connect,
        timeout=seconds or settings.database_connect_seconds,
        connection_class=type("Connection", (asyncpg.Connection,), {"close": close}),
    )
    *others, last = addresses
    for address in others:
        with suppress(
            OSError, asyncpg.CannotConnectNowError, asyncpg.TargetServerAttributeNotMatched
        ):
            return await connect(address)
    return await connect(last)


def _driver() -> Any:
    return importlib.import_module("asyncpg")  # an extra: it may be missing


def _driver_errors() -> tuple[type[Exception], ...]:
    asyncpg = _driver()
    return (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


def _for_driver(url: str) -> tuple[list[str], float | None]:
    """Return a URL for each host, in the order to try them, and the URL's connect timeout.

    Given several hosts, the driver would wait for the first until the time for all of them is over.
    """
    rest, _, query = url.removeprefix("postgresql://").partition("?")
    user, at, address = rest.rpartition("@")
    hosts, slash, name = address.partition("/")
    options = dict(parse_qsl(query))
    seconds = float(options.pop("connect_timeout", 0)) or None
    queries = [urlencode(options)]
    if options.get("target_session_attrs") == "prefer-standby":
        queries = [
            urlencode({**options, "target_session_attrs": kind}) for kind in ("standby", "any")
        ]
    return [
        f"postgresql://{user}{at}{host}{slash}{name}" + (f"?{query}" if query else "")
        for query in queries
        for host in hosts.split(",")
    ], seconds


async def _to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Await `work`, which completes even if this call is cancelled in the meantime.

    If a statement is cancelled, SQLAlchemy closes the connection but not its transaction, and the
    SQLite file stays locked until the garbage collector runs.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # If the statement fails later, asyncio would log its error, with the statement's values.
        task.add_done_callback(_discard_error)
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await asyncio.wait([task])
        raise


def _discard_error(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()


def is_postgres(url: str) -> bool:
    return url.startswith("postgresql://")


def checked_url(url: str) -> str:
    """Return the URL of a database as `open_database` takes it.

    Raises:
        ValueError: no database can be opened with it. The message does not repeat the URL.
    """
    scheme, separator, rest = url.partition("://")
    kind, _, _driver = scheme.lower().partition("+")
    if kind == "sqlite" and separator:
        if rest and not (rest.startswith("/") and url.isprintable()):
            raise ValueError("must be sqlite:///file, without a line break")
        return f"sqlite://{rest}"
    if kind not in POSTGRES or not separator:
        raise ValueError("must be sqlite:///file or postgresql://user:password@host/name")
    if re.search(r"\s", url):
        raise ValueError("must not contain a space or line break: write a space as %20")
    user, rest = _quoted_user(rest)
    address, _, query = rest.partition("?")
    options = _checked_options(query)
    address = _with_hosts(address, options)
    if importlib.util.find_spec("asyncpg") is None:
        raise ValueError("needs the package asyncpg: install the extra `postgres`")
    query = urlencode(options)
    return f"postgresql://{user}{address}" + (f"?{query}" if query else "")


def _quoted_user(rest: str) -> tuple[str, str]:
    """Return `user:password@` with every special character quoted, and what follows it."""
    found = re.match(r"([^:/@?]*)(?::([^@]*))?@", rest)
    if not found:
        return "", rest
    parts = [quote(unquote(part), safe="") for part in found.groups() if part is not None]
    return ":".join(parts) + "@", rest[found.end() :]


def _checked_options(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValueError("has an option that is not name=value") from None
    options: dict[str, str] = {}
    for given, value in pairs:
        name = "sslmode" if given == "ssl" else given  # SQLAlchemy's and asyncpg's name for it
        repeated = name in {"host", "port"} and name in options
        options[name] = f"{options[name]},{value}" if repeated else value
    for name, value in options.items():
        if name not in OPTIONS:
            raise ValueError(f"has the option {name[:40]}, which is not supported: remove it")
        if name in CHOICES and value not in CHOICES[name]:
            raise ValueError(f"has an invalid {name}: use one of {', '.join(CHOICES[name])}")
        if name == "connect_timeout" and not value.isdecimal():
            raise ValueError("has an invalid connect_timeout: use a number of seconds")
        if name in FILES and not Path(value).is_file():
            raise ValueError(f"names a file as {name} that does not exist")
        if name in CERTIFICATES:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(value)
            except OSError:
                raise ValueError(f"names a file as {name} without a readable certificate") from None
    return options


def _with_hosts(address: str, options: dict[str, str]) -> str:
    """Return `host:port,host:port/name`, with the hosts and ports taken from the options."""
    netloc, slash, name = address.partition("/")
    if not (netloc or name or options):
        raise ValueError("must be sqlite:///file or postgresql://user:password@host/name")
    if not (netloc or "host" in options):  # the driver looks for a local server
        _checked_host("localhost", options.get("port", ""))
        return address
    hosts = options.pop("host", netloc).split(",")
    ports = options.pop("port", "").split(",")
    if len(ports) not in {1, len(hosts)}:
        raise ValueError("must have one port, or one for each host")
    return ",".join(map(_checked_host, hosts, ports * (len(hosts) // len(ports)))) + slash + name


def _checked_host(host: str, default_port: str) -> str:
    found = re.fullmatch(r"(/[^:]*|\[[^\]@]+\]|[^:\[\]@/]+)(?::(.*))?", host)
    if not found:
        raise ValueError(
            "has an invalid host: write an IPv6 address in brackets, and @ in a password as %40"
        )
    name, port = found[1], default_port if found[2] is None else found[2]
    if (port or ":" in host) and not (port.isdecimal() and 0 < int(port) < 2**16):
        raise ValueError("has an invalid port: use a number from 1 to 65535")
    if name.startswith("/"):  # the folder of a socket
        name = quote(name, safe="")
    return f"{name}:{port}" if port else name


def default_database_url(name: str) -> str:
    """Return an SQLite URL in the user's data folder: a client may start the server in `/`."""
    try:
        folder = platformdirs.user_data_path(str(__package__), appauthor=False)
    except RuntimeError as error:
        raise DatabaseUnavailable(
            "The server's user has no home folder for the database: set DATABASE_URL."
        ) from error
    return f"sqlite:///{folder / name}"


def _create_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseUnavailable("The folder of the database cannot be created.") from error


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Let readers and a writer work concurrently."""
    cursor = connection.cursor()
    with suppress(sqlite3.OperationalError):  # another process is just switching it on
        cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
