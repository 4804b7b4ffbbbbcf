"""Answer bad arguments in the server's own words.

FastMCP answers with pydantic's report: it names internals, links to another project's
documentation and repeats the input, so that 128 KB of unknown keys come back as 2 MB. A model
needs the field, the reason and the type that is expected.
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

from .errors import ToolFailure

Problem = tuple[tuple[int | str, ...], str]
Schema = Mapping[str, Any]

MAX_PROBLEMS = 5
MAX_FIELD_LENGTH = 60
MAX_REASON_LENGTH = 160
# Of all problems together, as JSON: an answer holds them up to three times.
MAX_REPORT_LENGTH = 500

MISSING = "is required"
REQUIRED = frozenset({"missing", "missing_argument"})
UNKNOWN = frozenset({"unexpected_keyword_argument", "extra_forbidden"})
TYPES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}


class InvalidArguments(ToolFailure):
    """The call does not fit the tool's input schema."""


class ReadableArguments(Middleware):
    """Name at most five bad fields and why, in under 2 KiB however large the input."""

    async def on_call_tool(
        self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]
    ) -> Any:
        try:
            return await call_next(context)
        except ValidationError as error:
            cause = error.__cause__
            if not isinstance(cause, PydanticValidationError):
                raise
            read = without_json_text(context.message.arguments or {}, cause)
            if read is None:
                raise await _describe_call(cause, context) from error
        message = context.message.model_copy(update={"arguments": read})
        try:
            return await call_next(context.copy(message=message))
        except ValidationError as error:
            cause = error.__cause__
            if not isinstance(cause, PydanticValidationError):
                raise
            raise await _describe_call(cause, context) from error

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


def without_json_text(
    arguments: dict[str, Any], error: PydanticValidationError
) -> dict[str, Any] | None:
    """Return the arguments with lists and objects that were sent as JSON text, or None if none was.

    Models often send "[1, 2]" for a list. Only an argument that was refused is read so, and one
    that may be a text never is.
    """
    read: dict[str, Any] = {}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        text = arguments.get(name)
        if isinstance(text, str) and not problem["type"].startswith("string_"):
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, list | dict):
                read[name] = value
    return {**arguments, **read} if read else None


async def _describe_call(
    error: PydanticValidationError, context: MiddlewareContext[Any]
) -> InvalidArguments:
    tool = None
    if context.fastmcp_context is not None:
        tool = await context.fastmcp_context.fastmcp.get_tool(context.message.name)
    return describe(error, tool.parameters if tool else None)


def check_texts(component: Any, given: Mapping[str, Any]) -> None:
    """Check the arguments of a prompt or a resource template, which come as texts.

    FastMCP would answer with pydantic's report for one and with no reason for the other, and
    write the value to the log.

    Raises:
        InvalidArguments: one is missing, or does not fit the type of its parameter.
    """
    problems: list[Problem] = []
    for name, (adapter, required) in parameters_of(getattr(component, "fn", None)).items():
        if name in given:
            misfits = _misfits(adapter, given[name])
            problems += [((name, *field), reason) for field, reason in misfits]
        elif required:
            problems.append(((name,), _with_hint(MISSING, adapter.json_schema())))
    if problems:
        raise _invalid(problems)


def _misfits(adapter: TypeAdapter[Any], text: Any) -> list[Problem]:
    """Return why a text is no value of a type, neither itself nor as JSON."""
    try:
        adapter.validate_python(text)
    except PydanticValidationError as error:
        try:
            adapter.validate_json(text)
        except PydanticValidationError:
            return _problems(error, {"properties": {"": adapter.json_schema()}})
    return []


@lru_cache(maxsize=1024)
def parameters_of(function: Any) -> dict[str, tuple[TypeAdapter[Any], bool]]:
    """Return the type of each parameter that a caller sets, and whether it is required."""
    if not callable(function):
        return {}
    hints = get_type_hints(function, include_extras=True)
    return {
        name: (TypeAdapter(hints.get(name, Any)), parameter.default is parameter.empty)
        for name, parameter in signature(function).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


def describe(error: PydanticValidationError, schema: Schema | None = None) -> InvalidArguments:
    """Turn pydantic's report into one sentence and a list of `{field, reason}`.

    `schema` is the JSON schema of all arguments: a reason names the type and an example from it.
    """
    return _invalid(_problems(error, schema or {}))


def _problems(error: PydanticValidationError, schema: Schema) -> list[Problem]:
    report = error.errors(include_url=False, include_context=False, include_input=False)
    properties = schema.get("properties", {})
    problems: list[Problem] = []
    for problem in report:
        location = problem["loc"]
        reason = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
        reason = reason[:1].lower() + reason[1:]
        if problem["type"] in REQUIRED:
            reason = MISSING
        if problem["type"] in UNKNOWN:
            known = f": choose from {', '.join(properties)}" if properties else ""
            reason = "is not a known field" + (known if len(location) == 1 else "")
        elif len(location) <= 1:
            reason = _with_hint(reason, properties.get(str(*location), {}))
        problems.append((location, reason[:MAX_REASON_LENGTH]))
    return problems


def _with_hint(reason: str, schema: Schema) -> str:
    """Add the type that is expected to what is missing, and an example if the schema has one."""
    kind = schema.get("type")
    expected = f": {TYPES[kind]}" if reason == MISSING and kind in TYPES else ""
    examples = [*schema.get("examples", []), *filter(None, [schema.get("default")])]
    example = json.dumps(examples[0])[:MAX_FIELD_LENGTH] if examples else ""
    return reason + expected + (f", such as {example}" if example else "")


def _invalid(report: Sequence[Problem]) -> InvalidArguments:
    problems: list[dict[str, str]] = []
    for location, reason in report[:MAX_PROBLEMS]:
        problems.append({"field": _field(location), "reason": reason})
        if len(json.dumps(problems)) > MAX_REPORT_LENGTH and len(problems) > 1:
            problems.pop()
            break
    text = "; ".join(f"{problem['field']} {problem['reason']}" for problem in problems)
    hidden = len(report) - len(problems)
    more = f"; and {hidden} more" if hidden else ""
    return InvalidArguments(f"Invalid arguments: {text}{more}.", fields=problems)


def _field(location: tuple[int | str, ...]) -> str:
    path = re.sub(r"[^\w.-]", "?", ".".join(str(part) for part in location) or "arguments")
    return path if len(path) <= MAX_FIELD_LENGTH else f"{path[:MAX_FIELD_LENGTH]}..."
