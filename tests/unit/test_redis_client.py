"""The client of Redis, with commands that fail as tests say: limits, pauses, diagnoses, and URLs."""

import asyncio
import importlib.util
import ssl
from typing import Any

import pytest
from pydantic import SecretStr

from my_mcp_server.redis_client import (
    RedisRefused,
    RedisServer,
    RedisUnavailable,
    checked_redis_url,
    diagnose,
    digest,
    memory_or_redis,
)

SECRET = "hunter2"


class RedisError(Exception):
    """Like the client's errors: the first word of an answer is a `status_code`."""

    def __init__(self, text: str = "", status_code: str | None = None) -> None:
        super().__init__(text)
        self.status_code = status_code


class ConnectionError(RedisError):  # noqa: A001 - named as in redis-py
    pass


class AuthenticationError(ConnectionError):
    pass


class ResponseError(RedisError):
    pass


class OutOfMemoryError(ResponseError):
    pass


class Engine:
    """A server that answers, fails or hangs, on a clock that only a test moves."""

    def __init__(self, *, pause_seconds: float = 2, seconds: float = 60) -> None:
        self.fault: Exception | None = None
        self.hangs = False
        self.commands = 0
        self.now = 100.0
        client: Any = object()
        self.server = RedisServer(
            "CACHE_URL",
            client,
            (RedisError, OSError),
            seconds=seconds,
            pause_seconds=pause_seconds,
            meanwhile="Meanwhile.",
            clock=lambda: self.now,
        )

    async def command(self) -> str:
        self.commands += 1
        if self.hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if self.fault:
            raise self.fault
        return "answer"

    async def ask(self) -> str:
        return await self.server.run(self.command)

    async def outcome(self) -> RedisUnavailable | None:
        try:
            assert await self.ask() == "answer"
        except RedisUnavailable as failure:
            return failure
        return None


async def test_a_command_that_hangs_ends_at_its_time_limit() -> None:
    engine = Engine(seconds=0.01)
    engine.hangs = True
    async with asyncio.timeout(5):
        failure = await engine.outcome()
    assert str(failure) == "Redis does not respond."
    assert failure
    assert failure.retryable
    assert failure.may_be_applied


async def test_after_a_failure_no_command_is_sent_until_the_pause_is_over() -> None:
    engine = Engine(pause_seconds=2)
    engine.fault = ConnectionError()
    await engine.outcome()
    engine.fault = None
    engine.now += 1.9
    failure = await engine.outcome()
    assert failure
    assert failure.retryable
    assert not failure.may_be_applied
    assert engine.commands == 1
    engine.now += 0.2
    assert await engine.outcome() is None
    assert await engine.outcome() is None
    assert engine.commands == 3


async def test_after_the_pause_one_command_tries_and_the_others_do_not_wait_for_it() -> None:
    engine = Engine(pause_seconds=2)
    engine.fault = ConnectionError()
    await engine.outcome()
    engine.now += 3
    engine.hangs = True
    probe = asyncio.create_task(engine.ask())
    await asyncio.sleep(0)
    outcomes = await asyncio.gather(*(engine.outcome() for _ in range(10)))
    assert all(outcomes)
    assert engine.commands == 2
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    engine.hangs, engine.fault = False, None
    engine.now += 63  # a cancelled probe does not keep the server away forever
    assert await engine.outcome() is None


async def test_without_a_pause_every_command_is_sent() -> None:
    engine = Engine(pause_seconds=0)
    engine.fault = ConnectionError()
    assert all([await engine.outcome() for _ in range(3)])
    assert engine.commands == 3


async def test_an_outage_is_logged_once_and_its_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    engine = Engine(pause_seconds=0)
    for error in (ConnectionError(), TimeoutError(), ConnectionError()):
        engine.fault = error
        await engine.outcome()
    engine.fault = None
    await engine.outcome()
    await engine.outcome()
    assert [record.getMessage() for record in caplog.records] == [
        "CACHE_URL: Redis does not respond. (ConnectionError) Meanwhile.",
        "CACHE_URL: Redis responds again",
    ]


async def test_a_refused_command_is_logged_once_a_minute_and_stops_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = Engine()
    engine.fault = OutOfMemoryError("command not allowed", "OOM")
    for _ in range(3):
        failure = await engine.outcome()
        assert isinstance(failure, RedisRefused)
    engine.fault = None
    assert await engine.outcome() is None
    assert engine.commands == 4
    assert caplog.text.count("(OOM)") == 1
    engine.now += 60
    engine.fault = OutOfMemoryError("command not allowed", "OOM")
    await engine.outcome()
    assert caplog.text.count("(OOM)") == 2


def error_of_tls() -> ConnectionError:
    error = ConnectionError("Error 1 connecting to 10.0.0.1:6379")
    error.__context__ = ssl.SSLCertVerificationError(1, "certificate verify failed")
    return error


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (
            AuthenticationError("invalid username-password pair", "WRONGPASS"),
            "password",
            "WRONGPASS",
        ),
        (AuthenticationError("invalid password"), "password", "WRONGPASS"),
        (AuthenticationError("HELLO must be called", "NOAUTH"), "password", "NOAUTH"),
        (ResponseError("no permissions to run the 'get' command", "NOPERM"), "rights", "NOPERM"),
        (OutOfMemoryError("command not allowed when used memory", "OOM"), "memory", "OOM"),
        (
            ResponseError("ERR Error running script (call to f_1): @user_script:9: -OOM command"),
            "memory",
            "OOM",
        ),
        (ResponseError("You can't write against a read only", "READONLY"), "read-only", "READONLY"),
        (ResponseError("MISCONF Redis is configured to save RDB"), "disk", "MISCONF"),
        (ResponseError("WRONGTYPE Operation against a key"), "type", "WRONGTYPE"),
        (ResponseError("MOVED 3999 127.0.0.1:6381"), "cluster", "MOVED"),
        (ResponseError("unknown command", "ERR"), "refuses the command", "ERR"),
        (ResponseError("DB index is out of range", "ERR"), "no database of that number", "ERR"),
        (ResponseError("SELECT is not allowed in cluster mode", "ERR"), "cluster", "ERR"),
        (error_of_tls(), "certificate", ""),
    ],
)
def test_a_permanent_fault_is_not_retryable(error: Exception, words: str, code: str) -> None:
    failure = diagnose(error).failure()
    assert words in str(failure)
    assert isinstance(failure, RedisRefused)
    assert not failure.retryable
    assert not failure.may_be_applied
    assert failure.engine_code == code


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("Connection reset by peer"),
        ConnectionError("Redis is loading the dataset in memory", "LOADING"),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        TimeoutError(),
        OSError(111, "refused"),
    ],
)
def test_a_transient_fault_is_retryable(error: Exception) -> None:
    assert diagnose(error).failure().retryable


def test_what_a_caller_has_named_is_not_in_a_failure() -> None:
    error = ResponseError(f"unknown command GET with args {SECRET}", "ERR")
    assert SECRET not in str(diagnose(error).failure())


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("redis://localhost", "redis://localhost"),
        ("REDIS://user:p%40ss@cache.internal:6380/2", "redis://user:p%40ss@cache.internal:6380/2"),
        ("valkey://[::1]:6379/", "redis://[::1]:6379/"),
        ("valkeys://h/0?ssl_cert_reqs=none", "rediss://h/0?ssl_cert_reqs=none"),
        (f"rediss://h?ssl_ca_certs={__file__}", f"rediss://h?ssl_ca_certs={__file__}"),
        ("Memory://", "memory://"),
    ],
)
def test_a_url_is_accepted_with_its_scheme_in_any_case(
    given: str, used: str, installed: None
) -> None:
    assert memory_or_redis(SecretStr(given)).get_secret_value() == used


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://h", "must be memory:// or redis://"),
        ("memory://x", "must be memory:// or redis://"),
        ("redis:h", "must be memory:// or redis://"),
        ("redis://", "must name a host"),
        ("redis://:p@:6379", "must name a host"),
        ("redis://:p@a,b", "must name one host"),
        ("redis://:p@a:6379,b:6379/0", "must name one host"),
        ("redis://h:abc", "invalid port"),
        ("redis://h:0", "invalid port"),
        ("redis://h:65536", "invalid port"),
        ("redis://[::1", "invalid port"),
        ("redis://h/main", "number of a database"),
        ("redis://h/0/1", "number of a database"),
        ("redis://:p#ss@h", "invalid port|number of a database|must name a host"),
        ("redis://h /0", "space"),
        ("redis://h/0\n", "space"),
        ("redis://h?db", "not name=value"),
        ("redis://h?socket_timeout=5", "the option socket_timeout, which is not supported"),
        ("redis://h?ssl_cert_reqs=none", "needs rediss://"),
        ("rediss://h?ssl_cert_reqs=no", "invalid ssl_cert_reqs: use one of required"),
        ("rediss://h?ssl_ca_certs=/no/such/file", "ssl_ca_certs that does not exist"),
    ],
)
def test_a_url_that_cannot_work_is_refused(url: str, problem: str, installed: None) -> None:
    with pytest.raises(ValueError, match=problem):
        memory_or_redis(SecretStr(url))


@pytest.mark.parametrize(
    "url",
    [
        f"redis://u:{SECRET}@",
        f"redis://u:{SECRET}@h:x",
        f"redis://u:{SECRET}@h/x",
        f"redis://u:a?{SECRET}@h",
        f"redis://u:6379?{SECRET}=1@h",
        f"redis://u:a/{SECRET}@h",
        f"redis://u:a#{SECRET}@h",
        f"http://u:{SECRET}@h",
        f"redis://u:{SECRET} @h",
    ],
)
def test_no_message_about_a_url_has_its_password(url: str, installed: None) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the texts are above
        memory_or_redis(SecretStr(url))
    assert SECRET not in str(raised.value)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match="needs the package redis: install the extra `redis`"):
        checked_redis_url("redis://localhost")


def test_digests_are_short_and_unambiguous() -> None:
    parts = [("a", "b"), ("a", "b", ""), ('a", "b',), ("ab",), (None, "a", "b"), ("\ud800",)]
    assert len({digest(*part) for part in parts}) == len(parts)
    assert {len(digest(*part)) for part in [*parts, ("x" * 10_000,)]} == {64}
