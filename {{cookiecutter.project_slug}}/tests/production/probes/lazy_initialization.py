"""Query the database."""

from {{ cookiecutter.package_name }}.patterns.lazy_initialization import (
    Users,
)


async def probe_database(name: str, users: Users) -> list[str]:
    found, _ = await users.search(name, limit=10)
    return [user.name for user in found]
