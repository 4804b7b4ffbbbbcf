"""Each change of the surface is classified: breaking, behavioural, or wording."""

from typing import Any

import pytest

from ..changes import Kind, compare

BREAKING, BEHAVIOURAL, WORDING = Kind


def tool(
    parameters: dict[str, Any] | None = None,
    required: tuple[str, ...] = (),
    result: dict[str, Any] | None = None,
    **fields: Any,
) -> dict[str, Any]:
    return {
        "inputSchema": {
            "type": "object",
            "additionalProperties": False,
            "properties": parameters or {},
            "required": [*required],
        },
        "outputSchema": {"type": "object", "properties": result or {}},
        **fields,
    }


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[Kind, str]]:
    found = compare({"order": old}, {"order": new})
    assert {change.component for change in found} <= {"order"}
    return [(change.kind, change.what) for change in found]


def parameter_changes(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[Kind, str]]:
    return changes(tool({"item": old}), tool({"item": new}))


def result_kinds(old: dict[str, Any], new: dict[str, Any]) -> list[Kind]:
    return [kind for kind, _ in changes(tool(result={"item": old}), tool(result={"item": new}))]


def test_the_same_surface_has_no_changes() -> None:
    order = tool({"item": {"type": "string"}}, ("item",), {"price": {"type": "number"}})
    assert compare({"order": order}, {"order": {**order}}) == []


def test_a_removed_tool_is_breaking_and_a_new_one_is_not() -> None:
    surface = {"order": tool(), "pay": tool({"sum": {"type": "number"}})}
    gone = compare(surface, {"order": tool()})
    assert [str(change) for change in gone] == ["breaking     pay: is gone"]
    new = compare({"order": tool()}, surface)
    assert [str(change) for change in new] == ["behavioural  pay: is new"]


def test_a_rename_is_distinguished_from_a_replacement() -> None:
    (change,) = compare({"order": tool()}, {"buy": tool()})
    assert change == (BREAKING, "order", "is now called buy")
    old, new = tool({"item": {"type": "string"}}, ("item",)), tool({"what": {"type": "string"}})
    assert changes(old, new) == [(BREAKING, "parameter `item` is now called `what`")]
    other = tool({"what": {"type": "integer"}})
    assert [kind for kind, _ in changes(old, other)] == [BREAKING, BEHAVIOURAL]


def test_a_removed_or_newly_required_parameter_is_breaking() -> None:
    one, two = {"item": {"type": "string"}}, {"item": {"type": "string"}, "count": {"minimum": 1}}
    assert changes(tool(two), tool(one)) == [(BREAKING, "parameter `count` is gone")]
    assert changes(tool(one), tool(two)) == [(BEHAVIOURAL, "parameter `count` is new")]
    assert changes(tool(one), tool(two, ("count",))) == [
        (BREAKING, "parameter `count` is new and required")
    ]
    assert changes(tool(one), tool(one, ("item",))) == [
        (BREAKING, "parameter `item` is now required")
    ]
    assert changes(tool(one, ("item",)), tool(one)) == [
        (BEHAVIOURAL, "parameter `item` is no longer required")
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"maximum": 9}, {"maximum": 8}),
        ({"minLength": 1}, {"minLength": 2}),
        ({}, {"maxItems": 9}),
        ({"type": "number"}, {"type": "integer"}),
        ({"enum": ["tea", "milk"]}, {"enum": ["tea"]}),
        ({}, {"pattern": "^a"}),
        ({"items": {}}, {"items": {"type": "string"}}),
        ({"items": {"maximum": 9}}, {"items": {"maximum": 8}}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"anyOf": [{"type": "string"}]}),
        ({}, {"additionalProperties": False}),
        ({"additionalProperties": {"type": "number"}}, {"additionalProperties": False}),
    ],
)
def test_a_narrower_parameter_and_a_wider_result_are_breaking(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert [kind for kind, _ in parameter_changes(old, new)] == [BREAKING]
    assert [kind for kind, _ in parameter_changes(new, old)] == [BEHAVIOURAL]
    assert result_kinds(old, new) == [BEHAVIOURAL]
    assert result_kinds(new, old) == [BREAKING]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "string"}, {"type": "integer"}),
        ({"enum": ["tea"]}, {"enum": ["milk"]}),
        ({"pattern": "^a"}, {"pattern": "^b"}),
        ({"unheard-of": 1}, {"unheard-of": 2}),
    ],
)
def test_a_change_that_is_neither_narrower_nor_wider_is_breaking_for_both(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    assert [kind for kind, _ in parameter_changes(old, new)] == [BREAKING]
    assert result_kinds(old, new) == [BREAKING]


def test_a_removed_result_field_is_breaking_and_a_new_one_is_not() -> None:
    one: dict[str, Any] = {"price": {}}
    two = {**one, "tax": {}}
    assert changes(tool(result=two), tool(result=one)) == [
        (BREAKING, "field of the result `tax` is gone")
    ]
    assert changes(tool(result=one), tool(result=two)) == [
        (BEHAVIOURAL, "field of the result `tax` is new")
    ]


def test_a_result_without_a_schema_is_breaking() -> None:
    without = {key: value for key, value in tool().items() if key != "outputSchema"}
    assert [kind for kind, _ in changes(tool(), without)] == [BREAKING]
    assert [kind for kind, _ in changes(without, tool())] == [BEHAVIOURAL]


def test_the_message_has_the_path_of_a_nested_field() -> None:
    def lines(maximum: int) -> dict[str, Any]:
        line = {"type": "object", "properties": {"count": {"maximum": maximum}}}
        return tool({"lines": {"type": "array", "items": line}})

    assert changes(lines(9), lines(8)) == [
        (BREAKING, "parameter `lines[].count`: maximum is now 8, it was 9")
    ]


def test_defaults_and_hints_are_behavioural() -> None:
    assert parameter_changes({"default": 1}, {"default": 2}) == [
        (BEHAVIOURAL, "parameter `item`: default is now 2, it was 1")
    ]
    old = tool(annotations={"readOnlyHint": True})
    new = tool(annotations={"readOnlyHint": False})
    assert changes(old, new) == [(BEHAVIOURAL, "annotation readOnlyHint is now false, it was true")]


def test_titles_and_descriptions_are_wording() -> None:
    old, new = tool(title="Order", description="Order tea."), tool(title="Buy")
    assert changes(old, new) == [
        (WORDING, 'description is gone, it was "Order tea."'),
        (WORDING, 'title is now "Buy", it was "Order"'),
    ]
    assert parameter_changes({}, {"description": "Tea."}) == [
        (WORDING, 'parameter `item`: description is now "Tea.", there was none')
    ]


def test_a_changed_media_type_of_a_resource_is_breaking() -> None:
    old, new = {"mimeType": "application/json"}, {"mimeType": "text/plain"}
    (change,) = compare({"menu://today": old}, {"menu://today": new})
    assert change.kind == BREAKING


def test_the_most_severe_change_is_listed_first() -> None:
    old = tool({"item": {"maximum": 9, "default": 1}}, title="Order")
    new = tool({"item": {"maximum": 8, "default": 2}}, title="Buy")
    assert [kind for kind, _ in changes(old, new)] == [BREAKING, BEHAVIOURAL, WORDING]
