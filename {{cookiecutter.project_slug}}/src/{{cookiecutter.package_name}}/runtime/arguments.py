"""Answer bad arguments in the server's own words.

FastMCP answers with pydantic's report: it names internals, links to another project's
documentation and repeats the input, so that 128 KB of unknown keys come back as 2 MB. A model
needs the field and the reason.
"""

import json
import re
from typing import Any

from fastmcp.exceptions import ValidationError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from pydantic import ValidationError as PydanticValidationError

from .errors import ToolFailure

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


def describe(error: PydanticValidationError) -> InvalidArguments:
    """Turn pydantic's report into one sentence and a list of `{field, reason}`."""
    report = error.errors(include_url=False, include_context=False, include_input=False)
    problems: list[dict[str, str]] = []
    for problem in report[:MAX_PROBLEMS]:
        problems.append(
            {"field": _field(problem["loc"]), "reason": _reason(problem["type"], problem["msg"])}
        )
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
