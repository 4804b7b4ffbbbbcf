"""The failures of a request to the API, with messages that a model can act on.

The error body of an API often says what is wrong with a request. A model that reads this can
correct itself, so the reason is quoted, but as untrusted text: one short line, without secrets.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from pydantic import JsonValue

from .errors import ToolFailure

BAD_REQUEST = 400
UNAUTHORIZED = 401
FORBIDDEN = 403
NOT_FOUND = 404
GONE = 410
UNPROCESSABLE = 422
TOO_MANY_REQUESTS = 429
SERVER_ERROR = 500

# For the other 4xx codes, the message is the code and the reason that the API gives.
SENTENCES = {
    405: "The API does not allow this method here (405)",
    409: "The request conflicts with the current state of the API's data (409)",
    412: "The data has changed since it was read (412)",
    413: "The request is too large for the API (413)",
    423: "The resource is locked (423)",
    428: "The API requires a condition, such as an If-Match header (428)",
}

MAX_REASON_LENGTH = 300
MAX_REASONS = 5
MAX_REASON_DEPTH = 5
# Where APIs put their reasons: {"error": ...} and {"message": ...}, RFC 9457, FastAPI, OAuth.
REASONS = ("title", "error", "message", "msg", "detail", "error_description", "errors")
PLACES = ("loc", "field", "param", "pointer", "property")

REDACTED = "[redacted]"
SECRET_NAME = r"(?:authorization|api[-_]?key|token|passw(?:or)?d|secret)"  # noqa: S105
SECRETS = (
    # name=value, name: value, "name": "value"
    re.compile(
        rf"({SECRET_NAME}"
        r"[\w.-]{0,40}['\"]?\s*[:=]\s*)"
        r"(?:(?:bearer|basic|token)\s+)?(?:'[^']*'|\"[^\"]*\"|[^\s'\",;&]+)",
        re.IGNORECASE,
    ),
    re.compile(r"(\b(?:bearer|basic)\s+)[\w.~+/=-]+", re.IGNORECASE),
    re.compile(r"(://[^\s/:@]*:)[^\s/@]+(?=@)"),  # scheme://user:password@host
    re.compile(r"(\b)eyJ[\w-]+\.[\w-]+\.[\w-]*"),  # a JSON Web Token
)


class RequestRefused(ToolFailure):
    """The request is invalid and was not sent."""


class EndpointRefused(RequestRefused):
    """The path or a redirect leads outside the API. Nothing was sent there."""


class UpstreamNotConfigured(ToolFailure):
    """The API is not configured."""


class UpstreamFailure(ToolFailure):
    """The API did not return a usable response."""


class UpstreamRejected(UpstreamFailure):
    """The API rejected the request as invalid."""


class UpstreamNotFound(UpstreamFailure):
    """Nothing exists at the path, or no longer does."""


class UpstreamTimeout(UpstreamFailure):
    """The API did not respond in time."""


class UpstreamBusy(UpstreamFailure):
    """The API's rate limit is reached."""


def status_failure(status: int, headers: Mapping[str, str], reason: str = "") -> UpstreamFailure:
    """Return the failure for an error status; `reason` is what `reason_in` found.

    429 is retryable for any method, because the API did not process the request.
    """
    match status:
        case 400 | 422:
            sentence = f"The API rejects the request ({status})"
            return UpstreamRejected(_quoting(sentence, reason), status=status)
        case 401 | 403:  # without the reason, which may quote the credential
            return UpstreamFailure(
                f"The API refused this server's credential ({status}): its operator should check"
                " API_KEY.",
                status=status,
            )
        case 404:
            return UpstreamNotFound("The API has nothing at this path (404).", status=status)
        case 410:
            return UpstreamNotFound("The resource at this path is gone (410).", status=status)
        case 429:
            after = headers.get("retry-after", "")
            hint = f" Retry-After: {after[:40]}." if after else ""
            return UpstreamBusy(
                f"The API's rate limit is reached (429).{hint}", retryable=True, status=status
            )
    return UpstreamFailure(
        _quoting(SENTENCES.get(status, f"The API answered {status}"), reason),
        retryable=status >= SERVER_ERROR,
        status=status,
    )


def has_reason(status: int) -> bool:
    """Return whether the body of a response with `status` is searched for a reason."""
    silent = (UNAUTHORIZED, FORBIDDEN, NOT_FOUND, GONE, TOO_MANY_REQUESTS)
    return BAD_REQUEST <= status < SERVER_ERROR and status not in silent


def reason_in(body: JsonValue, secrets: Iterable[str] = ()) -> str:
    """Return the reason in an error body, as one line of at most 300 characters, or "".

    Supports `{"error": "..."}`, `{"message": "..."}`, problem details (RFC 9457), FastAPI's list
    of `detail`, and similar formats. `secrets`, and values that look like secrets by format or by
    name, are redacted.
    """
    reasons = []
    for reason in _reasons(body):
        line = redacted(_one_line(reason), secrets)
        if line and line not in reasons:
            reasons.append(line)
        if len(reasons) == MAX_REASONS:
            break
    text = "; ".join(reason.rstrip(".") for reason in reasons)
    return text if len(text) <= MAX_REASON_LENGTH else text[: MAX_REASON_LENGTH - 1] + "…"


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without `secrets`, and without anything that looks like one."""
    for secret in filter(None, secrets):
        text = text.replace(secret, REDACTED)
    for form in SECRETS:
        text = form.sub(rf"\1{REDACTED}", text)
    return text


def _quoting(sentence: str, reason: str) -> str:
    text = f"{sentence}: {reason}" if reason else sentence
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _one_line(text: str) -> str:
    """Replace control characters, line breaks and invisible characters with spaces."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())


def _reasons(value: JsonValue, place: str = "", depth: int = MAX_REASON_DEPTH) -> Iterator[str]:
    """Yield the texts that give a reason, each with the field that it refers to."""
    match value:
        case str():
            yield f"{value} ({place})" if place else value
        case list() if depth:
            for item in value[:MAX_REASONS]:
                yield from _reasons(item, place, depth - 1)
        case dict() if depth:
            place = _place(value) or place
            for name in REASONS:
                part = value.get(name)
                if name == "errors" and isinstance(part, dict):  # reasons by field
                    yield from _reasons_by_field(part, depth - 1)
                else:
                    yield from _reasons(part, place, depth - 1)


def _reasons_by_field(fields: dict[str, JsonValue], depth: int) -> Iterator[str]:
    for field, reason in fields.items():
        if re.search(SECRET_NAME, field, re.IGNORECASE):
            yield f"not valid ({field})"
        else:
            yield from _reasons(reason, field, depth)


def _place(error: dict[str, JsonValue]) -> str:
    for name in PLACES:
        match error.get(name):
            case str() as place:
                return place
            case list() as steps:
                return ".".join(str(step) for step in steps if isinstance(step, str | int))
    return ""
