"""A small API inside this process, for the first minutes: `API_BASE_URL=example`.

To remove it, delete this file and, in upstream.py, the import and the line that use
`EXAMPLE_API`.
"""

from urllib.parse import unquote

import httpx2 as httpx

USERS = {"1": "Ada", "2": "Grace", "3": "Radia"}


def answer(request: httpx.Request) -> httpx.Response:
    """Answer `users`, `users/1` and `resources/<any id>`."""
    path = request.url.raw_path.decode("ascii").partition("?")[0]
    match [unquote(segment) for segment in path.strip("/").split("/")]:
        case [""]:
            return httpx.Response(200, json={"name": "example API"})
        case ["users"]:
            users = [{"id": key, "name": name} for key, name in USERS.items()]
            return httpx.Response(200, json={"users": users})
        case ["users", key] if key in USERS:
            return httpx.Response(200, json={"id": key, "name": USERS[key]})
        case ["resources", key]:
            return httpx.Response(200, json={"id": key, "text": f"Resource {key}"})
        case _:
            return httpx.Response(404, json={"error": "not found"})


EXAMPLE_API = httpx.MockTransport(answer)
