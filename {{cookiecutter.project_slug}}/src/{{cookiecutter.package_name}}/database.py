"""One way to a database for everything that stores rows: SQLite by default, PostgreSQL by URL.

SQLAlchemy takes a third as long to import as FastMCP itself, so it is imported when a database is
opened.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import platformdirs

from .runtime.errors import ToolFailure

if TYPE_CHECKING:
    from sqlalchemy import URL, TextClause
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

Result = TypeVar("Result")


class DatabaseUnavailable(ToolFailure):
    """The database could not be opened, or did not carry out a statement."""


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
            DatabaseUnavailable: the statement could not be run; nothing has changed.
        """

        async def run() -> int:
            async with self._engine.begin() as connection:
                result = await connection.execute(
                    self._text(statement), [dict(row) for row in rows] or None
                )
                return result.rowcount

        return await self._carry_out(run())

    async def ping(self) -> None:
        await self.fetch("SELECT 1")

    async def _carry_out(self, work: Coroutine[Any, Any, Result]) -> Result:
        try:
            return await _to_its_end(work)
        except self._errors as error:
            raise DatabaseUnavailable("The database does not answer.", retryable=True) from error


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


def default_database_url(name: str) -> str:
    """Return an SQLite URL in the user's data folder: a client may start the server in `/`."""
    application = str(__package__)
    return f"sqlite:///{platformdirs.user_data_path(application, appauthor=False) / name}"


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
