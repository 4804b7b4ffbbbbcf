"""Open an expensive resource once, at its first use, and close it at the end.

If a server opens its database at import or startup, it cannot list its tools while the database
is down or not configured. Without a lock, twenty concurrent first calls open twenty pools, and
none is closed. `on_first_use` opens one, closes it with the server, and lets the next call retry
if opening has failed.
"""

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import Annotated, Any

from fastmcp import FastMCP
from fastmcp.server.lifespan import lifespan
from pydantic import BaseModel, SecretStr, ValidationError, field_validator

from ..database import (
    Database,
    DatabaseSettings,
    StatementRefused,
    check_postgres,
    checked_url,
    default_database_url,
    is_postgres,
    open_database,
)
from ..runtime.errors import ToolFailure
from ..runtime.first_use import on_first_use
from ..runtime.readiness import readiness
from ..settings import Settings

LARGEST_ID = 2**31 - 1  # of PostgreSQL's INTEGER
EXAMPLE_NAMES = ("Ada", "Alan", "Barbara", "Donald", "Edsger", "Frances", "Grace", "Ken", "Radia")


class LazyInitializationSettings(Settings):
    # May contain a password. Empty: an SQLite file in the user's data folder.
    database_url: SecretStr = SecretStr("")

    @field_validator("database_url")
    @classmethod
    def _can_be_opened(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        return SecretStr(checked_url(url)) if url else value


class InvalidCursor(ToolFailure):
    """The cursor was not issued by this server."""


class User(BaseModel):
    id: int
    name: str
    email: str


class WrongTable(StatementRefused):
    """The table is not the one that this server creates."""


class UserDirectory:
    """An example table, read page by page.

    Its name is not `users`, which may exist: example rows are written into the table.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self) -> None:
        """Create the table with example rows, unless it exists; then reading is enough.

        Raises:
            WrongTable: the table exists with other columns.
            StatementRefused: the table does not exist, and cannot be created.
        """
        columns = await self._database.columns("example_users")
        if columns:
            for name in User.model_fields:
                if name not in columns:
                    raise WrongTable(f"The table example_users has no column {name}.")
            # The first call may have been cancelled before it wrote the rows.
            if await self._database.fetch("SELECT id FROM example_users LIMIT 1"):
                return
        else:
            await self._database.execute(
                "CREATE TABLE IF NOT EXISTS example_users"
                " (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL)"
            )
        # A read-only role, or a standby, reads the empty table.
        with suppress(StatementRefused) if columns else nullcontext():
            await self._database.execute(
                "INSERT INTO example_users (id, name, email) VALUES (:id, :name, :email)"
                " ON CONFLICT (id) DO NOTHING",
                *(
                    {"id": number, "name": name, "email": f"{name.lower()}@example.com"}
                    for number, name in enumerate(EXAMPLE_NAMES, start=1)
                ),
            )

    async def search(self, text: str, limit: int, cursor: str = "") -> tuple[list[User], str]:
        """Return up to `limit` users whose name contains `text`, and the next page's cursor or "".

        Raises:
            InvalidCursor: this server did not issue `cursor`.
            WrongTable: a row is not a user.
            DatabaseUnavailable: the database does not answer.
        """
        rows = await self._database.fetch(
            "SELECT id, name, email FROM example_users"
            " WHERE id > :after AND lower(name) LIKE lower(:pattern) ESCAPE '!'"
            " ORDER BY id LIMIT :limit",
            after=_decode(cursor),
            pattern=f"%{_escape_pattern(text)}%",
            limit=limit + 1,
        )
        try:
            users = [User.model_validate(row) for row in rows[:limit]]
        except ValidationError as error:
            field = error.errors()[0]["loc"][0]
            raise WrongTable(f"A row of example_users has no valid {field}.") from error
        return users, cursor_after(users[-1]) if len(rows) > limit else ""


def _escape_pattern(text: str) -> str:
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def cursor_after(user: User) -> str:
    """Return the cursor of the page that begins after `user`."""
    return base64.urlsafe_b64encode(f"after:{user.id}".encode()).decode()


def _decode(cursor: str) -> int:
    if not cursor:
        return 0
    try:
        label, _, number = base64.urlsafe_b64decode(cursor).decode().partition(":")
        if label == "after" and number.isdecimal() and int(number) <= LARGEST_ID:
            return int(number)
    except (binascii.Error, ValueError):
        pass
    raise InvalidCursor("This server did not issue the cursor: leave it out to start again.")


@lifespan
async def database_readiness(_server: FastMCP[Any]) -> AsyncIterator[dict[str, Any]]:
    """Report unready until PostgreSQL has answered. The first call still opens the database.

    A replica with a wrong URL or password must not get calls.
    """
    url = LazyInitializationSettings().database_url.get_secret_value()
    if not is_postgres(url):
        yield {}
        return
    with readiness.reporting("database", partial(check_postgres, url, DatabaseSettings())):
        yield {}


@asynccontextmanager
async def user_directory() -> AsyncIterator[UserDirectory]:
    url = LazyInitializationSettings().database_url.get_secret_value()
    async with open_database(url or default_database_url("users.db")) as database:
        users = UserDirectory(database)
        await users.create()
        with readiness.reporting("database", database.ping, has_passed=True):
            yield users


Users = Annotated[UserDirectory, on_first_use(user_directory)]
