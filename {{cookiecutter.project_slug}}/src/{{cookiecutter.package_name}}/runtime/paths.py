"""Serve the endpoint at the paths that clients and proxies use for it.

Some clients write a slash after the path and do not follow a redirect, which behind TLS would also
lead from https to http. Some proxies pass on the path prefix of `PUBLIC_URL`, others strip it.
"""

from starlette.types import ASGIApp, Receive, Scope, Send


def route_path(scope: Scope) -> str:
    """Return the path below the prefix where the app is mounted, as Starlette's router sees it."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    below = path.removeprefix(root)
    return below if root and (not below or below.startswith("/")) else path


class EndpointPaths:
    """An ASGI wrapper that accepts `path` with a slash after it, and all paths below `prefix`."""

    def __init__(self, app: ASGIApp, path: str, prefix: str = "") -> None:
        self._app = app
        self._path = path
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = self._routed(scope)
        await self._app(scope, receive, send)

    def _routed(self, scope: Scope) -> Scope:
        path = route_path(scope)
        if self._prefix and path.startswith(f"{self._prefix}/"):
            path = path.removeprefix(self._prefix)
            scope = {**scope, "root_path": scope["path"].removesuffix(path)}
        if path == f"{self._path}/":
            scope = {**scope, "path": scope["path"].removesuffix("/")}
        return scope
