"""Results that every client accepts: a long one ends early, with a hint.

A client refuses a result that is too long, moves it to a file, or cuts it in the middle of its
JSON: Claude Code accepts 50,000 characters and 25,000 tokens. Here a result is cut between two
items, or inside a text, so that it still matches its schema. A hint tells the model how to get the
rest.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated, Generic, NamedTuple, TypeVar

from fastmcp.dependencies import Shared
from pydantic import BaseModel, JsonValue
from pydantic_core import to_json

from .runtime.limits import ResultSettings

Model = TypeVar("Model", bound=BaseModel)

RESERVED = 500  # for a cursor, a hint and similar fields around the items
CUT = "…"
CUT_HINT = f"Texts that end in {CUT} are truncated."
MAX_DEPTH = 16
LEAST_BYTES = 32  # for each field of an object; if too many, only the first fields are kept


class Page(NamedTuple, Generic[Model]):
    """The items that fit into a result, and a hint about the others."""

    items: list[Model]
    hint: str


def fit(items: Sequence[Model], max_bytes: int, advice: str) -> Page[Model]:
    """Return as many of the first items as fit into a result of `max_bytes`.

    If even the first does not fit, it is shortened. The hint is empty if nothing is missing;
    `advice` tells how to get the rest.
    """
    room = max_bytes - RESERVED
    kept = list(items[: _count_that_fit(items, room)])
    hints = []
    if items and not kept:
        shortened = shorten(items[0].model_dump(mode="json"), room - len("[]"))
        kept.append(type(items[0]).model_validate(shortened))
        hints.append(CUT_HINT)
    if len(kept) < len(items):
        number = f"{len(kept)} of {len(items)}"
        hints.append(f"Only {number} fit in the result. {advice}")
    return Page(kept, " ".join(hints))


def cut(data: JsonValue, max_bytes: int) -> tuple[JsonValue, str]:
    """Return as much of `data` as fits into a result of `max_bytes`, and a hint if it is cut."""
    shortened = shorten(data, max_bytes - RESERVED)
    if shortened is data:
        return data, ""
    size = json_size(data)
    return shortened, f"The data has {size} bytes: lists end early. {CUT_HINT} Request less."


def json_size(value: BaseModel | JsonValue) -> int:
    """Return the size of a value's JSON in a result, in bytes."""
    return len(to_json(value))


def shorten(value: JsonValue, max_bytes: int) -> JsonValue:
    """Return `value` if its JSON has at most `max_bytes`, else the beginning of it.

    A list keeps its first items, a text its first characters, an object its short fields. A value
    that cannot be cut becomes null.
    """
    return _shorten(value, max_bytes, MAX_DEPTH)


def _shorten(value: JsonValue, room: int, depth: int) -> JsonValue:
    if json_size(value) <= room:
        return value
    if isinstance(value, str):
        return _shorten_text(value, room)
    if isinstance(value, list) and depth:
        return _shorten_list(value, room, depth)
    if isinstance(value, dict) and depth:
        return _shorten_object(value, room, depth)
    return None


def _shorten_text(text: str, room: int) -> str:
    candidates = range(min(len(text), room))
    length = bisect_right(candidates, room, key=lambda end: json_size(text[:end] + CUT)) - 1
    return text[: max(length, 0)] + CUT


def _shorten_list(items: list[JsonValue], room: int, depth: int) -> list[JsonValue]:
    kept = items[: _count_that_fit(items, room)]
    if not kept:
        kept = [_shorten(item, room - len("[]"), depth - 1) for item in items[:1]]
    return kept[: _count_that_fit(kept, room)]


def _shorten_object(fields: dict[str, JsonValue], room: int, depth: int) -> dict[str, JsonValue]:
    """Divide the room evenly; longer fields get what shorter ones do not need."""
    names = list(fields)[: max(room, 0) // LEAST_BYTES]
    sizes = {name: json_size(fields[name]) for name in names}
    kept: dict[str, JsonValue] = {}
    left = room - len("{}")
    for number, name in enumerate(sorted(names, key=sizes.__getitem__)):
        around = json_size(name) + len(":,")
        part = _shorten(fields[name], left // (len(names) - number) - around, depth - 1)
        used = json_size(part) + around
        if used <= left:
            kept[name] = part
            left -= used
    return {name: kept[name] for name in names if name in kept}


def _count_that_fit(items: Sequence[BaseModel | JsonValue], room: int) -> int:
    size = len("[")
    for count, item in enumerate(items):
        size += json_size(item) + len(",")  # the last one accounts for the bracket
        if size > room:
            return count
    return len(items)


def result_max_bytes() -> int:
    return ResultSettings().result_max_bytes


# For a tool's parameter: how long its result may be.
ResultMaxBytes = Annotated[int, Shared(result_max_bytes)]
