"""The database opens with the first call, once, and is closed at shutdown."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from sqlalchemy import Engine, event

from {{ cookiecutter.package_name }}.patterns.lazy_initialization import (
    EXAMPLE_NAMES,
    Users,
)


async def count(users: Users) -> int:
    """Count the example users: a tool that needs the database."""
    return len((await users.search("", 100))[0])


def server() -> FastMCP[Any]:
    return FastMCP("test", tools=[count], mask_error_details=True)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path in `DATABASE_URL`, which does not exist yet."""
    file = tmp_path / "folder" / "users.db"
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{file}")
    return file


class Creations(list[str]):
    """Every CREATE TABLE that any engine of this process runs: one for each opening."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = asyncio.Event()


@pytest.fixture
def creations() -> Iterator[Creations]:
    creations = Creations()

    def record(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("CREATE TABLE"):
            creations.append(statement)
            creations.seen.set()

    event.listen(Engine, "before_cursor_execute", record)
    yield creations
    event.remove(Engine, "before_cursor_execute", record)


def is_open(file: Path) -> bool:
    """Return whether SQLite's log exists, which is removed with the last connection."""
    return file.with_name("users.db-wal").exists()


async def test_nothing_opens_before_the_first_call_and_everything_closes_at_shutdown(
    file: Path,
) -> None:
    async with Client(server()) as client:
        await client.list_tools()
        assert not file.parent.exists()

        assert (await client.call_tool("count")).data == len(EXAMPLE_NAMES)
        assert is_open(file)
    assert not is_open(file)


async def test_twenty_concurrent_first_calls_open_one_database(
    file: Path, creations: Creations
) -> None:
    async with Client(server()) as client:
        results = await asyncio.gather(*(client.call_tool("count") for _ in range(20)))
    assert [result.data for result in results] == [len(EXAMPLE_NAMES)] * 20
    assert len(creations) == 1


async def test_a_first_call_that_is_cancelled_while_opening_does_not_fail_the_others(
    file: Path, creations: Creations
) -> None:
    # A call that never ends fails here, with its position.
    async with asyncio.timeout(60), Client(server()) as client:
        first = asyncio.create_task(client.call_tool("count"))
        second = asyncio.create_task(client.call_tool("count"))
        await creations.seen.wait()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert first.cancelled()
        assert (await second).data
        assert (await client.call_tool("count")).data


async def test_a_failed_first_opening_is_readable_and_is_retried_by_the_next_call(
    file: Path,
) -> None:
    blocker = file.parent
    blocker.touch()  # a file where a folder must be
    async with Client(server()) as client:
        for _ in range(2):
            failed = await client.call_tool("count", raise_on_error=False)
            assert failed.is_error
            assert "The folder of the database cannot be created." in str(failed.content)

        blocker.unlink()
        assert (await client.call_tool("count")).data
