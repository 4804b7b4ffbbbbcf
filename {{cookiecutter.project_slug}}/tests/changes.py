"""Classify a change of the server's surface by its effect on clients.

A surface is what they see: for each tool, by its name, and each resource, by its URI, the fields
that are listed. An input that is narrower than before breaks calls; a result that is wider breaks
those who read it.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any, NamedTuple

Component = dict[str, Any]
Surface = dict[str, Component]


class Kind(StrEnum):
    BREAKING = "breaking"  # a valid call fails, or gets another kind of answer
    BEHAVIOURAL = "behavioural"  # old calls work, but behave differently, or more is possible
    WORDING = "wording"  # only the text is different


class Change(NamedTuple):
    kind: Kind
    component: str
    what: str

    def __str__(self) -> str:
        return f"{self.kind:<12} {self.component}: {self.what}"


class Side(NamedTuple):
    """The input or the result of a tool, with what a narrower and a wider schema mean there."""

    field: str
    fields: str
    narrower: Kind
    wider: Kind


INPUT = Side("parameter", "parameters", Kind.BREAKING, Kind.BEHAVIOURAL)
RESULT = Side("field of the result", "result", Kind.BEHAVIOURAL, Kind.BREAKING)

WORDS = {"title", "description", "examples"}
LOWER_BOUNDS = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
UPPER_BOUNDS = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
ALTERNATIVES = {"type", "enum", "anyOf", "oneOf"}
# Where a schema contains another, and how a path shows it.
INNER = {"items": "[]", "additionalProperties": ".*"}
ABSENT = object()


def compare(old: Surface, new: Surface) -> list[Change]:
    """Return every change from `old` to `new`, the most severe first."""

    def found() -> Iterator[Change]:
        renamed = pairs(
            old, new, lambda name: schemas_of(old[name]), lambda name: schemas_of(new[name])
        )
        for name in old.keys() - new.keys():
            now = f"is now called {renamed[name]}" if name in renamed else "is gone"
            yield Change(Kind.BREAKING, name, now)
        for name in new.keys() - old.keys() - set(renamed.values()):
            yield Change(Kind.BEHAVIOURAL, name, "is new")
        for name in old.keys() & new.keys():
            for kind, what in component_changes(old[name], new[name]):
                yield Change(kind, name, what)

    order = list(Kind)
    return sorted(found(), key=lambda change: (order.index(change.kind), change))


def component_changes(old: Component, new: Component) -> Iterator[tuple[Kind, str]]:
    """Compare a tool or a resource with its earlier version."""
    for field in old.keys() | new.keys():
        before, after = old.get(field, ABSENT), new.get(field, ABSENT)
        if before == after:
            continue
        match field:
            case "inputSchema":
                yield from schema_changes(before, after, INPUT)
            case "outputSchema" if ABSENT not in (before, after):
                yield from schema_changes(before, after, RESULT)
            case "annotations":
                yield from annotation_changes(old.get(field, {}), new.get(field, {}))
            case "outputSchema" | "mimeType":
                kind = Kind.BEHAVIOURAL if before is ABSENT else Kind.BREAKING
                yield kind, difference(field, before, after)
            case "title" | "description":
                yield Kind.WORDING, difference(field, before, after)
            case _:
                yield Kind.BEHAVIOURAL, difference(field, before, after)


def annotation_changes(old: Component, new: Component) -> Iterator[tuple[Kind, str]]:
    for hint in old.keys() | new.keys():
        before, after = old.get(hint, ABSENT), new.get(hint, ABSENT)
        if before != after:
            kind = Kind.WORDING if hint == "title" else Kind.BEHAVIOURAL
            yield kind, f"annotation {difference(hint, before, after)}"


def schema_changes(old: Any, new: Any, side: Side, path: str = "") -> Iterator[tuple[Kind, str]]:
    """Compare two JSON schemas; `path` leads to them from the parameters or the result."""
    subject = f"{side.field} `{path}`" if path else side.fields
    yield from property_changes(old, new, side, path)
    for keyword in (old.keys() | new.keys()) - {"properties", "required"}:
        before, after = value_of(old, keyword), value_of(new, keyword)
        if before == after:
            continue
        if keyword in INNER and isinstance(before, dict) and isinstance(after, dict):
            yield from schema_changes(before, after, side, path + INNER[keyword])
        else:
            kind = keyword_change(keyword, before, after, side)
            yield kind, f"{subject}: {difference(keyword, before, after)}"


def value_of(schema: Component, keyword: str) -> Any:
    """Return the value of a keyword. By default, items and additional fields can be anything."""
    value = schema.get(keyword, keyword in INNER or ABSENT)
    return {} if keyword in INNER and value is True else value


def property_changes(
    old: Component, new: Component, side: Side, path: str
) -> Iterator[tuple[Kind, str]]:
    before, after = old.get("properties", {}), new.get("properties", {})
    needed_before, needed_after = set(old.get("required", ())), set(new.get("required", ()))
    prefix = f"{path}." if path else ""
    renamed = pairs(
        before,
        after,
        lambda name: without_words(before[name]),
        lambda name: without_words(after[name]),
    )
    for name in before.keys() - after.keys():
        now = f"is now called `{renamed[name]}`" if name in renamed else "is gone"
        yield Kind.BREAKING, f"{side.field} `{prefix}{name}` {now}"
    for name in after.keys() - before.keys() - set(renamed.values()):
        breaking = side is INPUT and name in needed_after
        kind = Kind.BREAKING if breaking else Kind.BEHAVIOURAL
        also = " and required" if breaking else ""
        yield kind, f"{side.field} `{prefix}{name}` is new{also}"
    for name in before.keys() & after.keys():
        if name in needed_after - needed_before:
            yield side.narrower, f"{side.field} `{prefix}{name}` is now required"
        if name in needed_before - needed_after:
            yield side.wider, f"{side.field} `{prefix}{name}` is no longer required"
        yield from schema_changes(before[name], after[name], side, f"{prefix}{name}")


def keyword_change(keyword: str, before: Any, after: Any, side: Side) -> Kind:
    """Return the kind of a changed keyword. A change that is not understood is breaking."""
    kind = Kind.BREAKING
    if keyword in WORDS:
        kind = Kind.WORDING
    elif keyword == "default":
        kind = Kind.BEHAVIOURAL
    elif keyword == "additionalProperties":
        if before is False or after is False:
            kind = side.wider if before is False else side.narrower
    elif before is ABSENT or after is ABSENT:
        kind = side.narrower if before is ABSENT else side.wider
    elif keyword in LOWER_BOUNDS | UPPER_BOUNDS:
        kind = side.narrower if (after > before) == (keyword in LOWER_BOUNDS) else side.wider
    elif keyword in ALTERNATIVES:
        was, now = alternatives(before), alternatives(after)
        if now < was or now > was:
            kind = side.narrower if now < was else side.wider
    return kind


def alternatives(value: Any) -> set[str]:
    """Return the types, values or schemas of which one must match. An integer is also a number."""
    every = value if isinstance(value, list) else [value]
    return {
        json.dumps(one, sort_keys=True)
        for one in [*every, *(["integer"] if "number" in every else [])]
    }


def pairs(
    old: Iterable[str],
    new: Iterable[str],
    old_form: Callable[[str], Any],
    new_form: Callable[[str], Any],
) -> dict[str, str]:
    """Return renames: something removed and something new that are otherwise the same."""
    gone = [name for name in old if name not in new]
    added = [name for name in new if name not in old]
    if len(gone) == len(added) == 1 and old_form(gone[0]) == new_form(added[0]):
        return {gone[0]: added[0]}
    return {}


def schemas_of(component: Component) -> tuple[Any, Any]:
    return component.get("inputSchema", component), component.get("outputSchema")


def without_words(schema: Any) -> Any:
    return {key: value for key, value in schema.items() if key not in WORDS}


def difference(name: str, before: Any, after: Any) -> str:
    if before is ABSENT:
        return f"{name} is now {shown(after)}, there was none"
    if after is ABSENT:
        return f"{name} is gone, it was {shown(before)}"
    return f"{name} is now {shown(after)}, it was {shown(before)}"


def shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}..."
