"""Redis or Valkey for everything that replicas share.

By default, a client waits for seconds on a server that does not respond, and refuses the 101st
concurrent command. Here every command has a time limit, calls do not wait again for a pause after
a failure, and errors say whether a retry can help. The client library is imported when a URL needs
it.
"""

import asyncio
import hashlib
import importlib.util
import json
import logging
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit

import anyio
from pydantic import AfterValidator, SecretStr

from .runtime.errors import ToolFailure

if TYPE_CHECKING:
    from redis.asyncio import Redis

redis_log = logging.getLogger(__name__)

MEMORY = "memory://"
SCHEMES = {"redis": "redis", "valkey": "redis", "rediss": "rediss", "valkeys": "rediss"}
# What a URL with TLS may say about certificates; the names are redis-py's.
FILE_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
CHOICES = {
    "ssl_cert_reqs": ("required", "optional", "none"),
    "ssl_check_hostname": ("true", "false"),
}
# Every key begins with it. It does not change with the name that clients see.
NAMESPACE = str(__package__).replace("_", "-")

CONNECTIONS = 20  # per process and URL; further commands wait for one
CLOSE_SECONDS = 2
# How often the log has the same refusal of a command.
REFUSAL_LOG_SECONDS = 60

DOES_NOT_RESPOND = "Redis does not respond."
REFUSES = "Redis refuses the command."
# Errors of a running server, by their first word, and whether they are temporary.
ANSWERS = {
    "WRONGPASS": ("Redis refuses the password: check the URL.", False),
    "NOAUTH": ("Redis asks for a password: add it to the URL.", False),
    "NOPERM": ("Redis does not permit this: check the rights of its user.", False),
    "OOM": ("Redis has no memory left: check maxmemory and its policy.", False),
    "READONLY": ("Redis is read-only: it is a replica of another server.", False),
    "MISCONF": ("Redis is read-only: it cannot save to its disk.", False),
    "WRONGTYPE": ("A key has another type than expected: another program uses it.", False),
    "MOVED": ("Redis is one node of a cluster, which is not supported.", False),
    "CROSSSLOT": ("Redis is one node of a cluster, which is not supported.", False),
    "LOADING": ("Redis is loading its data.", True),
    "MASTERDOWN": ("Redis is a replica whose primary is down.", True),
    "NOREPLICAS": ("Redis has too few replicas to accept a write.", True),
    "CLUSTERDOWN": ("The Redis cluster is down.", True),
    "BUSY": ("Redis is busy with a script.", True),
}
# Errors with a general code that a wrong URL causes.
TEXTS = {
    "DB index is out of range": "Redis has no database of that number: check the URL.",
    "SELECT is not allowed in cluster mode": ANSWERS["MOVED"][0],
}
# Older servers put other words before the code of an error in a script.
CODE = re.compile(rf"(?:^|-)({'|'.join(ANSWERS)})\b")

Result = TypeVar("Result")


class RedisUnavailable(ToolFailure):
    """Redis did not carry out a command.

    `may_be_applied` means that Redis may have carried out the command, and its answer was lost.
    """

    may_be_applied = False


class RedisRefused(RedisUnavailable):
    """Redis refuses this until the URL or the server is changed."""


class Fault(NamedTuple):
    """What is wrong: one sentence, the error code of Redis, and what it means for a caller."""

    sentence: str
    code: str
    retryable: bool
    is_outage: bool  # of the connection, rather than the answer to one command
    may_be_applied: bool = False

    def failure(self, *, was_sent: bool = True) -> RedisUnavailable:
        kind = RedisUnavailable if self.retryable else RedisRefused
        failure = kind(self.sentence, retryable=self.retryable)
        failure.engine_code = self.code
        failure.may_be_applied = self.may_be_applied and was_sent
        return failure


def diagnose(error: BaseException) -> Fault:
    """Return the fault behind an error of the client, whose text may contain keys or values."""
    tls = _tls_error(error)
    if isinstance(tls, ssl.SSLCertVerificationError):
        sentence = "The certificate of Redis is not trusted: check ssl_ca_certs in the URL."
        return Fault(sentence, _reason_of(tls), retryable=False, is_outage=True)
    if tls is not None and not isinstance(tls, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        sentence = "The TLS handshake with Redis failed: check whether its port expects TLS."
        return Fault(sentence, _reason_of(tls), retryable=False, is_outage=True)
    status = getattr(error, "status_code", None) or ""
    found = CODE.search(str(error))
    code = status if status in ANSWERS else found[1] if found else status
    # The library's own classes: a module level import would load the library.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    is_outage = not kinds & {"ResponseError", "DataError"}
    if code not in ANSWERS and "AuthenticationError" in kinds:
        code = "WRONGPASS"
    if code in ANSWERS:
        sentence, retryable = ANSWERS[code]
        return Fault(sentence, code, retryable, is_outage)
    if is_outage:
        return Fault(DOES_NOT_RESPOND, code, retryable=True, is_outage=True, may_be_applied=True)
    sentences = (sentence for text, sentence in TEXTS.items() if text in str(error))
    return Fault(next(sentences, REFUSES), code, retryable=False, is_outage=False)


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _reason_of(error: ssl.SSLError) -> str:
    return str(getattr(error, "reason", "") or "")


class RedisServer:
    """A client of one server. It connects with the first command, and again when needed.

    `meanwhile` is logged during an outage: what happens to calls.
    """

    def __init__(  # noqa: PLR0913 - what a client needs to know
        self,
        variable: str,
        client: "Redis",
        errors: tuple[type[Exception], ...],
        *,
        seconds: float,
        pause_seconds: float,
        meanwhile: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client: Any = client
        self._variable = variable
        self._errors = errors
        self._seconds = seconds
        self._pause_seconds = pause_seconds
        self._meanwhile = meanwhile
        self._clock = clock
        self._outage: Fault | None = None
        self._paused_until = 0.0
        self._logged: dict[str, float] = {}

    async def run(self, command: Callable[[], Awaitable[Result]]) -> Result:
        """Return what a command of `client` returns, within the time limit.

        After a failure of the connection, further commands fail at once for a pause. Then one of
        them tries again, and the others do not wait for it.

        Raises:
            RedisRefused: no retry helps until the URL or the server is changed.
            RedisUnavailable: Redis does not respond, or not yet.
        """
        if self._outage is not None and self._pause_seconds:
            now = self._clock()
            if now < self._paused_until:
                raise self._outage.failure(was_sent=False)
            self._paused_until = now + self._seconds + self._pause_seconds
        try:
            async with asyncio.timeout(self._seconds):
                result = await command()
        except self._errors as error:
            raise self._failed(error) from error
        if self._outage is not None:
            self._outage = None
            redis_log.info("%s: Redis responds again", self._variable)
        return result

    async def ping(self) -> None:
        await self.run(self.client.ping)

    def _failed(self, error: Exception) -> RedisUnavailable:
        fault = diagnose(error)
        now = self._clock()
        if fault.is_outage:
            known = self._outage is not None and self._outage.sentence == fault.sentence
            self._outage = fault
            self._paused_until = now + self._pause_seconds
        else:
            known = now - self._logged.get(fault.code, -REFUSAL_LOG_SECONDS) < REFUSAL_LOG_SECONDS
            if not known:
                self._logged[fault.code] = now
        if not known:
            code = fault.code or type(error).__name__
            parts = (self._variable, fault.sentence, code, self._meanwhile)
            redis_log.warning("%s: %s (%s) %s", *parts)
        return fault.failure()


@asynccontextmanager
async def open_redis(
    variable: str,
    url: str,
    *,
    seconds: float,
    pause_seconds: float = 0,
    meanwhile: str = "",
) -> AsyncIterator[RedisServer]:
    """Open a client for the checked URL of a setting. Nothing is connected yet.

    A command takes at most `seconds`, including the wait for a connection.
    """
    from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415 - slow, and an extra
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.exceptions import ConnectionError as Disconnected  # noqa: PLC0415
    from redis.exceptions import RedisError  # noqa: PLC0415

    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=seconds,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        protocol=2,
        # After a restart of the server, every pooled connection is broken. Not after a timeout: the
        # command may still be carried out.
        retry=Retry(NoBackoff(), 1, supported_errors=(Disconnected,)),
    )
    client = Redis.from_pool(pool)
    try:
        yield RedisServer(
            variable,
            client,
            (RedisError, OSError),
            seconds=seconds,
            pause_seconds=pause_seconds,
            meanwhile=meanwhile,
        )
    finally:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await client.aclose()


def digest(*parts: str | None) -> str:
    """Return a digest (SHA-256) of parts that a caller has chosen: bounded, and unreadable.

    Different parts have different digests.
    """
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def is_redis(url: str) -> bool:
    return url.startswith(("redis://", "rediss://"))


def memory_or_redis(setting: SecretStr) -> SecretStr:
    """Return the URL of a store that is either this process's memory or Redis.

    Raises:
        ValueError: it is neither. The message does not repeat the URL, and so no password.
    """
    url = setting.get_secret_value()
    if url.lower() == MEMORY:
        return SecretStr(MEMORY)
    if url.partition("://")[0].lower() not in SCHEMES:
        raise ValueError("must be memory:// or redis://user:password@host:port/number")
    return SecretStr(checked_redis_url(url))


# A setting: memory:// or redis://..., which may contain a password.
MemoryOrRedis = Annotated[SecretStr, AfterValidator(memory_or_redis)]


def checked_redis_url(url: str) -> str:
    """Return the URL of a Redis or Valkey server as `open_redis` takes it.

    Raises:
        ValueError: it cannot be used. The message does not repeat the URL.
    """
    scheme, separator, rest = url.partition("://")
    kind = SCHEMES.get(scheme.lower())
    if kind is None or not separator:
        raise ValueError("must be redis://user:password@host:port/number")
    if re.search(r"\s", url):
        raise ValueError("must not contain a space or line break: write a space as %20")
    if "," in rest.partition("/")[0].rpartition("@")[2]:
        raise ValueError("must name one host: put a proxy in front of several")
    try:
        parts = urlsplit(f"{kind}://{rest}")
        port = parts.port
    except ValueError:
        raise ValueError("has an invalid port: use a number from 1 to 65535") from None
    if port == 0:
        raise ValueError("has an invalid port: use a number from 1 to 65535")
    if not parts.hostname:
        raise ValueError("must name a host, such as redis://host:6379/0")
    if not re.fullmatch(r"/?|/\d{1,5}", parts.path) or parts.fragment:
        raise ValueError(
            "must end with the number of a database, such as redis://host:6379/0;"
            " write / ? # in a password as %2F %3F %23"
        )
    _check_options(parts.query, kind)
    if importlib.util.find_spec("redis") is None:
        raise ValueError("needs the package redis: install the extra `redis`")
    return f"{kind}://{rest}"


def _check_options(query: str, kind: str) -> None:
    try:
        options = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValueError("has an option that is not name=value") from None
    for name, value in options:
        if name not in FILE_OPTIONS and name not in CHOICES:
            known = re.fullmatch("[a-z_]{1,40}", name)
            shown = f"the option {name}" if known else "an option"
            raise ValueError(f"has {shown}, which is not supported: remove it")
        if kind != "rediss":
            raise ValueError(f"has the option {name}, which needs rediss://")
        if name in CHOICES and value not in CHOICES[name]:
            raise ValueError(f"has an invalid {name}: use one of {', '.join(CHOICES[name])}")
        if name in FILE_OPTIONS and not Path(value).is_file():
            raise ValueError(f"names a file as {name} that does not exist")


def refuse_sessions(url: str, *, http_sessions: bool) -> None:
    """Refuse HTTP sessions, which one process keeps, where replicas share `url`.

    Raises:
        ValueError: both are set.
    """
    if http_sessions and url != MEMORY:
        raise ValueError(
            "HTTP_SESSIONS: sessions are in the memory of one replica, so replicas that share"
            " Redis or PostgreSQL cannot use them; set HTTP_SESSIONS=false"
        )
