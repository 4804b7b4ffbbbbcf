"""Example of lazy initialization: search a table; the first call opens the database."""

from typing import Annotated

from fastmcp.tools import tool
from pydantic import BaseModel, Field

from ..patterns.lazy_initialization import (
    User,
    Users,
    cursor_after,
)
from ..results import ResultMaxBytes, fit


class UserPage(BaseModel):
    users: list[User]
    next_cursor: str = Field(description="The next page's `cursor`; empty on the last page.")
    hint: str = Field("", description="Why users are missing or shortened.")


@tool(
    title="Search users",
    description="Find users by name in the example database, a page at a time.",
    annotations={
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": False,
    },
)
async def database_operation(
    users: Users,
    max_bytes: ResultMaxBytes,
    query: Annotated[
        str, Field(description="Text that the name contains; empty for all users.", max_length=200)
    ] = "",
    limit: Annotated[int, Field(description="Users per page.", ge=1, le=100)] = 20,
    cursor: Annotated[
        str, Field(description="The `next_cursor` of the previous page.", max_length=200)
    ] = "",
) -> UserPage:
    found, next_cursor = await users.search(query, limit, cursor)
    page = fit(found, max_bytes, "Pass next_cursor for the others.")
    if len(page.items) < len(found):
        next_cursor = cursor_after(page.items[-1])
    return UserPage(users=page.items, next_cursor=next_cursor, hint=page.hint)
