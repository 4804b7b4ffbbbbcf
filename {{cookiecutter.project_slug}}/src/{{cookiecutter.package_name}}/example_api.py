"""A small in-process API for the first steps: `API_BASE_URL=example`.

It has users, resources, and an issue tracker that keeps issues until the server stops. To remove
it, delete this file and, in upstream.py, the import and the use of `example_api`.
"""

import json
from typing import Any
from urllib.parse import unquote

import httpx2 as httpx

USERS = {"1": "Ada", "2": "Grace", "3": "Radia"}
FIRST_ISSUES = {"The build is red": "open", "The docs have a typo": "closed"}
STATES = ("open", "closed")
MAX_ISSUES = 100
MAX_TITLE_LENGTH = 200

Json = dict[str, Any]


class Refused(Exception):
    """The API rejects a request."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


class ExampleApi:
    """Answers `users`, `users/1`, `resources/<any id>`, `issues?state=open` and `issues/1`.

    POST `issues` creates an issue, once for each `Idempotency-Key`. PATCH `issues/1` changes the
    title or the state.
    """

    def __init__(self) -> None:
        self._issues: list[Json] = []
        self._created: dict[str | None, Json] = {}
        for title, state in FIRST_ISSUES.items():
            self._add(title)["state"] = state

    def answer(self, request: httpx.Request) -> httpx.Response:
        try:
            return self._answer(request)
        except Refused as refused:
            return httpx.Response(refused.status, json={"error": str(refused)})

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.raw_path.decode("ascii").partition("?")[0]
        segments = [unquote(segment) for segment in path.strip("/").split("/")]
        match segments:
            case _ if request.method in ("GET", "HEAD"):
                return httpx.Response(200, json=self._read(segments, request.url.params))
            case ["issues"] if request.method == "POST":
                issue = self._create(_body(request), request.headers.get("idempotency-key"))
                return httpx.Response(201, json=issue)
            case ["issues", number] if request.method == "PATCH":
                return httpx.Response(200, json=self._change(self._find(number), _body(request)))
        raise Refused(405, "method not allowed")

    def _read(self, segments: list[str], params: httpx.QueryParams) -> Json:
        match segments:
            case [""]:
                return {"name": "example API"}
            case ["users"]:
                return {"users": [{"id": key, "name": name} for key, name in USERS.items()]}
            case ["users", key] if key in USERS:
                return {"id": key, "name": USERS[key]}
            case ["resources", key]:
                return {"id": key, "text": f"Resource {key}"}
            case ["issues"]:
                return {"issues": self._list(params.get("state"))}
            case ["issues", number]:
                return self._find(number)
        raise Refused(404, "not found")

    def _list(self, state: str | None) -> list[Json]:
        if state is not None:
            _check_state(state)
        return [issue for issue in self._issues if state in (None, issue["state"])]

    def _find(self, number: str) -> Json:
        for issue in self._issues:
            if str(issue["id"]) == number:
                return issue
        raise Refused(404, "not found")

    def _create(self, body: Json, key: str | None) -> Json:
        if key in self._created:
            return self._created[key]
        title = _checked_title(body)
        if len(self._issues) >= MAX_ISSUES:
            raise Refused(409, f"the example holds at most {MAX_ISSUES} issues")
        issue = self._add(title)
        if key is not None:
            self._created[key] = issue
        return issue

    def _change(self, issue: Json, body: Json) -> Json:
        title = _checked_title({"title": issue["title"], **body})
        state = body.get("state", issue["state"])
        _check_state(state)
        issue.update(title=title, state=state)
        return issue

    def _add(self, title: str) -> Json:
        issue = {"id": len(self._issues) + 1, "title": title, "state": "open"}
        self._issues.append(issue)
        return issue


def _body(request: httpx.Request) -> Json:
    try:
        body = json.loads(request.content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "the body must be a JSON object")
    return body


def _checked_title(body: Json) -> str:
    title = body.get("title")
    if not isinstance(title, str) or not title.strip():
        raise Refused(422, "title is required")
    if len(title) > MAX_TITLE_LENGTH:
        raise Refused(422, f"title is longer than {MAX_TITLE_LENGTH} characters")
    return title


def _check_state(state: object) -> None:
    if state not in STATES:
        raise Refused(422, f"state must be {' or '.join(STATES)}")


def example_api() -> httpx.MockTransport:
    return httpx.MockTransport(ExampleApi().answer)
