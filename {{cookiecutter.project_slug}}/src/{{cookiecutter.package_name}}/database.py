"""One way to a database for everything that stores rows: SQLite by default, PostgreSQL by URL.

SQLAlchemy takes a third as long to import as FastMCP itself, so it is imported when a database is
opened.
"""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import anyio
import platformdirs

from .runtime.errors import ToolFailure

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, TextClause
    from sqlalchemy.ext.asyncio import AsyncEngine

DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}
# How long a statement may take, or wait for SQLite's lock.
STATEMENT_SECONDS = 30
# How long a cancelled call waits for its statement, and a shutdown for all connections.
CLOSE_SECONDS = 2

# Faults that stay until somebody changes the statement, the database or its permissions: codes of
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
LASTING_SQLSTATE = ("0A", "22", "23", "25006", "28", "3D", "3F", "42")
# PostgreSQL's answer to the slower of two that create a table: the next call finds it.
CREATED_TWICE = "pg_type_typname_nsp_index"
# What may be told: names that stand in this server's own statements, never their values.
EXPLANATIONS = {
    r"no such column: (?:\w+\.)?(\w+)|has no column named (\w+)"
    r"|column \"?(?:\w+\.)?(\w+)\"? (?:of relation \"\w+\" )?does not exist": (
        "A table of the database has no column {}."
    ),
    r"no such table: (?:\w+\.)?(\w+)|relation \"(\w+)\" does not exist": (
        "The database has no table {}."
    ),
    r"permission denied|password authentication failed|must be owner": (
        "The database does not permit this: check the rights of its user."
    ),
    r"(?:role|database) \"[^\"]*\" does not exist": (
        "The database URL names a user or a database that does not exist."
    ),
    r"readonly database|read-only transaction": "The database is read-only.",
    r"not a database|malformed": "The file is damaged, or is not an SQLite database.",
}

Result = TypeVar("Result")


class DatabaseUnavailable(ToolFailure):
    """The database could not be opened, or did not carry out a statement."""


class StatementRefused(DatabaseUnavailable):
    """The database answered that it will not carry this out, now or later."""


class Database:
    """An open engine. Statements are SQL with `:name` parameters, each its own transaction.

    One that has begun is finished, even if its call is cancelled.
    """

    def __init__(
        self,
        engine: "AsyncEngine",
        text: "Callable[[str], TextClause]",
        errors: tuple[type[Exception], ...],
    ) -> None:
        self._engine = engine
        self._text = text
        self._errors = errors

    async def fetch(self, statement: str, **values: Any) -> list[Mapping[str, Any]]:
        """Return the rows of a query.

        Raises:
            StatementRefused: the query does not fit the database.
            DatabaseUnavailable: the query could not be run.
        """

        async def run() -> list[Mapping[str, Any]]:
            async with self._engine.connect() as connection:
                result = await connection.execute(self._text(statement), values)
                return [dict(row) for row in result.mappings()]

        return await self._carry_out(run())

    async def execute(self, statement: str, *rows: Mapping[str, Any]) -> int:
        """Run a statement, once for each of `rows`, and return how many rows it changed.

        Raises:
            StatementRefused: the statement does not fit the database; nothing has changed.
            DatabaseUnavailable: the statement could not be run; nothing has changed.
        """

        async def run() -> int:
            async with self._engine.begin() as connection:
                result = await connection.execute(
                    self._text(statement), [dict(row) for row in rows] or None
                )
                return result.rowcount

        return await self._carry_out(run())

    async def columns(self, table: str) -> set[str]:
        """Return the names of a table's columns; none if there is no such table."""

        async def run() -> set[str]:
            async with self._engine.connect() as connection:
                return await connection.run_sync(_columns, table)

        return await self._carry_out(run())

    async def ping(self) -> None:
        await self.fetch("SELECT 1")

    async def _carry_out(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            return await _to_its_end(work)
        except self._errors as error:
            raise explain(error) from error


def explain(error: Exception) -> DatabaseUnavailable:
    """Tell a fault that stays from one that may pass. The error's own text may hold values."""
    cause = getattr(error, "orig", None) or error
    text = str(cause)
    if not _lasts(error, cause) or CREATED_TWICE in text:
        return DatabaseUnavailable("The database does not answer.", retryable=True)
    for pattern, sentence in EXPLANATIONS.items():
        if found := re.search(pattern, text):
            return StatementRefused(sentence.format(*filter(None, found.groups())))
    return StatementRefused("The database refuses the statement.")


def _lasts(error: Exception, cause: Any) -> bool:
    from sqlalchemy import exc  # noqa: PLC0415 - half of the server's start-up

    if code := getattr(cause, "sqlite_errorcode", None):
        return code & 0xFF in LASTING_SQLITE
    if state := getattr(cause, "sqlstate", None):
        return str(state).startswith(LASTING_SQLSTATE)
    if isinstance(error, exc.DBAPIError):
        return isinstance(error, (exc.ProgrammingError, exc.DataError, exc.NotSupportedError))
    # A mistake in the call of SQLAlchemy, as a parameter without a value.
    return isinstance(error, (exc.StatementError, exc.InvalidRequestError))


def _columns(connection: "Connection", table: str) -> set[str]:
    from sqlalchemy import inspect  # noqa: PLC0415 - half of the server's start-up

    found = inspect(connection)
    return {
        column["name"] for column in (found.get_columns(table) if found.has_table(table) else [])
    }


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    """Open `sqlite:///file` or `postgresql://user:password@host/name`, and close it at the end.

    Raises:
        DatabaseUnavailable: the URL is of another kind, a driver is missing, or nobody answers.
    """
    from sqlalchemy import event, text  # noqa: PLC0415 - half of the server's start-up
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    parsed = driver_url(url)
    kind = parsed.get_backend_name()
    options: dict[str, Any] = {}
    if kind == "sqlite":
        limit = {"timeout": STATEMENT_SECONDS}
        if parsed.database not in (None, "", ":memory:"):
            _create_folder(Path(str(parsed.database)).parent)
    else:
        limit = {"command_timeout": STATEMENT_SECONDS}
        options = {"pool_pre_ping": True, "pool_recycle": 1800, "pool_timeout": 10}
    try:
        engine = create_async_engine(parsed, connect_args=limit, **options)
    except ModuleNotFoundError as error:
        raise DatabaseUnavailable(
            f"The driver for {kind} is not installed: add the package {error.name}."
        ) from error
    if kind == "sqlite":
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
    try:
        database = Database(engine, text, (SQLAlchemyError, OSError))
        try:
            await database.ping()
        except TypeError as error:
            raise DatabaseUnavailable(
                "The database URL has an option that its driver does not know."
            ) from error
        yield database
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await engine.dispose()


async def _to_its_end(work: Coroutine[Any, Any, Result]) -> Result:
    """Await `work`, which is finished even if this call is cancelled meanwhile.

    Cancelled in the middle of a statement, SQLAlchemy closes the connection but not its
    transaction, and SQLite's file stays locked until garbage is collected.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await asyncio.wait([task])
        raise


def driver_url(url: str) -> "URL":
    """Return the URL as SQLAlchemy and the driver understand it.

    Raises:
        DatabaseUnavailable: it is of another kind.
    """
    from sqlalchemy import make_url  # noqa: PLC0415
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415

    try:
        parsed = make_url(url)
        kind = parsed.drivername.partition("+")[0]
        parsed = parsed.set(drivername=DRIVERS[kind])
    except (ArgumentError, KeyError, ValueError):  # ValueError: the port is no number
        raise DatabaseUnavailable(
            "The database URL must be sqlite:///file or postgresql://user:password@host/name."
        ) from None
    if "sslmode" in parsed.query:  # as PostgreSQL's own tools call what asyncpg calls ssl
        query = dict(parsed.query)
        query["ssl"] = query.pop("sslmode")
        parsed = parsed.set(query=query)
    return parsed


def checked_url(url: str) -> str:
    """Return a database URL that a setting holds, its scheme in lower case.

    Raises:
        ValueError: no database can be opened by it.
    """
    scheme, _, rest = url.partition("://")
    kind = scheme.lower().partition("+")[0]
    if kind == "sqlite":
        usable = url.isprintable() and rest.startswith("/")  # a folder's name may hold a space
    else:
        usable = kind in DRIVERS and not re.search(r"\s", url) and _has_address(rest)
    if not usable:
        raise ValueError(
            "must be sqlite:///file or postgresql://user:password@host/name,"
            " with no space or line break"
        )
    return f"{scheme.lower()}://{rest}"


def _has_address(rest: str) -> bool:
    try:
        parts = urlsplit(f"//{rest.rpartition('@')[2]}")
        return bool(parts.netloc or parts.path.strip("/")) and parts.port != 0
    except ValueError:  # the port is no number
        return False


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
    """Let readers and a writer work side by side."""
    cursor = connection.cursor()
    with suppress(sqlite3.OperationalError):  # another process is just switching it on
        cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()
