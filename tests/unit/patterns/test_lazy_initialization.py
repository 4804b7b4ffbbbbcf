"""The example table: pages, cursors, and databases with other content."""

import base64
import importlib
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import platformdirs
import pytest
from sqlalchemy import Engine, event

from my_mcp_server.database import (
    DatabaseUnavailable,
    StatementRefused,
    checked_url,
    open_database,
)
from my_mcp_server.patterns.lazy_initialization import (
    EXAMPLE_NAMES,
    InvalidCursor,
    LazyInitializationSettings,
    User,
    WrongTable,
    user_directory,
)
from my_mcp_server.runtime.readiness import (
    readiness,
)
from my_mcp_server.settings import (
    InvalidSettings,
    check_settings,
)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path in `DATABASE_URL`, which does not exist yet."""
    file = tmp_path / "folder" / "users.db"
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{file}")
    return file


async def checks() -> dict[str, str]:
    """Return the checks of the readiness registry."""
    with readiness.serving():
        return (await readiness.report()).checks


def cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


async def test_the_database_reports_its_health_while_it_is_open(file: Path) -> None:
    file.parent.touch()  # a file instead of the folder
    with pytest.raises(DatabaseUnavailable):
        async with user_directory():
            pass
    assert "database" not in await checks()
    file.parent.unlink()
    async with user_directory():
        assert (await checks())["database"] == "ok"
    assert "database" not in await checks()


async def test_each_user_is_on_exactly_one_page(file: Path) -> None:
    sizes: list[int] = []
    names: list[str] = []
    next_cursor = ""
    async with user_directory() as users:
        while not sizes or next_cursor:
            page, next_cursor = await users.search("", 2, next_cursor)
            sizes.append(len(page))
            names += [user.name for user in page]
    assert sizes == [2, 2, 2, 2, 1]
    assert names == [*EXAMPLE_NAMES]


async def test_a_full_last_page_has_no_cursor(file: Path) -> None:
    async with user_directory() as users:
        page, next_cursor = await users.search("", len(EXAMPLE_NAMES))
    assert len(page) == len(EXAMPLE_NAMES)
    assert not next_cursor


async def test_paging_reaches_the_largest_id(file: Path) -> None:
    async with user_directory() as users, open_database(f"sqlite:///{file}") as database:
        await database.execute(
            "INSERT INTO example_users VALUES (2147483646, 'Zoe', 'z'), (2147483647, 'Zoe', 'z')"
        )
        _, next_cursor = await users.search("Zoe", 1)
        (last,), end = await users.search("Zoe", 1, next_cursor)
    assert last.id == 2147483647
    assert not end


@pytest.mark.parametrize("text", ["'", '"', "%", "_", "!", "'; DROP TABLE users; --", "!%_'"])
async def test_a_query_is_matched_literally(file: Path, text: str) -> None:
    async with user_directory() as users, open_database(f"sqlite:///{file}") as database:
        assert await users.search(text, 10) == ([], "")
        await database.execute(
            "INSERT INTO example_users VALUES (100, :name, 'x@example.com')", {"name": f"a{text}z"}
        )
        ((found,), _) = await users.search(text.lower(), 10)
        assert found.id == 100
        everyone, _ = await users.search("", 100)
        assert len(everyone) == len(EXAMPLE_NAMES) + 1


@pytest.mark.parametrize(
    "bad",
    [
        "garbage",
        "%%%%",
        "ä",
        cursor("before:1"),
        cursor("after:"),
        cursor("after:-1"),
        cursor("after:1.5"),
        cursor("after:one"),
        cursor(f"after:{2**31}"),
        cursor("after:" + "9" * 100),
        base64.urlsafe_b64encode(b"after:\xff").decode(),
        base64.urlsafe_b64encode("after:1".encode("utf-16")).decode(),
    ],
)
async def test_an_invalid_cursor_is_refused_with_a_readable_message(file: Path, bad: str) -> None:
    async with user_directory() as users:
        with pytest.raises(InvalidCursor, match="leave it out to start again"):
            await users.search("", 1, bad)


async def test_an_existing_table_of_the_user_is_neither_read_nor_written(file: Path) -> None:
    async with open_database(f"sqlite:///{file}") as database:
        await database.execute("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT, email TEXT)")
        async with user_directory() as users:
            page, _ = await users.search("", 100)
            assert [user.name for user in page] == [*EXAMPLE_NAMES]
        assert await database.fetch("SELECT * FROM users") == []


@pytest.fixture
def read_only() -> Iterator[Callable[[], None]]:
    """Return a function that makes every later connection read-only."""

    def forbid(connection: sqlite3.Connection, _record: object) -> None:
        connection.cursor().execute("PRAGMA query_only = ON")

    yield lambda: event.listen(Engine, "connect", forbid)
    event.remove(Engine, "connect", forbid)


async def test_a_read_only_table_is_read(file: Path, read_only: Callable[[], None]) -> None:
    async with user_directory():
        pass
    read_only()
    async with user_directory() as users:
        assert (await users.search("ada", 1))[0]


async def test_a_table_that_cannot_be_created_is_a_readable_failure(
    file: Path, read_only: Callable[[], None]
) -> None:
    read_only()
    with pytest.raises(StatementRefused, match="read-only") as refusal:
        async with user_directory():
            pass
    assert not refusal.value.retryable


@pytest.mark.parametrize("row", ["", "INSERT INTO example_users VALUES (1, 'Ada')"])
async def test_a_table_with_other_columns_is_named_and_not_retryable(file: Path, row: str) -> None:
    async with open_database(f"sqlite:///{file}") as database:
        await database.execute("CREATE TABLE example_users (id INTEGER PRIMARY KEY, name TEXT)")
        if row:
            await database.execute(row)
    with pytest.raises(WrongTable) as wrong:
        async with user_directory():
            pass
    assert str(wrong.value) == "The table example_users has no column email."
    assert not wrong.value.retryable


async def test_a_row_that_is_not_a_user_is_a_readable_failure(file: Path) -> None:
    async with user_directory() as users, open_database(f"sqlite:///{file}") as database:
        await database.execute("INSERT INTO example_users VALUES (100, x'ff', 'canary')")
        with pytest.raises(WrongTable, match=r"^A row of example_users has no valid name\.$"):
            await users.search("", 100)


async def test_rows_are_written_if_the_first_call_stopped_before(file: Path) -> None:
    async with user_directory(), open_database(f"sqlite:///{file}") as database:
        await database.execute("DELETE FROM example_users")
    async with user_directory() as users:
        assert len((await users.search("", 100))[0]) == len(EXAMPLE_NAMES)


async def test_without_a_url_the_file_is_in_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home" / "data"))
    current = tmp_path / "current"
    current.mkdir()
    monkeypatch.chdir(current)
    async with user_directory():
        assert [*platformdirs.user_data_path().glob("*/users.db")]
    assert not [*current.iterdir()]


@pytest.mark.parametrize(
    "url",
    [
        *("users.db", "mysql://localhost/users", "sqlite://users.db", "postgresql://"),
        *("sqlite:///users\n.db", "postgresql://db.example/us ers", "postgresql://db:port/users"),
    ],
)
def test_an_invalid_database_url_is_refused_at_startup(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(InvalidSettings, match=r"^DATABASE_URL: (must|has) "):
        check_settings()


@pytest.mark.parametrize(
    "url",
    [
        *("sqlite:////home/Ada Lovelace/users.db", "sqlite:///:memory:", "postgresql:///users"),
        *(
            "PostgreSQL://ada:p/#?s@db.example:5432/users",
            "postgres://[::1]:5432/users?ssl=require",
        ),
    ],
)
def test_a_valid_database_url_is_accepted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    check_settings()
    assert LazyInitializationSettings().database_url.get_secret_value() == checked_url(url)


def test_the_password_of_the_url_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@localhost/users")
    settings = LazyInitializationSettings()
    assert "hunter2" in settings.database_url.get_secret_value()
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "hunter2" not in shown


def test_importing_the_pattern_does_not_import_sqlalchemy(monkeypatch: pytest.MonkeyPatch) -> None:
    package = User.__module__.partition(".")[0]
    for name in [*sys.modules]:
        if name.partition(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)
        elif name.partition(".")[0] == "sqlalchemy":
            monkeypatch.setitem(sys.modules, name, None)  # makes the import fail
    again = importlib.import_module(User.__module__)
    assert again.User is not User
