"""A long result is cut: it keeps its form, fits the limit, and says what is missing."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json

from my_mcp_server.results import (
    RESERVED,
    cut,
    fit,
    shorten,
)
from my_mcp_server.runtime.limits import (
    ResultSettings,
)


class Line(BaseModel):
    number: int
    text: str


def lines(count: int, text: str) -> list[Line]:
    return [Line(number=number, text=text) for number in range(count)]


def test_a_result_that_fits_is_unchanged_and_has_no_hint() -> None:
    every = lines(3, "tea")
    size = len(to_json(every))
    assert fit(every, RESERVED + size, "Ask.") == (every, "")
    assert fit([], RESERVED, "Ask.") == ([], "")


@pytest.mark.parametrize("text", ["tea", "Grüße", "茶" * 40, "😀", '"\\\n'])
def test_the_list_ends_before_the_item_that_exceeds_the_limit(text: str) -> None:
    every = lines(3, text)
    items, hint = fit(every, RESERVED + len(to_json(every)) - 1, "Ask for the others.")
    assert items == every[:2]
    assert hint == "Only 2 of 3 fit in the result. Ask for the others."


def test_an_oversized_first_item_is_shortened_and_the_others_are_left_out() -> None:
    items, hint = fit([*lines(1, "茶" * 1000), *lines(1, "tea")], RESERVED + 200, "Ask.")
    (item,) = items
    assert item.number == 0
    assert item.text == "茶" * (len(item.text) - 1) + "…"
    assert 190 < len(to_json(items)) <= 200
    assert hint == "Texts that end in … are truncated. Only 1 of 2 fit in the result. Ask."


@pytest.mark.parametrize(
    "value",
    [
        "tea " * 100,
        "😀" * 100,
        "\x00" * 100,
        [*range(100)],
        ["tea " * 100, "milk"],
        {"users": [{"name": "Ada"}] * 50, "next": "/users?page=2"},
        {str(number): number for number in range(100)},
        {"a" * 500: 1},
        [[["tea " * 100]]],
        10**100,
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("room", [8, 20, 50, 90])
def test_any_value_is_shortened_as_needed_and_keeps_its_type(value: Any, room: int) -> None:
    shortened = shorten(value, room)
    text = to_json(shortened)
    assert len(text) <= room
    assert from_json(text) == shortened
    assert type(shortened) in (type(value), type(None))
    assert shorten(value, len(to_json(value))) == value


def test_the_start_of_a_list_and_the_short_fields_of_an_object_are_kept() -> None:
    assert shorten([*range(10, 99)], 12) == [10, 11, 12]
    users: Any = {"users": [{"name": "Ada"}] * 50, "next": "/users?page=2"}
    assert shorten(users, 90) == {"users": [{"name": "Ada"}] * 3, "next": "/users?page=2"}


def test_deep_nesting_ends_in_null() -> None:
    value: Any = "tea " * 100
    for _ in range(200):
        value = [value]
    assert len(to_json(shorten(value, 200))) < 200


def test_data_is_cut_with_a_hint_that_names_its_size() -> None:
    assert cut([1, 2], 2000) == ([1, 2], "")
    data, hint = cut(["tea"] * 1000, 2000)
    assert data == ["tea"] * 249
    assert hint.startswith("The data has 6001 bytes: lists end early.")
    assert len(to_json({"data": data, "hint": hint})) <= 2000


def test_the_limit_always_leaves_room_for_hints() -> None:
    assert ResultSettings().result_max_bytes == 50_000
    with pytest.raises(ValidationError):
        ResultSettings(result_max_bytes=1999)
