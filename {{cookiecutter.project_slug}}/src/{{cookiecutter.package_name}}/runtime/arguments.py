"""Answer bad arguments in the server's own words.

FastMCP answers with pydantic's report: it names internals, links to another project's
documentation and repeats the input, so that 128 KB of unknown keys come back as 2 MB. A model
needs the field and the reason.
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

MAX_PROBLEMS = 5
MAX_FIELD_LENGTH = 60
MAX_REASON_LENGTH = 160
# Of all problems together, as JSON: an answer holds them up to three times.
MAX_REPORT_LENGTH = 500

REASONS = {
    "missing": "is required",
    "missing_argument": "is required",
    "unexpected_keyword_argument": "is not a parameter of this tool",
    "extra_forbidden": "is not a known field",
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
            if isinstance(cause, PydanticValidationError):
                raise describe(cause) from error
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
    """Check the arguments of a prompt or a resource template, which come as texts.

    FastMCP would answer with pydantic's report for one and with no reason for the other, and
    write the value to the log.

    Raises:
        InvalidArguments: one is missing, or does not fit the type of its parameter.
    """
    problems: list[Problem] = []
    for name, (adapter, required) in parameters_of(getattr(component, "fn", None)).items():
        if name not in given:
            if required:
                problems.append(((name,), REASONS["missing"]))
            continue
        try:
            adapter.validate_python(given[name])
        except PydanticValidationError as error:
            try:
                adapter.validate_json(given[name])
            except (PydanticValidationError, TypeError):
                problems.extend(((name, *field), reason) for field, reason in _problems(error))
    if problems:
        raise _invalid(problems)


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


def describe(error: PydanticValidationError) -> InvalidArguments:
    """Turn pydantic's report into one sentence and a list of `{field, reason}`."""
    return _invalid(_problems(error))


def _problems(error: PydanticValidationError) -> list[Problem]:
    report = error.errors(include_url=False, include_context=False, include_input=False)
    return [(problem["loc"], _reason(problem["type"], problem["msg"])) for problem in report]


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


def _reason(kind: str, message: str) -> str:
    reason = message.removeprefix("Value error, ").removeprefix("Input ")
    return REASONS.get(kind, reason[:1].lower() + reason[1:])[:MAX_REASON_LENGTH]
