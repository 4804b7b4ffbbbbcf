"""The example tool `database_operation`."""

from pathlib import Path

import pytest

from {{ cookiecutter.package_name }}.database import (
    open_database,
)

from ..client import McpClient


@pytest.fixture(autouse=True)
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give each test a new database."""
    url = f"sqlite:///{tmp_path / 'users.db'}"
    monkeypatch.setenv("DATABASE_URL", url)
    return url


async def test_users_are_found_by_a_part_of_their_name(client: McpClient) -> None:
    page = await client.call("database_operation", query="GRA")
    assert page["users"] == [{"id": 7, "name": "Grace", "email": "grace@example.com"}]
    assert not page["next_cursor"]


async def test_the_cursor_of_a_page_leads_to_the_next(client: McpClient) -> None:
    first = await client.call("database_operation", limit=5)
    second = await client.call("database_operation", limit=5, cursor=first["next_cursor"])
    assert [user["id"] for user in first["users"]] == [1, 2, 3, 4, 5]
    assert [user["id"] for user in second["users"]] == [6, 7, 8, 9]
    assert not second["next_cursor"]


async def test_long_rows_make_shorter_pages_without_losing_users(
    client: McpClient, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESULT_MAX_BYTES", "2000")
    await client.call("database_operation")  # the first call creates the table
    async with open_database(url) as database:
        rows = ({"id": number, "name": "茶" * 200} for number in (100, 101, 102))
        await database.execute("INSERT INTO example_users VALUES (:id, :name, '')", *rows)
    first = await client.call("database_operation", query="茶")
    assert first["hint"] == "Only 2 of 3 fit in the result. Pass next_cursor for the others."
    second = await client.call("database_operation", query="茶", cursor=first["next_cursor"])
    assert [user["id"] for user in first["users"] + second["users"]] == [100, 101, 102]


async def test_a_cursor_of_another_server_is_refused(client: McpClient) -> None:
    message = await client.fail("database_operation", cursor="garbage")
    assert "leave it out to start again" in message
