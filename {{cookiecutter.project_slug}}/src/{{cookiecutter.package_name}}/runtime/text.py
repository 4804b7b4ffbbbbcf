"""Text that can be sent: Python's may hold half a surrogate pair, which no encoding knows.

Such text comes from file names, from careless cutting and from hostile JSON. Left as it is, it
breaks the answer in which it stands, or the connection.
"""

from typing import Any

from pydantic_core import PydanticSerializationError, to_json


def clean(text: str) -> str:
    """Return `text` with U+FFFD for each half of a surrogate pair."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def clean_json(value: Any) -> Any:
    """Return a JSON value whose texts, and names of fields, can all be sent."""
    if is_sendable(value):
        return value
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(name)): clean_json(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean_json(item) for item in value]
    return value


def is_sendable(value: Any) -> bool:
    """Tell whether a JSON value can be written as UTF-8."""
    try:
        to_json(value)
    except (PydanticSerializationError, UnicodeError):
        return False
    return True
