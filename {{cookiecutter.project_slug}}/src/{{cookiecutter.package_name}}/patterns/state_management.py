"""Shared state without lost updates.

Reading a value, changing it and writing it back loses most updates as soon as two callers do it
at once, and a lock helps only within one process. Here every write names the version it was made
from, and is refused when another was faster; then it is made again from the newer value.
"""

import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, Self

import anyio
from fastmcp import FastMCP
from fastmcp.dependencies import Shared
from fastmcp.server.lifespan import lifespan
from pydantic import Field, JsonValue, field_validator, model_validator

from ..database import Database, open_database
from ..runtime.errors import ToolFailure
from ..runtime.readiness import readiness
from ..settings import Settings

state_log = logging.getLogger(__name__)

MEMORY = "memory://"
LONGEST_PAUSE_SECONDS = 0.02


class StateManagementSettings(Settings):
    state_url: str = MEMORY
    state_max_keys: int = Field(10_000, ge=1)
    workers: int = Field(1, ge=1, le=64)
    environment: Literal["development", "staging", "production"] = "development"

    @field_validator("state_url")
    @classmethod
    def _can_be_opened(cls, value: str) -> str:
        scheme, _, rest = value.partition("://")
        url = f"{scheme.lower()}://{rest}"
        file = url.removeprefix("sqlite:///")
        if url != MEMORY and (file in (url, "", ":memory:") or not url.isprintable()):
            raise ValueError("must be memory:// or sqlite:///file")
        return url

    @model_validator(mode="after")
    def _workers_share_state(self) -> Self:
        if self.workers > 1 and self.state_url == MEMORY:
            raise ValueError(
                "STATE_URL: memory:// is not shared by several workers;"
                " set sqlite:///file, or WORKERS=1"
            )
        return self


class StateFull(ToolFailure):
    """There is no room for another key."""


@dataclass(frozen=True)
class Versioned:
    """A value and the number of the write that made it; 0 stands for none."""

    value: JsonValue
    version: int


ABSENT = Versioned(None, 0)


class Backend(Protocol):
    async def read(self, key: str) -> Versioned: ...

    async def write(self, key: str, new: Versioned) -> bool:
        """Store `new` if the version before it is stored now; tell whether that was so.

        Raises:
            StateFull: the key is new and there are as many as may be.
        """


class MemoryBackend:
    """State of this process, gone with it."""

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
    """State in a table, shared by every process that opens it."""

    def __init__(self, database: Database, max_keys: int) -> None:
        self._database = database
        self._max_keys = max_keys

    async def create(self) -> None:
        await self._database.execute(
            "CREATE TABLE IF NOT EXISTS state"
            " (key TEXT PRIMARY KEY, value TEXT NOT NULL, version INTEGER NOT NULL)"
        )

    async def read(self, key: str) -> Versioned:
        rows = await self._database.fetch(
            "SELECT value, version FROM state WHERE key = :key", key=key
        )
        return Versioned(json.loads(rows[0]["value"]), rows[0]["version"]) if rows else ABSENT

    async def write(self, key: str, new: Versioned) -> bool:
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


class StateStore:
    """JSON values by key, changed by compare-and-set."""

    def __init__(
        self, backend: Backend, sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    ) -> None:
        self._backend = backend
        self._sleep = sleep

    async def get(self, key: str) -> JsonValue:
        return (await self._backend.read(key)).value

    async def update(self, key: str, change: Callable[[JsonValue], JsonValue]) -> JsonValue:
        """Replace the value of `key` (None at first) by `change(value)` and return the new one.

        `change` runs again when another caller was faster, so it must have no other effect.

        Raises:
            StateFull: the key is new and there are `STATE_MAX_KEYS` already.
        """
        while True:
            old = await self._backend.read(key)
            new = Versioned(change(old.value), old.version + 1)
            if await self._backend.write(key, new):
                return new.value
            # A random pause, so that two callers do not collide in step for ever.
            await self._sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))  # noqa: S311


def _full(max_keys: int) -> StateFull:
    return StateFull(f"The state store is full: it holds {max_keys} keys (STATE_MAX_KEYS).")


@lifespan
async def warn_of_lost_state(_server: FastMCP[Any]) -> AsyncIterator[dict[str, Any]]:
    """Say at the start that a production server keeps its state in memory."""
    settings = StateManagementSettings()
    if settings.state_url == MEMORY and settings.environment == "production":
        state_log.warning("State is lost when this process ends: set STATE_URL=sqlite:///file")
    yield {}


@asynccontextmanager
async def state_store() -> AsyncIterator[StateStore]:
    settings = StateManagementSettings()
    if settings.state_url == MEMORY:
        yield StateStore(MemoryBackend(settings.state_max_keys))
        return
    async with open_database(settings.state_url) as database:
        backend = DatabaseBackend(database, settings.state_max_keys)
        await backend.create()
        with readiness.reporting("state", database.ping):
            yield StateStore(backend)


State = Annotated[StateStore, Shared(state_store)]
