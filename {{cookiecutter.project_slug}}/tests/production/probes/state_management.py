"""Count calls in the store that all processes share."""

from pydantic import JsonValue

from {{ cookiecutter.package_name }}.patterns.state_management import (
    State,
)


def next_number(value: JsonValue) -> JsonValue:
    return (value if isinstance(value, int) else 0) + 1


async def probe_count(name: str, state: State) -> JsonValue:
    return await state.update(name, next_number)
