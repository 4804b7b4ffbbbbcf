"""Let only callers with a valid token in, and tell tools who is calling.

A server that others can reach must know who is calling. FastMCP's defaults accept tokens that never
expire, and tell every user to log in again while the identity provider is down. Here a token must
name its issuer, its audience, its subject and an end; a caller who lacks a scope learns which, and
an outage of the provider is a 503 for the tokens of unknown keys, and nothing for the others.
"""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import anyio
from fastmcp.dependencies import Depends
from fastmcp.server.auth import AccessToken, AuthProvider, JWTVerifier
from fastmcp.server.auth.auth import TokenVerificationError
from fastmcp.server.dependencies import get_access_token
from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jwk import JWKRegistry, Key
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken as OAuthToken
from mcp.server.auth.routes import build_resource_metadata_url
from pydantic import Field, field_validator, model_validator
from starlette.authentication import AuthCredentials
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..runtime.caller import caller_name
from ..runtime.guards import is_public
from ..runtime.messages import MESSAGE
from ..runtime.paths import route_path
from ..runtime.server import Server
from ..settings import CommaSeparated, Settings

auth_log = logging.getLogger(__name__)

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"
]
KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
METADATA_PATH = "/.well-known/oauth-protected-resource"
# What an answer of the identity provider may take, all in all.
FETCH_SECONDS = 5
# Keys older than this are fetched again, while the known ones stay in use.
FRESH_SECONDS = 300
# How often keys are fetched at most: so many at once, then one per interval.
FETCH_BURST = 3
FETCH_INTERVAL_SECONDS = 10
# How long a key id that the provider did not know is refused without asking again.
MISSING_SECONDS = 10
MAX_MISSING = 1000
# How many rejections of one address are logged and answered in a minute.
REJECTIONS_PER_MINUTE = 100
MAX_ADDRESSES = 10_000
MAX_CLIENT_LENGTH = 100


class AuthenticationSettings(Settings):
    auth_issuer: str = ""
    auth_audience: str = ""
    auth_jwks_url: str = ""
    auth_public_key: str = ""
    auth_algorithm: Algorithm = "RS256"
    auth_scopes: CommaSeparated = ()
    auth_write_scopes: CommaSeparated = ()
    auth_clock_skew_seconds: int = Field(30, ge=0, le=300)
    auth_max_token_seconds: int = Field(86_400, ge=60)
    public_url: str = ""
    http_host: str = "127.0.0.1"
    http_port: int = Field(8000, ge=0, le=65535)
    environment: Literal["development", "staging", "production"] = "development"

    @field_validator("auth_issuer", "auth_jwks_url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        if url and not (urlsplit(url).scheme in {"http", "https"} and urlsplit(url).hostname):
            raise ValueError("must be a URL such as https://login.example.com/")
        return url

    @field_validator("auth_scopes", "auth_write_scopes")
    @classmethod
    def _are_scopes(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(part for scope in scopes for part in scope.split()))
        if any(not part.isascii() or set('"\\') & set(part) for part in found):
            raise ValueError("must be names of scopes, such as read, with commas between")
        return found

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        needed = ("auth_issuer", "auth_audience")
        keys = ("auth_jwks_url", "auth_public_key")
        given = [name for name in (*needed, *keys) if getattr(self, name)]
        if not given:
            if self.auth_scopes or self.auth_write_scopes:
                name = "AUTH_SCOPES" if self.auth_scopes else "AUTH_WRITE_SCOPES"
                raise ValueError(f"{name}: has no effect without AUTH_ISSUER")
            return self
        for name in needed:
            if not getattr(self, name):
                raise ValueError(f"{name.upper()}: is missing, and {given[0].upper()} is set")
        if bool(self.auth_jwks_url) == bool(self.auth_public_key):
            raise ValueError("AUTH_JWKS_URL: set either this or AUTH_PUBLIC_KEY")
        host = urlsplit(self.auth_jwks_url).hostname or ""
        plain = self.auth_jwks_url.lower().startswith("http:")
        if plain and self.environment == "production" and is_public(host):
            raise ValueError("AUTH_JWKS_URL: must begin with https:// in production")
        if self.auth_public_key:
            _public_key(self.auth_public_key, self.auth_algorithm)
        if not self.public_url and is_public(self.http_host):
            raise ValueError(
                "PUBLIC_URL: is missing; clients look there for how to get a token, for example"
                " https://mcp.example.com"
            )
        return self

    @property
    def is_configured(self) -> bool:
        return bool(self.auth_issuer)

    @property
    def base_url(self) -> str:
        """Where clients find the server, without the path of the endpoint."""
        host = f"[{self.http_host}]" if ":" in self.http_host else self.http_host
        return self.public_url.rstrip("/") or f"http://{host}:{self.http_port}"


@dataclass(frozen=True)
class Identity:
    """Who is calling: a user (`subject`) of a client (`client_id`), as `issuer` says.

    Without a token, the subject is `local` on stdio, else the network address, and the issuer is
    empty.
    """

    subject: str
    client_id: str = ""
    issuer: str = ""
    scopes: frozenset[str] = frozenset()
    claims: dict[str, Any] = field(default_factory=dict, repr=False)


def current_identity() -> Identity:
    """Return who makes the current call."""
    token = get_access_token()
    if token is None:
        return Identity(caller_name())
    return Identity(
        token.subject or token.client_id,
        token.client_id,
        str(token.claims.get("iss", "")),
        frozenset(token.scopes),
        token.claims,
    )


# A parameter of a tool that has this type is who calls it.
Caller = Annotated[Identity, Depends(current_identity)]


class Rejected(Exception):
    """A token that is not accepted; the text may be told to its sender.

    `client` is who has sent it, where its signature is valid.
    """

    def __init__(self, reason: str, client: str = "") -> None:
        super().__init__(reason)
        self.client = client


class KeysUnavailable(TokenVerificationError):
    """Whether a token is valid is not known now. `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__("The keys of the identity provider cannot be fetched now.")
        self.retry_after = retry_after


class SigningKeys:
    """The public keys of the identity provider, by key id.

    They are fetched at the first token, then again when they are old or when a token names a key
    that is not known. Unknown ids, which anyone can make up, cannot fetch more than
    `FETCH_BURST` times at once and then once per `FETCH_INTERVAL_SECONDS`. While the provider is
    down, known keys stay in use.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Any]],
        algorithm: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._algorithm = algorithm
        self._clock = clock
        self._keys: dict[str | None, Key] = {}
        self._fetched = -math.inf
        self._missing: OrderedDict[str | None, float] = OrderedDict()
        self._allowance = float(FETCH_BURST)
        self._counted = clock()
        self._fetching: asyncio.Task[bool] | None = None

    async def find(self, kid: str | None) -> Key | None:
        """Return the key of this id, or None if the provider has none.

        Raises:
            KeysUnavailable: the provider could not be asked.
        """
        key = self._known(kid)
        if key is not None:
            if self._clock() - self._fetched > FRESH_SECONDS:
                self._start_fetching()
            return key
        if self._clock() - self._missing.get(kid, -math.inf) < MISSING_SECONDS:
            return None
        fetching = self._start_fetching()
        # Not awaited itself: others wait for it too, so it goes on when this caller is cancelled.
        if fetching is None or not (await asyncio.wait([fetching]))[0].pop().result():
            raise KeysUnavailable(self._retry_after())
        key = self._known(kid)
        if key is None:
            self._missing[kid] = self._clock()
            self._missing.move_to_end(kid)
            if len(self._missing) > MAX_MISSING:
                self._missing.popitem(last=False)
        return key

    def _known(self, kid: str | None) -> Key | None:
        if kid is None:  # which is unambiguous if there is only one key
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(kid)

    def _start_fetching(self) -> "asyncio.Task[bool] | None":
        """Return the fetch that is under way or a new one; None if it is too soon for that."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        self._update_allowance()
        if self._allowance < 1:
            return None
        self._allowance -= 1
        self._fetching = asyncio.create_task(self._refresh())
        return self._fetching

    async def _refresh(self) -> bool:
        try:
            with anyio.fail_after(FETCH_SECONDS):
                found = usable_keys(await self._fetch(), self._algorithm)
        except Exception as error:  # noqa: BLE001 - whatever a provider answers
            text = str(error) or type(error).__name__
            auth_log.warning("The keys of the identity provider cannot be fetched: %s", text)
            return False
        self._keys = found
        self._fetched = self._clock()
        return True

    def _update_allowance(self) -> None:
        now = self._clock()
        gained = (now - self._counted) / FETCH_INTERVAL_SECONDS
        self._allowance = min(self._allowance + gained, FETCH_BURST)
        self._counted = now

    def _retry_after(self) -> int:
        self._update_allowance()
        return max(1, math.ceil((1 - self._allowance) * FETCH_INTERVAL_SECONDS))


def usable_keys(answer: Any, algorithm: str) -> dict[str | None, Key]:
    """Return the keys of a key set (RFC 7517) that may have signed with `algorithm`, by id.

    Raises:
        ValueError: there are none.
    """
    found: dict[str | None, Key] = {}
    for data in answer["keys"]:
        if (
            data.get("kty") == KEY_TYPES[algorithm[:2]]
            and data.get("use", "sig") == "sig"
            and data.get("alg", algorithm) == algorithm
        ):
            try:
                found[data.get("kid")] = JWKRegistry.import_key(data)
            except (JoseError, ValueError, TypeError, KeyError):
                continue  # of a kind that is not known here (RFC 7517, section 5)
    if not found:
        raise ValueError(f"there is none for {algorithm}")
    return found


def _public_key(text: str, algorithm: str) -> Key:
    try:
        key = JWKRegistry.import_key(text.replace("\\n", "\n"), KEY_TYPES[algorithm[:2]])
    except (JoseError, ValueError, TypeError):
        key = None
    if key is None or key.is_private:
        raise ValueError(f"AUTH_PUBLIC_KEY: must be a public key in PEM format, for {algorithm}")
    return key


@dataclass(frozen=True)
class TokenRules:
    """What a token must say; times are in seconds."""

    issuer: str
    audience: str
    algorithm: str = "RS256"
    clock_skew: int = 30
    longest: int = 86_400


class StrictVerifier(JWTVerifier):
    """Accepts a JWT that is signed, and that `rules` allow.

    A token must name its issuer, its audience, a subject and an end.
    """

    def __init__(self, rules: TokenRules, *, jwks_url: str = "", public_key: str = "") -> None:
        super().__init__(
            issuer=rules.issuer,
            audience=rules.audience,
            algorithm=rules.algorithm,
            jwks_uri=jwks_url or None,
            public_key=public_key or None,
        )
        self._rules = rules
        self._fixed = _public_key(public_key, rules.algorithm) if public_key else None
        self._keys = SigningKeys(self._fetch_jwks, rules.algorithm)
        self._claims = jwt.JWTClaimsRegistry(
            leeway=rules.clock_skew,
            iss={"essential": True, "value": rules.issuer},
            aud={"essential": True, "value": rules.audience},
            sub={"essential": True},
            exp={"essential": True},
        )

    async def verify_token(self, token: str) -> AccessToken | None:
        try:
            return await self.check(token)
        except Rejected:
            return None

    async def check(self, token: str) -> AccessToken:
        """Return what a token says.

        Raises:
            Rejected: it is not valid here.
            KeysUnavailable: the key that it names is not known, and cannot be fetched now.
        """
        key = self._fixed or await self._keys.find(_key_id(token, self.algorithm))
        if key is None:
            raise Rejected("The identity provider has no such key.")
        try:
            registry = jws.JWSRegistry(algorithms=[self.algorithm], strict_check_header=False)
            claims = jwt.decode(token, key, algorithms=[self.algorithm], registry=registry).claims
        except (JoseError, ValueError, TypeError):
            raise Rejected("The signature is not valid.") from None
        client = str(claims.get("client_id") or claims.get("azp") or claims.get("sub") or "")
        self._check_claims(claims, client)
        return AccessToken(
            token=token,
            client_id=client,
            scopes=_scopes_of(claims),
            expires_at=int(claims["exp"]),
            subject=claims["sub"],
            claims=claims,
        )

    def _check_claims(self, claims: dict[str, Any], client: str) -> None:
        try:
            self._claims.validate(claims)
        except ExpiredTokenError:
            raise Rejected("The token has expired.", client) from None
        except MissingClaimError as error:
            raise Rejected(f"The token lacks {error.claim}.", client) from None
        except InvalidClaimError as error:
            raise Rejected(f"The token is not valid here: see {error.claim}.", client) from None
        # Written so that an end that is NaN, which JSON in Python has, is too late.
        if not claims["exp"] <= time.time() + self._rules.longest + self._rules.clock_skew:
            raise Rejected("The token is valid for too long.", client)


def _key_id(token: str, algorithm: str) -> str | None:
    """Return the key id in the header of a token, which nobody has vouched for.

    Raises:
        Rejected: the token is not a JWT, or is signed with another algorithm.
    """
    try:
        header = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError, TypeError):
        raise Rejected("The token is not a JWT.") from None
    kid = header.get("kid")
    if header.get("alg") != algorithm or not isinstance(kid, str | None):
        raise Rejected("The token is signed with another algorithm.")
    return kid


def _scopes_of(claims: dict[str, Any]) -> list[str]:
    """Return the scopes (`scope` in RFC 8693, `scp` at some providers)."""
    scopes = claims.get("scope", claims.get("scp", ""))
    found = scopes.split() if isinstance(scopes, str) else scopes
    return [scope for scope in found if isinstance(scope, str)] if isinstance(found, list) else []


@dataclass(frozen=True)
class Refusal:
    """What a request without a sufficient token is answered with (RFC 6750, section 3)."""

    status: HTTPStatus
    reason: str
    error: str = ""
    scopes: Iterable[str] = ()
    client: str = ""
    retry_after: int = 0

    def response(self, metadata_url: str) -> Response:
        told = {
            "error": self.error,
            "error_description": self.reason if self.error else "",
            "scope": " ".join(self.scopes),
            "resource_metadata": metadata_url,
        }
        challenge = ", ".join(f'{name}="{value}"' for name, value in told.items() if value)
        headers = {"WWW-Authenticate": f"Bearer {challenge}", "Cache-Control": "no-store"}
        if self.retry_after:
            headers["Retry-After"] = str(self.retry_after)
        body = {"error": self.error or "unauthorized", "error_description": self.reason}
        return JSONResponse(body, self.status, headers)


class Rejections:
    """Counts the rejected requests of each address, and logs one line for each.

    Beyond `REJECTIONS_PER_MINUTE`, an address gets 429 and only the count is logged. Valid tokens
    are not affected: a proxy may send the requests of many callers.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # By address: the end of its minute, and how many rejections it has had.
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def seconds_to_wait(self, address: str, refusal: Refusal) -> int:
        """Count and log a rejection; return how long the address has to wait, or 0."""
        now = self._clock()
        end, count = self._counts.get(address, (0.0, 0))
        if now >= end:
            if count > REJECTIONS_PER_MINUTE:
                more = count - REJECTIONS_PER_MINUTE
                auth_log.warning("%d more requests of %s were rejected", more, address)
            end, count = now + 60, 0
        count += 1
        self._counts[address] = end, count
        self._counts.move_to_end(address)
        if len(self._counts) > MAX_ADDRESSES:
            self._counts.popitem(last=False)
        if count > REJECTIONS_PER_MINUTE:
            return math.ceil(end - now)
        auth_log.warning(
            "Rejected a request: %s",
            refusal.reason,
            extra={
                "status": int(refusal.status),
                "address": address,
                "client": refusal.client[:MAX_CLIENT_LENGTH],
                "rejections": count,
            },
        )
        return 0


class TokenAuth(AuthProvider):
    """What FastMCP asks about authentication: who may pass, and where the metadata is.

    `check` is as `StrictVerifier.check`. `write_scopes` are needed, besides `scopes`, to call a
    tool that does not say that it only reads.
    """

    def __init__(
        self,
        check: Callable[[str], Awaitable[AccessToken]],
        *,
        base_url: str,
        authorization_server: str,
        scopes: Iterable[str] = (),
        write_scopes: Iterable[str] = (),
    ) -> None:
        super().__init__(base_url=base_url, required_scopes=[*scopes])
        self.check = check
        self.rejections = Rejections()
        self.path = ""
        self.metadata_url = ""
        self.all_scopes = [*dict.fromkeys((*scopes, *write_scopes))]
        self._authorization_server = authorization_server

    async def verify_token(self, token: str) -> AccessToken | None:
        try:
            return await self.check(token)
        except Rejected:
            return None

    @property
    def scopes_supported(self) -> list[str]:
        return self.all_scopes

    def set_mcp_path(self, mcp_path: str | None) -> None:
        super().set_mcp_path(mcp_path)
        self.path = mcp_path or ""
        resource = self._get_resource_url(mcp_path)
        self.metadata_url = str(build_resource_metadata_url(resource)) if resource else ""

    def get_middleware(self) -> list[Middleware]:
        return [Middleware(TokenGate, auth=self), Middleware(AuthContextMiddleware)]

    def get_routes(self, mcp_path: str | None = None) -> list[Route]:
        """Serve the metadata (RFC 9728) at the path of the endpoint, and at the root."""
        self.set_mcp_path(mcp_path)
        metadata = {
            "resource": str(self._get_resource_url(mcp_path)),
            "authorization_servers": [self._authorization_server],
            "scopes_supported": self.scopes_supported,
            "bearer_methods_supported": ["header"],
        }

        async def show(_: Request) -> Response:
            return JSONResponse(metadata, headers={"Cache-Control": "public, max-age=3600"})

        paths = dict.fromkeys((urlsplit(self.metadata_url).path, METADATA_PATH))
        return [Route(path, show, methods=["GET"]) for path in paths]

    async def refuse(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and log it. The log never has the token."""
        address = (scope.get("client") or ("unknown",))[0]
        wait = self.rejections.seconds_to_wait(address, refusal)
        if wait and refusal.error:
            reason = "Too many rejected requests from this address."
            refusal = Refusal(HTTPStatus.TOO_MANY_REQUESTS, reason, retry_after=wait)
        await refusal.response(self.metadata_url)(scope, receive, send)


class TokenGate:
    """An ASGI wrapper that lets nobody to the endpoint without a valid token."""

    def __init__(self, app: ASGIApp, auth: TokenAuth) -> None:
        self._app = app
        self._auth = auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and route_path(scope) == self._auth.path:
            found = await self._admit(scope)
            if isinstance(found, Refusal):
                await self._auth.refuse(found, scope, receive, send)
                return
            scope["user"] = AuthenticatedUser(found)
            scope["auth"] = AuthCredentials(found.scopes)
        await self._app(scope, receive, send)

    async def _admit(self, scope: Scope) -> AccessToken | Refusal:
        scopes = self._auth.required_scopes
        kind, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            return Refusal(HTTPStatus.UNAUTHORIZED, "A token is required.", scopes=scopes)
        try:
            found = await self._auth.check(token.strip())
        except Rejected as error:
            return Refusal(
                HTTPStatus.UNAUTHORIZED, str(error), "invalid_token", scopes, error.client
            )
        except KeysUnavailable as error:
            return Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, str(error), retry_after=error.retry_after
            )
        if missing := [name for name in scopes if name not in found.scopes]:
            return lacking(missing, scopes, found)
        return found


class WriteScopes:
    """An ASGI wrapper that refuses calls of tools that change something without the scopes.

    The 403 names all scopes that the call needs, so that a client can ask its user for them.
    """

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app = app
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = scope.get(MESSAGE) or {}
        # Not so if the server was created with an `auth` of its own.
        auth = scope["app"].state.fastmcp_auth if message.get("method") == "tools/call" else None
        if isinstance(auth, TokenAuth):
            user: AuthenticatedUser = scope["user"]
            missing = [name for name in auth.all_scopes if name not in user.scopes]
            if missing and await self._writes(message):
                refusal = lacking(missing, auth.all_scopes, user.access_token)
                await auth.refuse(refusal, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _writes(self, message: dict[str, Any]) -> bool:
        """Tell whether a call may change something: its tool does not say that it only reads."""
        name = (message.get("params") or {}).get("name")
        tool = await self._server.get_tool(name) if isinstance(name, str) else None
        hints = tool.annotations if tool else None
        return tool is not None and not (hints and hints.read_only_hint)


def lacking(missing: Iterable[str], scopes: Iterable[str], token: OAuthToken) -> Refusal:
    """Return the refusal of a valid token that lacks scopes."""
    return Refusal(
        HTTPStatus.FORBIDDEN,
        f"The token lacks the scope {' '.join(missing)}.",
        "insufficient_scope",
        scopes,
        token.client_id,
    )


def token_auth(settings: AuthenticationSettings) -> TokenAuth | None:
    """Return what the settings say about tokens, or None if they say nothing."""
    if not settings.is_configured:
        return None
    rules = TokenRules(
        settings.auth_issuer,
        settings.auth_audience,
        settings.auth_algorithm,
        settings.auth_clock_skew_seconds,
        settings.auth_max_token_seconds,
    )
    verifier = StrictVerifier(
        rules, jwks_url=settings.auth_jwks_url, public_key=settings.auth_public_key
    )
    return TokenAuth(
        verifier.check,
        base_url=settings.base_url,
        authorization_server=settings.auth_issuer,
        scopes=settings.auth_scopes,
        write_scopes=settings.auth_write_scopes,
    )


def authenticate(server: Server, settings: AuthenticationSettings | None = None) -> None:
    """Let `server` require tokens over HTTP if the settings say so, and nothing on stdio."""
    server.authentication = lambda: token_auth(settings or AuthenticationSettings())
    server.http_middleware = [*server.http_middleware, Middleware(WriteScopes, server=server)]
