"""Arguments for a tool of which the tests only know the schema."""

import math
from typing import Any

# Enough for a tool to have work, and far below the limit of a request.
MOST_CHARACTERS = 100_000
MOST_ITEMS = 100
FORMATS = {
    "date": "2026-02-28",
    "time": "12:30:00Z",
    "date-time": "2026-02-28T12:30:00Z",
    "duration": "P1D",
    "uuid": "6ba7b810-9dad-41d1-80b4-00c04fd430c8",
    "email": "a@example.com",
    "uri": "https://example.com/",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "json-string": "[]",
}


def largest_arguments(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a value for each parameter that a tool requires, as large as its schema allows."""
    found: dict[str, Any] = largest({**schema, "type": "object"}, MOST_CHARACTERS)
    return found


def largest(schema: dict[str, Any], room: int) -> Any:
    """Return a value that a schema allows, with about `room` characters at most."""
    match schema:
        case {"const": value} | {"enum": [*_, value]}:
            found = value
        case {"type": "string", "format": str(name)} if name in FORMATS:
            found = FORMATS[name]
        case {"type": "string"}:
            size = max(min(schema.get("maxLength", room), room), schema.get("minLength", 0), 1)
            found = ("a " * size)[:size]
        case {"type": "array"}:
            most = min(schema.get("maxItems", MOST_ITEMS), MOST_ITEMS, room)
            count = max(most, schema.get("minItems", 0))
            found = [largest(schema.get("items", {}), room // count) for _ in range(count)]
        case {"type": "object"}:
            names = schema.get("required", [])
            properties = schema.get("properties", {})
            found = {name: largest(properties[name], room // len(names)) for name in names}
        case {"type": "boolean"}:
            found = True
        case {"type": "integer" | "number"}:
            found = largest_number(schema)
        case _:
            found = None
    return found


def largest_number(schema: dict[str, Any]) -> Any:
    match schema:
        case {"maximum": maximum}:
            return maximum
        case {"exclusiveMaximum": bound, "type": "integer"}:
            return bound - 1
        case {"exclusiveMaximum": bound}:
            return math.nextafter(bound, -math.inf)
    return 0
