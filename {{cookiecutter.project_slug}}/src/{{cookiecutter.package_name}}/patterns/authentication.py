"""Only let in callers with a valid token, and tell tools who is calling.

A server that others can reach must know who is calling. FastMCP's defaults accept tokens that
never expire, and tell every user to log in again while the identity provider is down. Here a
token must have an issuer, an audience, a subject and an expiry. A caller without a scope learns
which one is missing. During an outage of the provider, only tokens with unknown keys are refused,
with a 503.
"""

import asyncio
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import anyio
import starlette.middleware as asgi
from fastmcp.dependencies import Depends
from fastmcp.server.auth import AccessToken, AuthProvider, JWTVerifier
from fastmcp.server.auth.auth import TokenVerificationError
from fastmcp.server.dependencies import get_access_token
from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, InvalidClaimError, JoseError, MissingClaimError
from joserfc.jwk import JWKRegistry, Key
from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.routes import build_resource_metadata_url
from pydantic import AnyHttpUrl, Field, SecretStr, field_validator, model_validator
from starlette.authentication import AuthCredentials
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from ..runtime.caller import caller_name
from ..runtime.encrypted_store import IN_MEMORY, checked_store_url, is_in_memory, open_store
from ..runtime.guards import is_public
from ..runtime.messages import MESSAGE
from ..runtime.paths import route_path
from ..runtime.server import Server
from ..settings import CommaSeparated, Settings

if TYPE_CHECKING:
    from fastmcp.server.auth.oidc_proxy import OIDCProxy

auth_log = logging.getLogger(__name__)

Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"
]
KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
# What joserfc raises for tokens and keys that are malformed; a deeply nested one is the last.
MALFORMED = (JoseError, ValueError, TypeError, KeyError, RecursionError)
METADATA_PATH = "/.well-known/oauth-protected-resource"
# Total timeout of a request to the identity provider.
FETCH_SECONDS = 5
# The same for a login, where deriving keys takes another second or two.
LOGIN_SECONDS = 20
# How often keys are fetched at most: a burst, then one per interval.
FETCH_BURST = 3
FETCH_INTERVAL_SECONDS = 10
# How long a key id that the provider did not know is refused without asking again.
MISSING_SECONDS = 10
MAX_MISSING = 1000
# How many rejections of one address are logged and answered in a minute.
REJECTIONS_PER_MINUTE = 100
MAX_ADDRESSES = 10_000
MAX_CLIENT_LENGTH = 100

MIN_KEY_LENGTH = 32
# Where a login may redirect the browser, besides `AUTH_REDIRECT_URIS`.
LOOPBACK_URIS = ("http://127.0.0.1:*", "http://localhost:*", "http://[::1]:*")
AUTHORIZATION_METADATA = (
    "/.well-known/oauth-authorization-server",
    "/.well-known/openid-configuration",
)
LOGIN_PATHS = ("/authorize", "/token", "/register", "/revoke", "/consent", "/auth/callback")

RESOURCE_SERVER = ("auth_issuer", "auth_audience")
KEY_SOURCES = ("auth_jwks_url", "auth_public_key")
OIDC = ("oidc_config_url", "oidc_client_id", "oidc_client_secret")
LOGIN_ONLY = ("auth_signing_key", "auth_redirect_uris", "auth_store_url")


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
    auth_jwks_seconds: int = Field(300, ge=10, le=86_400)
    oidc_config_url: str = ""
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr = SecretStr("")
    auth_signing_key: SecretStr = SecretStr("")
    auth_redirect_uris: CommaSeparated = ()
    auth_store_url: SecretStr = SecretStr(IN_MEMORY)
    workers: int = Field(1, ge=1, le=64)
    public_url: str = ""
    http_host: str = "127.0.0.1"
    http_port: int = Field(8000, ge=0, le=65535)
    environment: Literal["development", "staging", "production"] = "development"

    @field_validator("auth_issuer", "auth_jwks_url", "oidc_config_url")
    @classmethod
    def _is_a_url(cls, url: str) -> str:
        with suppress(ValueError):
            if not url or AnyHttpUrl(url):
                return url
        raise ValueError("must be a URL such as https://login.example.com/")

    @field_validator("auth_scopes", "auth_write_scopes")
    @classmethod
    def _are_scopes(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(part for scope in scopes for part in scope.split()))
        if any(not part.isascii() or set('"\\') & set(part) for part in found):
            raise ValueError("must be names of scopes separated by commas, such as read,write")
        return found

    @field_validator("auth_redirect_uris")
    @classmethod
    def _are_exact_uris(cls, uris: tuple[str, ...]) -> tuple[str, ...]:
        for uri in uris:
            parts = urlsplit(uri)
            if "*" in uri or parts.scheme in {"", "http"} or not parts.netloc:
                raise ValueError(
                    "must be complete https URIs, such as https://claude.ai/api/mcp/auth_callback;"
                    " loopback addresses are always allowed"
                )
        return uris

    @field_validator("auth_store_url")
    @classmethod
    def _is_a_store(cls, url: SecretStr) -> SecretStr:
        checked_store_url(url.get_secret_value())
        return url

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self._given(OIDC):
            self._require(OIDC)
            self._refuse(("auth_issuer", *KEY_SOURCES), "together with OIDC_CONFIG_URL")
            self._check_login()
        else:
            self._refuse(LOGIN_ONLY, "without OIDC_CONFIG_URL")
            if self._given((*RESOURCE_SERVER, *KEY_SOURCES)):
                self._require(RESOURCE_SERVER)
                self._check_keys()
            else:
                self._refuse(("auth_scopes", "auth_write_scopes"), "without AUTH_ISSUER")
        if self.is_configured and not self.public_url and is_public(self.http_host):
            raise ValueError(
                "PUBLIC_URL: is required, such as https://mcp.example.com; clients look there for"
                " how to get a token"
            )
        return self

    def _given(self, names: Iterable[str]) -> list[str]:
        defaults = type(self).model_fields
        return [name for name in names if getattr(self, name) != defaults[name].default]

    def _require(self, names: Iterable[str]) -> None:
        for name in names:
            if not self._given([name]):
                raise ValueError(f"{name.upper()}: is required when authentication is configured")

    def _refuse(self, names: Iterable[str], where: str) -> None:
        for name in self._given(names):
            raise ValueError(f"{name.upper()}: has no effect {where}")

    def _check_keys(self) -> None:
        if len(self._given(KEY_SOURCES)) != 1:
            raise ValueError("AUTH_JWKS_URL: set either this or AUTH_PUBLIC_KEY")
        self._check_encrypted("auth_jwks_url")
        if self.auth_public_key:
            _public_key(self.auth_public_key, self.auth_algorithm)

    def _check_login(self) -> None:
        self._check_encrypted("oidc_config_url")
        self._check_encrypted("public_url")
        key = self.auth_signing_key.get_secret_value()
        if key and len(key) < MIN_KEY_LENGTH:
            raise ValueError(f"AUTH_SIGNING_KEY: must have {MIN_KEY_LENGTH} characters or more")
        if self.environment == "production" or self.workers > 1:
            where = "in production" if self.environment == "production" else "for several workers"
            if not key:
                raise ValueError(f"AUTH_SIGNING_KEY: is required {where}: openssl rand -hex 32")
            if is_in_memory(self.auth_store_url.get_secret_value()):
                raise ValueError(
                    f"AUTH_STORE_URL: a shared store is required {where}, such as redis://host;"
                    " in memory, logins are lost at a restart and unknown to other processes"
                )

    def _check_encrypted(self, name: str) -> None:
        url = urlsplit(getattr(self, name))
        is_plain = url.scheme == "http" and is_public(url.hostname or "")
        if is_plain and self.environment == "production":
            raise ValueError(f"{name.upper()}: must begin with https:// in production")

    @property
    def is_configured(self) -> bool:
        return bool(self.auth_issuer or self.oidc_config_url)

    @property
    def base_url(self) -> str:
        """The URL of the server, without the path of the endpoint."""
        host = f"[{self.http_host}]" if ":" in self.http_host else self.http_host
        return self.public_url.rstrip("/") or f"http://{host}:{self.http_port}"


@dataclass(frozen=True)
class Identity:
    """Who is calling: a user (`subject`) of a client (`client_id`), as `issuer` says.

    Without a token, the subject is `local` on stdio, else the network address, and the issuer is
    empty.
    """

    subject: str
    client_id: str
    issuer: str
    scopes: frozenset[str]
    claims: Mapping[str, Any]


def current_identity() -> Identity:
    """Return who makes the current call."""
    token = get_access_token()
    if token is None:
        return Identity(caller_name(), "", "", frozenset(), {})
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
    """A token that is not accepted. Its sender may read the text.

    `client` is the client id, if the signature is valid.
    """

    def __init__(self, reason: str, client: str = "") -> None:
        super().__init__(reason)
        self.client = client


class VerificationUnavailable(TokenVerificationError):
    """It is not known now whether a token is valid. `retry_after` is in seconds."""

    def __init__(self, what: str, retry_after: int) -> None:
        super().__init__(f"{what} cannot be reached now.")
        self.retry_after = retry_after


class ProviderRequests:
    """Limits requests to the identity provider, and shares each among all callers that wait.

    It allows `FETCH_BURST` requests at once, then one per `FETCH_INTERVAL_SECONDS`. `ask` raises
    if the provider does not answer as it should, and is cancelled after `seconds`.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        seconds: float = FETCH_SECONDS,
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._clock = clock
        self._allowance = float(FETCH_BURST)
        self._counted = clock()
        self._running: asyncio.Task[bool] | None = None

    def start(self) -> "asyncio.Task[bool] | None":
        """Return the current request or a new one, or None if it is too soon for a new one."""
        if self._running is not None and not self._running.done():
            return self._running
        self._update_allowance()
        if self._allowance < 1:
            return None
        self._allowance -= 1
        self._running = asyncio.create_task(self._run())
        return self._running

    async def finish(self) -> None:
        """Wait until the provider has answered.

        Raises:
            VerificationUnavailable: the request failed, or it is too soon for another one.
        """
        running = self.start()
        # Not awaited itself: others wait too, so it must continue when this caller is cancelled.
        if running is None or not (await asyncio.wait([running]))[0].pop().result():
            self._update_allowance()
            seconds = math.ceil((1 - self._allowance) * FETCH_INTERVAL_SECONDS)
            raise VerificationUnavailable("The identity provider", max(1, seconds))

    async def _run(self) -> bool:
        try:
            with anyio.fail_after(self._seconds):
                await self._ask()
        except Exception as error:  # noqa: BLE001 - whatever a provider answers
            text = str(error) or type(error).__name__
            auth_log.warning("The identity provider does not answer as it should: %s", text)
            return False
        return True

    def _update_allowance(self) -> None:
        now = self._clock()
        gained = (now - self._counted) / FETCH_INTERVAL_SECONDS
        self._allowance = min(self._allowance + gained, FETCH_BURST)
        self._counted = now


class SigningKeys:
    """The public keys of the identity provider, by key id.

    They are fetched with the first token, and again when a token names an unknown key or they are
    older than `seconds`: a withdrawn key is refused after that time. While the provider is down,
    known keys stay in use.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Any]],
        algorithm: str,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._algorithm = algorithm
        self._seconds = seconds
        self._clock = clock
        self._requests = ProviderRequests(self._refresh, clock)
        self._keys: dict[str | None, Key] = {}
        self._asked = self._fetched = -math.inf
        self._missing: OrderedDict[str | None, float] = OrderedDict()

    async def find(self, kid: str | None) -> Key | None:
        """Return the key of this id, or None if the provider has none.

        Raises:
            VerificationUnavailable: the provider could not be asked.
        """
        key = self._known(kid)
        if key is not None:
            now = self._clock()
            if now - self._fetched <= self._seconds / 2:
                return key
            if now - self._asked <= self._seconds:  # soon enough, or the provider is down
                self._requests.start()
                return key
            with suppress(VerificationUnavailable):
                await self._requests.finish()
            return self._known(kid)
        if self._clock() - self._missing.get(kid, -math.inf) < MISSING_SECONDS:
            return None
        await self._requests.finish()
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

    async def _refresh(self) -> None:
        self._asked = self._clock()
        self._keys = usable_keys(await self._fetch(), self._algorithm)
        self._fetched = self._clock()


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
            except MALFORMED:
                continue  # of a kind that is not known here (RFC 7517, section 5)
    if not found:
        raise ValueError(f"there is none for {algorithm}")
    return found


def _public_key(text: str, algorithm: str) -> Key:
    try:
        key = JWKRegistry.import_key(text.replace("\\n", "\n"), KEY_TYPES[algorithm[:2]])
    except MALFORMED:
        key = None
    if key is None or key.is_private:
        raise ValueError(f"AUTH_PUBLIC_KEY: must be a public key in PEM format, for {algorithm}")
    return key


@dataclass(frozen=True)
class TokenRules:
    """Which tokens are valid. Times are in seconds. `keys_for` is that of `SigningKeys`."""

    issuer: str
    audience: str
    algorithm: str = "RS256"
    clock_skew: int = 30
    longest: int = 86_400
    keys_for: int = 300


def token_rules(settings: AuthenticationSettings, issuer: str, audience: str) -> TokenRules:
    return TokenRules(
        issuer,
        audience,
        settings.auth_algorithm,
        settings.auth_clock_skew_seconds,
        settings.auth_max_token_seconds,
        settings.auth_jwks_seconds,
    )


class StrictVerifier(JWTVerifier):
    """Accepts a signed JWT that `rules` allow.

    It must have an issuer, an audience, a subject and an expiry.
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
        self._keys = SigningKeys(self._fetch_jwks, rules.algorithm, rules.keys_for)
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
        """Return the contents of a token.

        Raises:
            Rejected: it is not valid here.
            VerificationUnavailable: its key is unknown, and cannot be fetched now.
        """
        key = self._fixed or await self._keys.find(_key_id(token, self.algorithm))
        if key is None:
            raise Rejected("The identity provider has no such key.")
        try:
            registry = jws.JWSRegistry(algorithms=[self.algorithm], strict_check_header=False)
            claims = jwt.decode(token, key, algorithms=[self.algorithm], registry=registry).claims
        except MALFORMED:
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
        # In this form, an `exp` of NaN, which Python's JSON allows, is also too late.
        if not claims["exp"] <= time.time() + self._rules.longest + self._rules.clock_skew:
            raise Rejected("The token is valid for too long.", client)


def _key_id(token: str, algorithm: str) -> str | None:
    """Return the key id in the header of a token, which is not verified yet.

    Raises:
        Rejected: the token is not a JWT, or is signed with another algorithm.
    """
    try:
        header = jws.extract_compact(token.encode()).headers()
    except MALFORMED:
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


class Login:
    """The login of clients at an OpenID provider that does not let them register themselves.

    Clients register at this server, users log in at the provider, and the server issues its own
    tokens. It fetches the provider's configuration when a request first needs it, so it starts
    while the provider is down.
    """

    def __init__(
        self, create: Callable[[], "OIDCProxy"], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._create = create
        self._requests = ProviderRequests(self._open, clock, LOGIN_SECONDS)
        self._proxy: OIDCProxy | None = None
        self._router = Router()
        self.path = ""

    async def check(self, token: str) -> AccessToken:
        """Return what the provider knows about the user to whom this server issued the token."""
        proxy = await self._opened()
        found = await proxy.load_access_token(token)
        if not isinstance(found, AccessToken):
            raise Rejected("The token is not valid, or its login has ended.")
        return found

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of a login."""
        await self._opened()
        await self._router(scope, receive, send)

    async def _opened(self) -> "OIDCProxy":
        while self._proxy is None:
            await self._requests.finish()
        return self._proxy

    async def _open(self) -> None:
        proxy = await anyio.to_thread.run_sync(self._create, abandon_on_cancel=True)
        routes = [*proxy.get_routes(self.path), *proxy.get_well_known_routes(self.path)]
        self._router = Router(routes)
        self._proxy = proxy


def create_proxy(settings: AuthenticationSettings) -> "OIDCProxy":
    """Fetch the provider's configuration, and return the proxy that serves the login. This is slow.

    With `AUTH_AUDIENCE`, the provider's access token must be for it. Without it, the ID token is
    verified, because not every access token can be read.
    """
    # Half a second of imports, which a server without a login does not need.
    from fastmcp.server.auth.oidc_proxy import OIDCConfiguration, OIDCProxy  # noqa: PLC0415

    # It writes a traceback for an answer that is logged in one line here.
    logging.getLogger(OIDCProxy.__module__).setLevel(logging.CRITICAL)
    config_url = AnyHttpUrl(settings.oidc_config_url)
    found = OIDCConfiguration.get_oidc_configuration(
        config_url, strict=True, timeout_seconds=FETCH_SECONDS
    )
    audience = settings.auth_audience
    scopes = [*dict.fromkeys(("openid", *settings.auth_scopes, *settings.auth_write_scopes))]
    rules = token_rules(settings, str(found.issuer), audience or settings.oidc_client_id)

    class Proxy(OIDCProxy):
        async def authorize(self, client: Any, params: Any) -> str:
            """Also ask for an ID token, and for the scopes that every request needs."""
            asked = dict.fromkeys(("openid", *settings.auth_scopes, *(params.scopes or ())))
            return await super().authorize(client, params.model_copy(update={"scopes": [*asked]}))

    secret = settings.oidc_client_secret.get_secret_value()
    key = settings.auth_signing_key.get_secret_value() or secret
    return Proxy(
        config_url=config_url,
        timeout_seconds=FETCH_SECONDS,
        client_id=settings.oidc_client_id,
        client_secret=secret,
        audience=audience or None,
        token_verifier=StrictVerifier(rules, jwks_url=str(found.jwks_uri)),
        verify_id_token=not audience,
        forward_resource=bool(audience),
        base_url=settings.base_url,
        allowed_client_redirect_uris=[*LOOPBACK_URIS, *settings.auth_redirect_uris],
        valid_scopes=scopes,
        client_storage=open_store(
            "AUTH_STORE_URL",
            settings.auth_store_url.get_secret_value(),
            key,
            partial(VerificationUnavailable, "The store of logins", FETCH_INTERVAL_SECONDS),
        ),
        jwt_signing_key=key,
        require_authorization_consent=True,
    )


class LoginEndpoint:
    """An ASGI app that serves a login, or says when to retry."""

    def __init__(self, auth: "TokenAuth", login: Login) -> None:
        self._auth = auth
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._login.serve(scope, receive, send)
        except VerificationUnavailable as error:
            await self._auth.refuse(unavailable(error), scope, receive, send)


@dataclass(frozen=True)
class Refusal:
    """The answer to a request without a sufficient token (RFC 6750, section 3)."""

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
        # Clients ask without a token first, to learn where to get one.
        auth_log.log(
            logging.WARNING if refusal.error or refusal.retry_after else logging.INFO,
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
    """The server's authentication for FastMCP: the token check, the metadata and the routes.

    Calls of tools without `readOnlyHint` need `write_scopes` in addition to `scopes`.
    """

    def __init__(
        self,
        verifier: StrictVerifier | Login,
        *,
        base_url: str,
        authorization_server: str,
        scopes: Iterable[str] = (),
        write_scopes: Iterable[str] = (),
    ) -> None:
        super().__init__(base_url=base_url, required_scopes=[*scopes])
        self.check = verifier.check
        self._login = verifier if isinstance(verifier, Login) else None
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

    def get_middleware(self) -> list[asgi.Middleware]:
        return [asgi.Middleware(TokenGate, auth=self), asgi.Middleware(AuthContextMiddleware)]

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
        routes = [Route(path, show, methods=["GET"]) for path in paths]
        if self._login is not None:
            self._login.path = mcp_path or ""
            prefix = urlsplit(str(self.base_url)).path.rstrip("/")
            places = (f"{path}{end}" for path in AUTHORIZATION_METADATA for end in ("", prefix))
            endpoint = LoginEndpoint(self, self._login)
            routes += [Route(path, endpoint) for path in dict.fromkeys((*LOGIN_PATHS, *places))]
        return routes

    async def refuse(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and log it without the token."""
        address = (scope.get("client") or ("unknown",))[0]
        wait = self.rejections.seconds_to_wait(address, refusal)
        if wait and refusal.error:
            reason = "Too many rejected requests from this address."
            refusal = Refusal(HTTPStatus.TOO_MANY_REQUESTS, reason, retry_after=wait)
        await refusal.response(self.metadata_url)(scope, receive, send)


class TokenGate:
    """An ASGI wrapper that only passes on requests to the endpoint with a valid token."""

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
        sent = Headers(scope=scope).getlist("authorization")
        if len(sent) > 1:  # what is in front of this server may have looked at another one
            reason = "There is more than one Authorization header."
            return Refusal(HTTPStatus.BAD_REQUEST, reason, "invalid_request", scopes)
        kind, _, token = "".join(sent).partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            return Refusal(HTTPStatus.UNAUTHORIZED, "A token is required.", scopes=scopes)
        try:
            found = await self._auth.check(token.strip())
        except Rejected as error:
            return Refusal(
                HTTPStatus.UNAUTHORIZED, str(error), "invalid_token", scopes, error.client
            )
        except VerificationUnavailable as error:
            return unavailable(error)
        if missing := [name for name in scopes if name not in found.scopes]:
            return lacking(missing, scopes, found.client_id)
        return found


class WriteScopes:
    """An ASGI wrapper that refuses calls of writing tools without the scopes.

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
                refusal = lacking(missing, auth.all_scopes, user.username)
                await auth.refuse(refusal, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _writes(self, message: dict[str, Any]) -> bool:
        """Return whether a call may change something: its tool has no `readOnlyHint`."""
        name = (message.get("params") or {}).get("name")
        tool = await self._server.get_tool(name) if isinstance(name, str) else None
        hints = tool.annotations if tool else None
        return tool is not None and not (hints and hints.read_only_hint)


def unavailable(error: VerificationUnavailable) -> Refusal:
    """Return the refusal of a token that cannot be verified now."""
    return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error), retry_after=error.retry_after)


def lacking(missing: Iterable[str], scopes: Iterable[str], client: str) -> Refusal:
    """Return the refusal of a valid token that lacks scopes."""
    return Refusal(
        HTTPStatus.FORBIDDEN,
        f"The token lacks the scope {' '.join(missing)}.",
        "insufficient_scope",
        scopes,
        client,
    )


def token_auth(settings: AuthenticationSettings) -> TokenAuth | None:
    """Return the authentication that is configured, or None."""
    if not settings.is_configured:
        return None
    if settings.oidc_config_url:
        verifier: StrictVerifier | Login = Login(partial(create_proxy, settings))
    else:
        rules = token_rules(settings, settings.auth_issuer, settings.auth_audience)
        verifier = StrictVerifier(
            rules, jwks_url=settings.auth_jwks_url, public_key=settings.auth_public_key
        )
    return TokenAuth(
        verifier,
        base_url=settings.base_url,
        # With a login, this server is its own: the URL is as its metadata has it.
        authorization_server=settings.auth_issuer or str(AnyHttpUrl(settings.base_url)),
        scopes=settings.auth_scopes,
        write_scopes=settings.auth_write_scopes,
    )


def authenticate(server: Server, settings: AuthenticationSettings | None = None) -> None:
    """Require tokens over HTTP if this is configured; on stdio, none are needed."""
    server.authentication = lambda: token_auth(settings or AuthenticationSettings())
    write_scopes = asgi.Middleware(WriteScopes, server=server)
    server.http_middleware = [*server.http_middleware, write_scopes]
