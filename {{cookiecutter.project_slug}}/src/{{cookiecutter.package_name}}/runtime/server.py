"""FastMCP with this project's checks, however it is started.

FastMCP's own HTTP server checks neither Host nor Origin, and its runner skips teardown on SIGTERM.
The command, `fastmcp run` and apps that mount `http_app()` all use this class instead.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth import AuthProvider
from fastmcp.server.http import StarletteWithLifespan
from mcp.server.context import ServerMiddleware
from starlette.middleware import Middleware

from ..settings import check_settings
from .exchange import exchange_singly
from .guards import AllowedOrigins, HostAndOrigin, PublicAddress
from .http import PATH, check_address, drained, uvicorn_config
from .logs import configure_logging
from .messages import WellFormedMessages
from .paths import EndpointPaths
from .proxies import TrustedProxies
from .serving import ServingSettings
from .stdio import reserve_stdio, serve_wire

logger = logging.getLogger(__name__)

# Open while the server runs. What it yields sees each message before everything else.
Extension = Callable[[FastMCP[Any]], AbstractAsyncContextManager[ServerMiddleware[Any] | None]]


class Server(FastMCP[Any]):
    """A FastMCP server with Host and Origin checks, size limits and a clean shutdown.

    `log_format` formats its log lines. `authentication` returns the `auth` of a server that
    was created without one; it is called when the server is about to serve HTTP, so it may read
    settings. `http_middleware` sees a request after its token and its message were checked.
    Each of `extensions` is opened before the rest of the lifespan and closed after it.
    """

    log_format: logging.Formatter | None = None
    authentication: Callable[[], AuthProvider | None] | None = None
    http_middleware: Sequence[Middleware] = ()
    extensions: tuple[Extension, ...] = ()

    @property
    def auth(self) -> AuthProvider | None:
        """Who may call over HTTP; None for everyone."""
        if self._auth is None and self.authentication is not None:
            return self.authentication()
        return self._auth

    @auth.setter
    def auth(self, auth: AuthProvider | None) -> None:
        self._auth = auth

    def http_app(self, *args: Any, **options: Any) -> StarletteWithLifespan:
        """Return a Starlette app, to be served or mounted in another app with its `lifespan`.

        Of FastMCP's arguments, `path` and `middleware` apply; settings determine the rest.

        Raises:
            ValueError: the transport is SSE, which is not supported.
        """
        settings = ServingSettings()
        if options.get("transport") == "sse":
            raise ValueError("SSE is not supported; use streamable HTTP (--transport http)")
        path = (args[0] if args else options.get("path")) or PATH
        # FastMCP 4.2 imports its session store, 400 modules, in the first handshake-era call, and
        # has no public way to do so earlier.
        _ = getattr(self, "_state_store", None)
        origins = settings.allowed_origins
        app = super().http_app(
            path=path,
            stateless_http=not settings.http_sessions,
            json_response=False,  # True would lose progress
            host_origin_protection=False,  # see HostAndOrigin
            middleware=[
                Middleware(WellFormedMessages, path=path),
                *self.http_middleware,
                *(options.get("middleware") or []),
            ],
        )
        if not settings.http_sessions:
            exchange_singly(app)
        if origins:
            # Outside the token check: a preflight has no token, and web pages read refusals.
            app.add_middleware(AllowedOrigins, origins=origins)
        public = urlsplit(settings.public_url)
        app.add_middleware(
            HostAndOrigin,
            hosts=[*settings.allowed_hosts, *([public.hostname] if public.hostname else [])],
            origins=[*origins, *([f"{public.scheme}://{public.netloc}"] if public.netloc else [])],
        )
        app.add_middleware(EndpointPaths, path=path, prefix=public.path)
        app.add_middleware(TrustedProxies, proxies=settings.trusted_proxies)
        if app.state.fastmcp_auth is None and not settings.allow_unauthenticated:
            app.add_middleware(PublicAddress)
        for name, values in (("HOSTS", settings.allowed_hosts), ("ORIGINS", origins)):
            if "*" in values:
                logger.warning("ALLOWED_%s=*: this check is off", name)
        return app

    async def run_http_async(self, *_args: Any, **options: Any) -> None:
        """Serve HTTP until a signal; `fastmcp run --transport http` and `run()` call this.

        Raises:
            InvalidSettings: a setting is invalid, or the address is public and the server does not
                require authentication.
        """
        check_settings()
        configure_logging(self.log_format)
        settings = ServingSettings()
        host = options.get("host") or settings.http_host
        port = settings.http_port if options.get("port") is None else options["port"]
        check_address(self, host)
        own = {name: options.get(name) for name in ("path", "middleware", "transport")}
        app = drained(self, self.http_app(**own))
        await uvicorn.Server(uvicorn_config(app, host, port)).serve(options.get("sockets"))

    async def run_stdio_async(self, *_args: Any, **_options: Any) -> None:
        """Serve stdio until stdin ends or a signal arrives; `fastmcp run` calls this too."""
        check_settings()
        configure_logging(self.log_format)
        await serve_wire(self, reserve_stdio())
