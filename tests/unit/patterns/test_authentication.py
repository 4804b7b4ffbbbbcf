"""Tokens in detail: every claim and header, keys that change, and a provider that is down."""

import asyncio
import hmac
import json
import logging
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import pytest
from fastmcp.server.auth import AccessToken
from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.registry import HeaderParameter
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from pydantic import ValidationError

from my_mcp_server.patterns.authentication import (
    FETCH_BURST,
    FETCH_INTERVAL_SECONDS,
    MISSING_SECONDS,
    REJECTIONS_PER_MINUTE,
    AuthenticationSettings,
    ProviderRequests,
    Refusal,
    Rejected,
    Rejections,
    SigningKeys,
    StrictVerifier,
    TokenRules,
    VerificationUnavailable,
    usable_keys,
)
from my_mcp_server.runtime.caller import (
    token_identity,
)

from ...production.authentication import ALGORITHM, Issuer

MODULE = SigningKeys.__module__
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
KEYS_FOR = 300  # seconds


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def verifier(issuer: Issuer) -> StrictVerifier:
    rules = TokenRules(issuer.url, issuer.audience, ALGORITHM, clock_skew=30, longest=3600)
    return StrictVerifier(rules, public_key=issuer.public_key)


NOW = int(time.time())
ACCEPTED: dict[str, dict[str, Any]] = {
    "as it should be": {},
    "an audience among others": {"aud": ["https://other.example", Issuer.audience]},
    "just expired": {"exp": NOW - 5},
    "soon valid": {"nbf": NOW + 25},
    "no client": {"client_id": None},
    "scopes as a list": {"scope": None, "scp": ["use"]},
}
REFUSED: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "https://other.example/mcp"},
    "the audience without its path": {"aud": "https://mcp.example"},
    "the audience and a slash": {"aud": "https://mcp.example/mcp/"},
    "no audience": {"aud": None},
    "an empty audience": {"aud": []},
    "a number as audience": {"aud": 7},
    "another issuer": {"iss": "https://other.example"},
    "the issuer and a slash": {"iss": "https://login.example/"},
    "no issuer": {"iss": None},
    "an issuer that is a list": {"iss": ["https://login.example"]},
    "expired": {"exp": NOW - 60},
    "no end": {"exp": None},
    "an end that is text": {"exp": str(NOW + 300)},
    "an end in the far future": {"exp": 10**18},
    "an infinite end": {"exp": float("inf")},
    "NaN as end": {"exp": float("nan")},
    "valid for longer than allowed": {"exp": NOW + 7200},
    "not yet valid": {"nbf": NOW + 3600},
    "issued in an hour": {"iat": NOW + 3600},
    "no subject": {"sub": None},
    "an empty subject": {"sub": ""},
    "a subject that is a number": {"sub": 7},
}


@pytest.mark.parametrize("claims", ACCEPTED.values(), ids=ACCEPTED)
async def test_a_token_is_accepted_with(
    verifier: StrictVerifier, issuer: Issuer, claims: dict[str, Any]
) -> None:
    token = await verifier.check(issuer.token(**{"scope": "use", **claims}))
    assert (token.subject, token.scopes) == ("ada", ["use"])


@pytest.mark.parametrize("claims", REFUSED.values(), ids=REFUSED)
async def test_a_token_is_refused_with(
    verifier: StrictVerifier, issuer: Issuer, claims: dict[str, Any]
) -> None:
    token = issuer.token(**{"scope": "use", **claims})
    with pytest.raises(Rejected):
        await verifier.check(token)
    assert await verifier.verify_token(token) is None


def signed(issuer: Issuer, key: Key, **header: Any) -> str:
    return issuer.token(key=key, header=header)


def encoded(part: Any) -> str:
    return urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def unsigned(issuer: Issuer, algorithm: str) -> str:
    return f"{encoded({'alg': algorithm})}.{issuer.token().split('.')[1]}."


def sealed(issuer: Issuer) -> str:
    """Return a token whose signature a verifier would make with the public key as a secret."""
    content = f"{encoded({'alg': 'HS256'})}.{issuer.token().split('.')[1]}"
    seal = hmac.digest(issuer.public_key.encode(), content.encode(), "sha256")
    return f"{content}.{urlsafe_b64encode(seal).decode().rstrip('=')}"


def roomy_registry() -> jws.JWSRegistry:
    registry = jws.JWSRegistry(algorithms=[ALGORITHM])
    registry.max_payload_length = 2**20
    return registry


def with_critical_header(issuer: Issuer) -> str:
    registry = jws.JWSRegistry({"ours": HeaderParameter("", lambda _: None)}, [ALGORITHM])
    header = {"alg": ALGORITHM, "kid": "first", "crit": ["ours"], "ours": 1}
    claims = urlsafe_b64decode(issuer.token().split(".")[1] + "==")
    return jws.serialize_compact(header, claims, issuer.key, registry=registry)


FORGED: dict[str, Callable[[Issuer], str]] = {
    "no signature": lambda issuer: unsigned(issuer, "none"),
    "no signature in odd letters": lambda issuer: unsigned(issuer, "nOnE"),
    "the public key as a secret": sealed,
    "another algorithm": lambda issuer: signed(issuer, RSA, alg="RS256"),
    "another key under the same id": lambda issuer: signed(
        issuer, ECKey.generate_key("P-256", {"kid": "first"})
    ),
    "a header that must be understood": with_critical_header,
    "a signature that is cut": lambda issuer: issuer.token()[:-4],
    "no token": lambda issuer: "tea for two",
    "two dots": lambda issuer: "..",
    "letters outside of ASCII": lambda issuer: "Ä.Ö.Ü",
    "a header that is a list": lambda issuer: f"{encoded([])}.e30.e30",
    "a deeply nested header": lambda _: f"{'W1tb' * 20_000}.e30.e30",
    "deeply nested claims": lambda issuer: jws.serialize_compact(
        {"alg": ALGORITHM},
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
        issuer.key,
        registry=roomy_registry(),
    ),
    "claims that are a list": lambda issuer: jws.serialize_compact(
        {"alg": ALGORITHM}, b"[]", issuer.key, algorithms=[ALGORITHM]
    ),
    "a megabyte": lambda issuer: issuer.token(padding="x" * 2**20),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
async def test_a_forged_token_is_refused(
    verifier: StrictVerifier, issuer: Issuer, forge: Callable[[Issuer], str]
) -> None:
    with pytest.raises(Rejected):
        await verifier.check(forge(issuer))


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


class Provider:
    """An identity provider: which keys it publishes, and whether it answers."""

    def __init__(self) -> None:
        self.keys = {"first": ECKey.generate_key("P-256", {"kid": "first"})}
        self.requests = 0
        self.answer: Any = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def fetch(self) -> Any:
        self.requests += 1
        await self.may_answer.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        keys = [key.as_dict(private=False) for key in self.keys.values()]
        return {"keys": keys} if self.answer is None else self.answer

    def rotate(self, kid: str) -> None:
        self.keys = {kid: ECKey.generate_key("P-256", {"kid": kid})}


@pytest.fixture
async def provider() -> Provider:
    return Provider()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(provider: Provider, clock: Clock) -> SigningKeys:
    return SigningKeys(provider.fetch, ALGORITHM, KEYS_FOR, clock)


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_keys_are_fetched_once_for_all_tokens(keys: SigningKeys, provider: Provider) -> None:
    found = await asyncio.gather(*(keys.find("first") for _ in range(10)))
    assert all(key is not None for key in found)
    assert provider.requests == 1


async def test_a_new_key_is_found_at_once(keys: SigningKeys, provider: Provider) -> None:
    await keys.find("first")
    provider.rotate("second")
    assert await keys.find("second") is not None
    assert await keys.find("first") is None


async def test_invented_key_ids_cost_the_provider_next_to_nothing(
    keys: SigningKeys, provider: Provider, clock: Clock
) -> None:
    await keys.find("first")
    for number in range(1000):
        with suppress(VerificationUnavailable):
            assert await keys.find(f"invented {number}") is None
    assert provider.requests == FETCH_BURST
    assert await keys.find("first") is not None
    # A token with a new key is told to retry, and is accepted later. It is never reported as invalid.
    provider.rotate("second")
    with pytest.raises(VerificationUnavailable) as told:
        await keys.find("second")
    assert told.value.retry_after <= FETCH_INTERVAL_SECONDS
    clock.seconds += told.value.retry_after
    assert await keys.find("second") is not None


async def test_the_same_unknown_key_id_is_asked_for_once(
    keys: SigningKeys, provider: Provider, clock: Clock
) -> None:
    for _ in range(100):
        assert await keys.find("unknown") is None
    assert provider.requests == 1
    clock.seconds += MISSING_SECONDS + 1
    provider.rotate("unknown")
    assert await keys.find("unknown") is not None


async def test_the_number_of_remembered_unknown_key_ids_is_bounded(
    keys: SigningKeys, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.MAX_MISSING", 3)
    for number in range(10):
        assert await keys.find(f"invented {number}") is None
        clock.seconds += FETCH_INTERVAL_SECONDS
    assert len(keys._missing) == 3


@pytest.mark.parametrize(
    "answer",
    [OSError("refused"), [], {}, {"keys": None}, {"keys": []}, {"keys": ["x"]}, "<html>"],
    ids=str,
)
async def test_known_keys_stay_in_use_while_the_provider_fails(
    keys: SigningKeys, provider: Provider, clock: Clock, answer: Any
) -> None:
    await keys.find("first")
    provider.answer = answer
    for _ in range(100):
        clock.seconds += 3600
        assert await keys.find("first") is not None
        await settled()
    assert provider.requests > 1


async def test_old_keys_are_replaced_while_they_are_used(
    keys: SigningKeys, provider: Provider, clock: Clock
) -> None:
    await keys.find("first")
    provider.rotate("second")
    clock.seconds += KEYS_FOR / 2 + 1
    assert await keys.find("first") is not None
    await settled()
    assert await keys.find("first") is None


async def test_a_withdrawn_key_is_not_accepted_after_a_time_without_tokens(
    keys: SigningKeys, provider: Provider, clock: Clock
) -> None:
    await keys.find("first")
    provider.rotate("second")
    clock.seconds += KEYS_FOR + 1
    found = await asyncio.gather(*(keys.find("first") for _ in range(10)))
    assert found == [None] * 10
    assert provider.requests == 2


async def test_a_token_waits_for_no_provider_if_its_key_is_known(
    keys: SigningKeys, provider: Provider, clock: Clock
) -> None:
    await keys.find("first")
    provider.may_answer.clear()
    clock.seconds += KEYS_FOR / 2 + 1
    for _ in range(3):
        async with asyncio.timeout(5):
            assert await keys.find("first") is not None
    await settled()
    assert provider.requests == 2
    provider.may_answer.set()
    await settled()


async def test_a_token_waits_once_for_a_provider_that_is_down_and_not_again(
    keys: SigningKeys, provider: Provider, clock: Clock
) -> None:
    await keys.find("first")
    provider.answer = OSError("refused")
    clock.seconds += KEYS_FOR + 1
    assert await keys.find("first") is not None
    provider.may_answer.clear()
    clock.seconds += KEYS_FOR
    async with asyncio.timeout(5):
        assert await keys.find("first") is not None
    provider.may_answer.set()
    await settled()


async def test_a_provider_that_is_down_at_the_start_is_asked_again_soon(
    keys: SigningKeys, provider: Provider, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    provider.answer = OSError("refused")
    for _ in range(100):
        with pytest.raises(VerificationUnavailable) as told:
            await keys.find("first")
    assert provider.requests == FETCH_BURST
    assert "does not answer as it should: refused" in caplog.text
    provider.answer = None
    clock.seconds += told.value.retry_after
    assert await keys.find("first") is not None


async def test_a_provider_that_hangs_holds_up_tokens_for_a_limited_time(
    provider: Provider, clock: Clock
) -> None:
    async def ask() -> None:
        await provider.fetch()

    provider.may_answer.clear()
    with pytest.raises(VerificationUnavailable):
        await ProviderRequests(ask, clock, seconds=0.01).finish()


async def test_a_fetch_outlives_the_request_that_began_it(
    keys: SigningKeys, provider: Provider
) -> None:
    provider.may_answer.clear()
    first = asyncio.create_task(keys.find("first"))
    await settled()
    second = asyncio.create_task(keys.find("first"))
    await settled()
    first.cancel()
    provider.may_answer.set()
    assert await second is not None
    assert provider.requests == 1


async def test_a_token_without_key_id_is_accepted_only_if_there_is_one_key(
    keys: SigningKeys, provider: Provider, clock: Clock
) -> None:
    assert await keys.find(None) is not None
    provider.keys["second"] = ECKey.generate_key("P-256", {"kid": "second"})
    clock.seconds += KEYS_FOR + 1
    await keys.find("first")
    await settled()
    assert await keys.find(None) is None


def test_keys_of_other_kinds_and_uses_are_left_out() -> None:
    good = ECKey.generate_key("P-256", {"kid": "good"}).as_dict(private=False)
    others = [
        RSA.as_dict(private=False),
        {**good, "kid": "for encryption", "use": "enc"},
        {**good, "kid": "another algorithm", "alg": "ES384"},
        {"kty": "EC", "kid": "broken"},
        {"kty": "quantum", "kid": "of the future"},
    ]
    assert list(usable_keys({"keys": [*others, good]}, ALGORITHM)) == ["good"]


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("RS256", RSA),
        ("PS512", RSA),
        ("ES384", ECKey.generate_key("P-384")),
        ("Ed25519", OKPKey.generate_key("Ed25519")),
    ],
)
async def test_every_kind_of_algorithm_works(
    issuer: Issuer, algorithm: str, key: RSAKey | ECKey | OKPKey
) -> None:
    rules = TokenRules(issuer.url, issuer.audience, algorithm)
    verifier = StrictVerifier(rules, public_key=key.as_pem(private=False).decode())
    token = issuer.token(key=key, header={"alg": algorithm})
    assert (await verifier.check(token)).subject == "ada"


def settings(**values: Any) -> AuthenticationSettings:
    return AuthenticationSettings(**values)


WHOLE = {
    "auth_issuer": "https://login.example",
    "auth_audience": "https://mcp.example/mcp",
    "auth_jwks_url": "https://login.example/keys",
}
PARTIAL: dict[str, tuple[dict[str, Any], str]] = {
    "only an issuer": ({"auth_issuer": "https://login.example"}, "AUTH_AUDIENCE: is required"),
    "no issuer": ({**WHOLE, "auth_issuer": ""}, "AUTH_ISSUER: is required"),
    "no audience": ({**WHOLE, "auth_audience": ""}, "AUTH_AUDIENCE: is required"),
    "no key": ({**WHOLE, "auth_jwks_url": ""}, "AUTH_JWKS_URL: set either"),
    "two keys": ({**WHOLE, "auth_public_key": Issuer().public_key}, "AUTH_JWKS_URL: set either"),
    "scopes alone": ({"auth_scopes": "use"}, "AUTH_SCOPES: has no effect"),
    "no URL": ({**WHOLE, "auth_issuer": "login.example"}, "must be a URL"),
    "a URL with no port": ({**WHOLE, "auth_jwks_url": "https://x.example:y/"}, "must be a URL"),
    "no scope": ({**WHOLE, "auth_scopes": 'us"e'}, "must be names of scopes"),
    "an unsafe URL": (
        {**WHOLE, "auth_jwks_url": "http://login.example/keys", "environment": "production"},
        "AUTH_JWKS_URL: must begin with https://",
    ),
    "no key in PEM": (
        {**WHOLE, "auth_jwks_url": "", "auth_public_key": "secret"},
        "AUTH_PUBLIC_KEY: must be a public key",
    ),
    "a private key": (
        {**WHOLE, "auth_jwks_url": "", "auth_public_key": RSA.as_pem(private=True).decode()},
        "AUTH_PUBLIC_KEY: must be a public key",
    ),
    "a key of another algorithm": (
        {**WHOLE, "auth_jwks_url": "", "auth_public_key": Issuer().public_key},
        "for RS256",
    ),
    "a public address without its URL": ({**WHOLE, "http_host": "0.0.0.0"}, "PUBLIC_URL:"),
}


LOGIN = {
    "oidc_config_url": "https://login.example/.well-known/openid-configuration",
    "oidc_client_id": "server",
    "oidc_client_secret": "secret",
}
KEY = {"auth_signing_key": "k" * 32}
SHARED = {"auth_store_url": "file:///logins"}
PRODUCTION = {"environment": "production"}
PARTIAL |= {
    "no configuration": ({**LOGIN, "oidc_config_url": ""}, "OIDC_CONFIG_URL: is required"),
    "no client": ({**LOGIN, "oidc_client_id": ""}, "OIDC_CLIENT_ID: is required"),
    "no secret": ({**LOGIN, "oidc_client_secret": ""}, "OIDC_CLIENT_SECRET: is required"),
    "both kinds": ({**LOGIN, "auth_issuer": "https://x.example"}, "AUTH_ISSUER: has no effect"),
    "a short signing key": ({**LOGIN, "auth_signing_key": "k" * 31}, "32 characters or more"),
    "a signing key alone": (KEY, "AUTH_SIGNING_KEY: has no effect without OIDC_CONFIG_URL"),
    "production without a key": (
        {**LOGIN, **PRODUCTION, **SHARED},
        "AUTH_SIGNING_KEY: is required",
    ),
    "production without a store": (
        {**LOGIN, **PRODUCTION, **KEY},
        "AUTH_STORE_URL: a shared store",
    ),
    "workers without a key": ({**LOGIN, **SHARED, "workers": 2}, "AUTH_SIGNING_KEY: is required"),
    "workers without a store": ({**LOGIN, **KEY, "workers": 2}, "AUTH_STORE_URL: a shared store"),
    "an unsafe public URL": (
        {**LOGIN, **PRODUCTION, **KEY, **SHARED, "public_url": "http://mcp.example"},
        "PUBLIC_URL: must begin with https://",
    ),
    "an unknown store": ({**LOGIN, "auth_store_url": "mongodb://host"}, "must be memory://"),
    "any redirect URI": (
        {**LOGIN, "auth_redirect_uris": "https://*"},
        "must be complete https URIs",
    ),
    "a plain redirect URI": (
        {**LOGIN, "auth_redirect_uris": "http://x.example/"},
        "complete https URIs",
    ),
    "a store without a host": ({**LOGIN, "auth_store_url": "redis:///0"}, "must be memory://"),
    "a store at no port": ({**LOGIN, "auth_store_url": "redis://host:x"}, "must be memory://"),
}


@pytest.mark.parametrize(("values", "text"), PARTIAL.values(), ids=PARTIAL)
def test_settings_are_refused_with(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError, match=text) as refused:
        settings(**values)
    assert len(refused.value.errors()) == 1


def test_a_whole_configuration_is_accepted() -> None:
    assert settings(**WHOLE).is_configured
    assert settings(**LOGIN).is_configured
    assert settings(**LOGIN, **KEY, **SHARED, **PRODUCTION, workers=2).is_configured
    assert settings(**WHOLE, http_host="::1", http_port=1).base_url == "http://[::1]:1"
    assert not settings().is_configured


def test_a_key_may_have_its_line_breaks_escaped(issuer: Issuer) -> None:
    values = {**WHOLE, "auth_jwks_url": "", "auth_algorithm": ALGORITHM}
    values["auth_public_key"] = issuer.public_key.replace("\n", "\\n")
    assert settings(**values).is_configured


REFUSAL = Refusal(HTTPStatus.UNAUTHORIZED, "The token has expired.", "invalid_token")


def test_rejections_of_an_address_are_logged_up_to_a_limit_and_then_counted(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    rejections = Rejections(clock)
    limit = REJECTIONS_PER_MINUTE
    waits = [rejections.seconds_to_wait("192.0.2.1", REFUSAL) for _ in range(limit + 5)]
    assert waits == [0] * limit + [60] * 5
    assert len(caplog.records) == limit
    assert vars(caplog.records[-1])["rejections"] == limit
    assert rejections.seconds_to_wait("192.0.2.2", REFUSAL) == 0
    clock.seconds += 60
    assert rejections.seconds_to_wait("192.0.2.1", REFUSAL) == 0
    assert "5 more requests of 192.0.2.1 were rejected" in caplog.text


def test_the_number_of_counted_addresses_is_bounded(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{MODULE}.MAX_ADDRESSES", 3)
    rejections = Rejections(clock)
    for number in range(10):
        rejections.seconds_to_wait(f"192.0.2.{number}", REFUSAL)
    assert len(rejections._counts) == 3


def identity(client_id: str, subject: str | None, **claims: str) -> str | None:
    token = AccessToken(
        token="secret", client_id=client_id, scopes=[], subject=subject, claims=claims
    )
    reset = auth_context_var.set(AuthenticatedUser(token))
    try:
        return token_identity()
    finally:
        auth_context_var.reset(reset)


def test_no_two_callers_have_the_same_identity() -> None:
    callers = [
        identity("app", "ada", iss="https://one.example"),
        identity("app", "ada", iss="https://two.example"),
        identity("app", "grace", iss="https://one.example"),
        identity("other", "ada", iss="https://one.example"),
        identity("app ada", "x", iss="https://one.example"),
        identity("app", "ada x", iss="https://one.example"),
        identity("app", None, iss="https://one.example"),
        identity("app", "*", iss="https://one.example"),
        identity("app", "ada"),
    ]
    assert len(set(callers)) == len(callers)
