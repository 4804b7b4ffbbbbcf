"""Answer invalid arguments with readable errors, and accept those that clients send as text.

FastMCP answers with pydantic's report. It names internals, links to another project's documentation
and repeats the input, so 128 KB of unknown keys come back as 2 MB. A model needs the field, the
reason, and what to send instead.

Widely used clients send a list or an object as JSON text, "[1, 2]", some of them occasionally
(anthropics/claude-code issues 22394, 59227 and 93179). An error does not help: the model has sent a
list. So such text is parsed once, where the schema does not allow a string.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from inspect import signature
from typing import Any, get_type_hints

from fastmcp.exceptions import ValidationError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticValidationError
from pydantic_core import from_json

from .errors import ToolFailure

MAX_PROBLEMS = 5
MAX_FIELD_LENGTH = 60
MAX_REASON_LENGTH = 160
MAX_EXAMPLE_LENGTH = 40
# Of all problems together, as JSON: an answer contains them up to three times.
MAX_REPORT_LENGTH = 500
MAX_NAMES_LENGTH = 100
# Of a list or an object that is sent as text. The parser limits its depth.
MAX_JSON_LENGTH = 100_000

UNKNOWN = "is not a parameter of this tool"
REASONS = {
    "missing": "is required",
    "missing_argument": "is required",
    "unexpected_keyword_argument": UNKNOWN,
    "extra_forbidden": "is not a known field",
}
TYPES = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "string": "a string",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
# How pydantic's names for a value of the wrong type begin.
EXPECTED = {
    "int_": "integer",
    "float_": "number",
    "bool_": "boolean",
    "string_type": "string",
    "list_type": "array",
    "tuple_type": "array",
    "set_type": "array",
    "dict_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
    "dataclass_type": "object",
    "none_required": "null",
}

Schema = Mapping[str, Any]
Location = tuple[int | str, ...]


class InvalidArguments(ToolFailure):
    """The arguments do not match the tool's input schema."""


class ReadableArguments(Middleware):
    """Report at most five invalid fields with reasons, in less than 2 KiB for any input."""

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        arguments = context.message.arguments or {}
        if any(may_be_json(value) for value in arguments.values()):
            read = read_json(arguments, await _schema(context))
            context = context.copy(message=context.message.model_copy(update={"arguments": read}))
        try:
            return await call_next(context)
        except ValidationError as error:
            cause = error.__cause__
            if isinstance(cause, PydanticValidationError):
                raise describe(cause, await _schema(context)) from error
            raise

    async def on_get_prompt(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        if context.fastmcp_context is not None:
            prompt = await context.fastmcp_context.fastmcp.get_prompt(context.message.name)
            check_texts(prompt, context.message.arguments or {})
        return await call_next(context)

    async def on_read_resource(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        if context.fastmcp_context is not None:
            server, uri = context.fastmcp_context.fastmcp, str(context.message.uri)
            if not await server.get_resource(uri):
                template = await server.get_resource_template(uri)
                check_texts(template, (template.matches(uri) if template else None) or {})
        return await call_next(context)


def check_texts(component: Any, given: Mapping[str, Any]) -> None:
    """Check the arguments of a prompt or a resource template, which are sent as text.

    FastMCP would answer with pydantic's report for a prompt and without a reason for a template,
    and write the value to the log.

    Raises:
        InvalidArguments: an argument is missing, or does not match the type of its parameter.
    """
    problems: list[tuple[Location, str]] = []
    for name, (adapter, required) in parameters_of(getattr(component, "fn", None)).items():
        if name in given:
            problems += [((name, *field), why) for field, why in _misfits(adapter, given[name])]
        elif required:
            problems.append(((name,), _reason("missing", "", _expected(adapter.json_schema(), ()))))
    if problems:
        raise _invalid(problems)


def _misfits(adapter: TypeAdapter[Any], text: Any) -> list[tuple[Location, str]]:
    """Return why a text is not a value of a type, neither as it is nor as JSON."""
    try:
        adapter.validate_python(text)
    except PydanticValidationError as error:
        try:
            adapter.validate_json(text)
        except PydanticValidationError:
            return _problems(error, adapter.json_schema())
    return []


@lru_cache(maxsize=1024)
def parameters_of(function: Any) -> dict[str, tuple[TypeAdapter[Any], bool]]:
    """Return the type of each parameter that a caller sets, and whether it is required."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except (NameError, TypeError):  # not made from a function, or with types that are unknown here
        return {}
    return {
        name: (TypeAdapter(hints.get(name, Any)), parameter.default is parameter.empty)
        for name, parameter in signature(function).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


def may_be_json(value: object) -> bool:
    """Return whether an argument could be a list, an object or null, as text."""
    return (
        isinstance(value, str)
        and len(value) <= MAX_JSON_LENGTH
        and (value.lstrip()[:1] in ("[", "{") or value.strip() == "null")
    )


def read_json(arguments: Mapping[str, Any], schema: Schema) -> dict[str, Any]:
    """Return the arguments, with JSON text parsed where the schema does not allow a string."""
    return {
        name: _read(value, _types(_part(schema, (name,)), schema)) if may_be_json(value) else value
        for name, value in arguments.items()
    }


def _read(text: str, types: set[str]) -> Any:
    if "string" in types:
        return text
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError:
        return text
    kind = "array" if isinstance(value, list) else "object" if value is not None else "null"
    return value if kind in types else text


def describe(error: PydanticValidationError, schema: Schema | None = None) -> InvalidArguments:
    """Turn pydantic's report into one sentence and a list of `{field, reason}`.

    The input schema, if there is one, provides what is expected, with an example.
    """
    problems = _problems(error, schema or {})
    unknown = any(reason == UNKNOWN for _, reason in problems)
    return _invalid(problems, _names(schema) if schema and unknown else "")


def _problems(error: PydanticValidationError, schema: Schema) -> list[tuple[Location, str]]:
    report = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        (found["loc"], _reason(found["type"], found["msg"], _expected(schema, found["loc"])))
        for found in report
    ]


def _invalid(report: Sequence[tuple[Location, str]], names: str = "") -> InvalidArguments:
    problems: list[dict[str, str]] = []
    for location, reason in report[:MAX_PROBLEMS]:
        problems.append({"field": _field(location), "reason": reason})
        if len(json.dumps(problems)) > MAX_REPORT_LENGTH and len(problems) > 1:
            problems.pop()
            break
    text = "; ".join(f"{problem['field']} {problem['reason']}" for problem in problems)
    hidden = len(report) - len(problems)
    more = f"; and {hidden} more" if hidden else ""
    return InvalidArguments(f"Invalid arguments: {text}{more}.{names}", fields=problems)


async def _schema(context: MiddlewareContext[Any]) -> Schema:
    server = context.fastmcp_context and context.fastmcp_context.fastmcp
    tool = await server.get_tool(context.message.name) if server else None
    return tool.parameters if tool else {}


def _part(schema: Schema, location: Location) -> Schema:
    """Return the schema of the value at `location`, or an empty one."""
    part = schema
    for step in location:
        part = _resolved(part, schema)
        choices = [choice for choice in part.get("anyOf", []) if choice.get("type") != "null"]
        if len(choices) == 1:  # a value that may be null
            part = _resolved(choices[0], schema)
        inner = part.get("items") if isinstance(step, int) else part.get("properties", {}).get(step)
        part = inner if isinstance(inner, Mapping) else {}
    return _resolved(part, schema)


def _resolved(schema: Schema, root: Schema) -> Schema:
    name = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    return {**root.get("$defs", {}).get(name, {}), **schema} if name else schema


def _types(schema: Schema, root: Schema) -> set[str]:
    """Return the JSON types that a schema allows; without any, also a string."""
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return {name for choice in choices for name in _types(_resolved(choice, root), root)}
    types = schema.get("type", "string")
    return {types} if isinstance(types, str) else set(types)


def _expected(schema: Schema, location: Location) -> str:
    """Return what a value should be, such as "an integer, such as 5", or ""."""
    part = _part(schema, location)
    if not part.keys() & {"type", "anyOf", "oneOf"}:
        return ""
    words = " or ".join(TYPES[name] for name in TYPES if name in _types(part, schema) - {"null"})
    candidates = [*part.get("examples", []), part.get("default"), *part.get("enum", [])]
    for candidate in candidates:
        example = json.dumps(candidate, ensure_ascii=False, default=str)
        if candidate not in (None, "", [], {}) and len(json.dumps(example)) <= MAX_EXAMPLE_LENGTH:
            return f"{words}, such as {example}"
    return words


def _names(schema: Schema) -> str:
    names = ", ".join(schema.get("properties", {}))
    return f" Its parameters: {names}." if names and len(names) <= MAX_NAMES_LENGTH else ""


def _field(location: Location) -> str:
    path = re.sub(r"[^\w.-]", "?", ".".join(str(part) for part in location) or "arguments")
    return path if len(path) <= MAX_FIELD_LENGTH else f"{path[:MAX_FIELD_LENGTH]}..."


def _reason(kind: str, message: str, expected: str = "") -> str:
    if kind in REASONS:
        required = expected and kind in ("missing", "missing_argument")
        return f"{REASONS[kind]}: {expected}" if required else REASONS[kind]
    for beginning, name in EXPECTED.items():
        if kind.startswith(beginning):
            return f"should be {expected or TYPES[name]}"
    reason = message.removeprefix("Value error, ").removeprefix("Input ")
    if kind in ("literal_error", "enum"):
        reason = reason.replace("should be ", "should be one of ", 1)
    return (reason[:1].lower() + reason[1:])[:MAX_REASON_LENGTH]
