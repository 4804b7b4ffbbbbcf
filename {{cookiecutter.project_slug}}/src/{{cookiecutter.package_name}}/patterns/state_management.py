"""Shared state without lost updates.

Code that reads a value, changes it and writes it back loses most updates as soon as two callers
do it at once, and a lock helps only within one process. Here every write names the version that
it is based on, and is refused if another was faster. Then the change is applied to the newer
value. With `STATE_URL`, workers and replicas share the state.
"""

import json
import logging
import random
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, Protocol, Self
from weakref import WeakValueDictionary

import anyio
from fastmcp import FastMCP
from fastmcp.server.lifespan import lifespan
from pydantic import Field, JsonValue, SecretStr, field_validator, model_validator

from ..database import (
    ROLLED_BACK,
    Database,
    DatabaseSettings,
    DatabaseUnavailable,
    Transaction,
    check_postgres,
    checked_url,
    is_postgres,
    open_database,
)
from ..redis_client import (
    MEMORY,
    NAMESPACE,
    RedisServer,
    RedisUnavailable,
    checked_redis_url,
    is_redis,
    open_redis,
    refuse_sessions,
)
from ..runtime.errors import ToolFailure
from ..runtime.first_use import on_first_use
from ..runtime.readiness import readiness
from ..settings import Settings

state_log = logging.getLogger(__name__)

SHARED_STORES = "sqlite:///file, redis://host:6379/0 or postgresql://user:password@host/name"
LONGEST_PAUSE_SECONDS = 0.02
# How long an update waits for those of the same key in this process. Then it competes with them.
TURN_SECONDS = 1
# How long Redis remembers a write: longer than its answer may be missing.
TOKEN_SECONDS = 30


class StateManagementSettings(Settings):
    # May contain a password.
    state_url: SecretStr = SecretStr(MEMORY)
    state_max_keys: int = Field(10_000, ge=1)
    # Of one command on Redis, and how long no call asks Redis after a failure.
    state_timeout_seconds: float = Field(2, gt=0, le=10)
    state_pause_seconds: float = Field(0, ge=0, le=60)
    workers: int = Field(1, ge=1, le=64)
    http_sessions: bool = False
    environment: Literal["development", "staging", "production"] = "development"

    @field_validator("state_url")
    @classmethod
    def _can_be_opened(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        scheme, separator, rest = url.partition("://")
        kind = scheme.lower().partition("+")[0]
        if kind == "memory" and separator and not rest:
            return SecretStr(MEMORY)
        if kind == "sqlite" and rest.removeprefix("/") not in ("", ":memory:"):
            return SecretStr(checked_url(url))
        if kind in ("postgresql", "postgres"):
            return SecretStr(checked_url(url))
        if kind in ("redis", "rediss", "valkey", "valkeys"):
            return SecretStr(checked_redis_url(url))
        raise ValueError(f"must be memory://, {SHARED_STORES}")

    @model_validator(mode="after")
    def _is_shared_if_it_must_be(self) -> Self:
        url = self.state_url.get_secret_value()
        if self.workers > 1 and url == MEMORY:
            raise ValueError(
                "STATE_URL: several workers do not share memory://;"
                f" set {SHARED_STORES}, or WORKERS=1"
            )
        if is_redis(url) or is_postgres(url):
            refuse_sessions(url, http_sessions=self.http_sessions)
        return self


class StateFull(ToolFailure):
    """The store has no room for another key."""


class StateUnreadable(ToolFailure):
    """A stored value is not in the format of this server."""


@dataclass(frozen=True)
class Versioned:
    """A value and the number of the write that created it; 0 means that there is none."""

    value: JsonValue
    version: int


ABSENT = Versioned(None, 0)


def _versioned(text: Any, version: Any) -> Versioned:
    """Return what a store has under a key.

    Raises:
        StateUnreadable: it is not what this server writes: JSON, and a number.
    """
    with suppress(ValueError, TypeError, RecursionError):
        if version > 0:
            return Versioned(json.loads(text), version)
    raise StateUnreadable(
        "A value of the state is not in the format of this server: another program has written it."
    )


class Backend(Protocol):
    async def read(self, key: str) -> Versioned: ...

    async def write(self, key: str, new: Versioned) -> bool:
        """Store `new` if the version before it is stored now; return whether that was so.

        Raises:
            StateFull: the key is new, and the store has as many keys as it may have.
            ToolFailure: the store is not available. `in_doubt` if it may have been stored.
        """


class MemoryBackend:
    """State of this process, lost when it ends."""

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        self._entries: dict[str, Versioned] = {}

    async def read(self, key: str) -> Versioned:
        await anyio.lowlevel.checkpoint()
        return deepcopy(self._entries.get(key, ABSENT))

    async def write(self, key: str, new: Versioned) -> bool:
        if self._entries.get(key, ABSENT).version != new.version - 1:
            return False
        if key not in self._entries and len(self._entries) >= self._max_keys:
            raise _full(self._max_keys)
        self._entries[key] = new
        return True


class DatabaseBackend:
    """State in a table, shared by every process that opens it.

    On PostgreSQL, new keys that are written concurrently may exceed the maximum by their number.
    """

    def __init__(self, database: Database, max_keys: int) -> None:
        self._database = database
        self._max_keys = max_keys

    async def create(self) -> None:
        await self._database.execute(
            "CREATE TABLE IF NOT EXISTS state"
            " (key TEXT PRIMARY KEY, value TEXT NOT NULL, version BIGINT NOT NULL)"
        )

    async def read(self, key: str) -> Versioned:
        rows = await self._database.fetch(
            "SELECT value, version FROM state WHERE key = :key", key=key
        )
        return _versioned(rows[0]["value"], rows[0]["version"]) if rows else ABSENT

    async def write(self, key: str, new: Versioned) -> bool:
        try:
            return await self._write(key, new)
        except DatabaseUnavailable as failure:
            if failure.engine_code.startswith(ROLLED_BACK):
                return False
            raise

    async def _write(self, key: str, new: Versioned) -> bool:
        row = {"key": key, "value": json.dumps(new.value), "version": new.version}
        if new.version > 1:
            updated = await self._database.execute(
                "UPDATE state SET value = :value, version = :version"
                " WHERE key = :key AND version = :version - 1",
                row,
            )
            return updated == 1
        inserted = await self._database.execute(
            "INSERT INTO state (key, value, version) SELECT :key, :value, :version"
            " WHERE (SELECT count(*) FROM state) < :max_keys ON CONFLICT (key) DO NOTHING",
            {**row, "max_keys": self._max_keys},
        )
        if not inserted and await self.read(key) == ABSENT:
            raise _full(self._max_keys)
        return inserted == 1


# One hash has all the state, so that its maximum is exact. Its fields do not expire, so a server
# that evicts only what expires (volatile-*) keeps them.
STATE_KEY = f"{NAMESPACE}:state:v1"
# The version and the value. A version of any other form would never equal that of a write.
STORED = re.compile(rb"([1-9][0-9]*) (.*)", re.DOTALL)
# The braces keep these keys on the node of a cluster that has the hash.
WRITE_KEYS = NAMESPACE + ":write:v1:{" + STATE_KEY + "}"
# Returns 1 if the value is stored, 0 if another write was faster, and -1 if the store is full.
# The client repeats a command whose answer was lost. KEYS[2] remembers that it was carried out:
# the version alone would refuse it, and the change would be applied a second time.
COMPARE_AND_SET = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 1 end
local old = redis.call('HGET', KEYS[1], ARGV[1])
local version = old and string.match(old, '^%d+') or '0'
if version ~= ARGV[2] then return 0 end
if not old and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return -1 end
redis.call('SET', KEYS[2], '', 'PX', ARGV[5])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""


class RedisBackend:
    """State on Redis, shared by every process that has its URL."""

    def __init__(self, server: RedisServer, max_keys: int) -> None:
        self._server = server
        self._max_keys = max_keys
        self._compare_and_set = server.client.register_script(COMPARE_AND_SET)

    async def read(self, key: str) -> Versioned:
        stored = await self._server.run(lambda: self._server.client.hget(STATE_KEY, key))
        if stored is None:
            return ABSENT
        found = STORED.fullmatch(stored)
        return _versioned(found[2], int(found[1])) if found else _versioned(None, 0)

    async def write(self, key: str, new: Versioned) -> bool:
        keys = [STATE_KEY, f"{WRITE_KEYS}:{secrets.token_hex(8)}"]
        stored = f"{new.version} {json.dumps(new.value)}"
        arguments = [key, new.version - 1, stored, self._max_keys, TOKEN_SECONDS * 1000]
        try:
            result = await self._server.run(lambda: self._compare_and_set(keys, arguments))
        except RedisUnavailable as failure:
            if failure.may_be_applied:
                failure.put_in_doubt()
            raise
        if result == -1:
            raise _full(self._max_keys)
        return bool(result == 1)


class Turns:
    """Locks by key, for the updates of one process. A lock exists while someone waits for it.

    Versions alone keep updates correct. Taking turns saves the repetitions.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, anyio.Lock())
        with anyio.move_on_after(TURN_SECONDS) as patience:
            await lock.acquire()
        try:
            yield
        finally:
            if not patience.cancelled_caught:
                lock.release()


class StateStore:
    """JSON values by key, changed by compare-and-set."""

    def __init__(
        self,
        backend: Backend,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        turns: Turns | None = None,
    ) -> None:
        self._backend = backend
        self._sleep = sleep
        self._turns = turns

    async def get(self, key: str) -> JsonValue:
        return (await self._backend.read(key)).value

    async def update(self, key: str, change: Callable[[JsonValue], JsonValue]) -> JsonValue:
        """Replace the value of `key` (None at first) by `change(value)` and return the new one.

        `change` runs again when another caller was faster, so it must have no other effect.

        Raises:
            StateFull: the key is new and there are `STATE_MAX_KEYS` already.
            ToolFailure: the store is not available. Retryable only if nothing was stored.
        """
        if self._turns is None:
            return await self._update(key, change)
        async with self._turns.turn(key):
            return await self._update(key, change)

    async def _update(self, key: str, change: Callable[[JsonValue], JsonValue]) -> JsonValue:
        while True:
            old = await self._backend.read(key)
            new = Versioned(change(old.value), old.version + 1)
            if await self._backend.write(key, new):
                return new.value
            await self._pause()

    async def _pause(self) -> None:
        """Wait for a random time, so that two callers do not keep colliding."""
        await self._sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))  # noqa: S311


class PostgresStore(StateStore):
    """State on PostgreSQL, where a row is locked from its reading to its writing.

    Replicas that change one key wait for each other there. With compare-and-set alone, two of
    three writes are too late and repeated.
    """

    def __init__(self, database: Database, backend: DatabaseBackend) -> None:
        super().__init__(backend, turns=Turns())
        self._database = database

    async def _update(self, key: str, change: Callable[[JsonValue], JsonValue]) -> JsonValue:
        async def update(transaction: Transaction) -> Versioned:
            rows = await transaction.fetch(
                "SELECT value, version FROM state WHERE key = :key FOR UPDATE", key=key
            )
            if not rows:
                return ABSENT
            old = _versioned(rows[0]["value"], rows[0]["version"])
            new = Versioned(change(old.value), old.version + 1)
            await transaction.execute(
                "UPDATE state SET value = :value, version = :version WHERE key = :key",
                {"key": key, "value": json.dumps(new.value), "version": new.version},
            )
            return new

        while True:
            try:
                updated = await self._database.transaction(update)
            except DatabaseUnavailable as failure:
                # Where transactions are serializable, the slower of two is rolled back.
                if not failure.engine_code.startswith(ROLLED_BACK):
                    raise
                await self._pause()
            else:
                return updated.value if updated != ABSENT else await super()._update(key, change)


def _full(max_keys: int) -> StateFull:
    return StateFull(f"The state store is full: it holds {max_keys} keys (STATE_MAX_KEYS).")


def open_state_redis(settings: StateManagementSettings) -> Any:
    return open_redis(
        "STATE_URL",
        settings.state_url.get_secret_value(),
        seconds=settings.state_timeout_seconds,
        pause_seconds=settings.state_pause_seconds,
        meanwhile="Calls that need the state fail.",
    )


@lifespan
async def state_readiness(_server: FastMCP[Any]) -> AsyncIterator[dict[str, Any]]:
    """Report unready until a shared store has answered. The first call opens the store.

    A production server that keeps its state in memory logs a warning.
    """
    settings = StateManagementSettings()
    url = settings.state_url.get_secret_value()
    if url == MEMORY and settings.environment == "production":
        state_log.warning(
            "State is lost when this process ends, and replicas do not share it: set STATE_URL=%s",
            SHARED_STORES,
        )
    if is_redis(url):
        async with open_state_redis(settings) as server:
            with readiness.reporting("state", server.ping):
                yield {}
    elif is_postgres(url):
        with readiness.reporting("state", partial(check_postgres, url, DatabaseSettings())):
            yield {}
    else:
        yield {}


@asynccontextmanager
async def state_store() -> AsyncIterator[StateStore]:
    settings = StateManagementSettings()
    url = settings.state_url.get_secret_value()
    if url == MEMORY:
        yield StateStore(MemoryBackend(settings.state_max_keys))
    elif is_redis(url):
        async with open_state_redis(settings) as server:
            with readiness.reporting("state", server.ping):
                yield StateStore(RedisBackend(server, settings.state_max_keys), turns=Turns())
    else:
        async with open_database(url) as database:
            backend = DatabaseBackend(database, settings.state_max_keys)
            await backend.create()
            with readiness.reporting("state", database.ping, has_passed=True):
                if is_postgres(url):
                    yield PostgresStore(database, backend)
                else:
                    yield StateStore(backend, turns=Turns())


State = Annotated[StateStore, on_first_use(state_store)]
