"""Values that are stored encrypted: in memory, in files, on Redis or on PostgreSQL.

The stores of py-key-value wait for a server that does not respond, drop options of a URL, and open
ten connections of PostgreSQL at once. Here each operation has a time limit, and an outage is told
apart from a missing value. Libraries are imported when a URL needs them.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import anyio

if TYPE_CHECKING:
    from key_value.aio.protocols import AsyncKeyValue

store_log = logging.getLogger(__name__)

IN_MEMORY = "memory://"
# By the scheme of a URL: the library that it needs, and the extra of py-key-value that brings it.
STORES = {
    "memory": ("", ""),
    "file": ("", ""),
    "redis": ("redis", "redis"),
    "rediss": ("redis", "redis"),
    "postgresql": ("asyncpg", "postgresql"),
}
# A host of a URL, with or without a port.
HOST = re.compile(r"(\[[\da-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?")
SECONDS = 3  # for each operation
CONNECTIONS = 5  # of each process
DAY_SECONDS = 86_400
# The longest that anything is kept, and how long what has no end of its own.
LONGEST_SECONDS, KEPT_SECONDS = 365 * DAY_SECONDS, 90 * DAY_SECONDS


def scheme_of(url: str) -> str:
    return url.partition("://")[0].lower()


def is_in_memory(url: str) -> bool:
    return scheme_of(url) == "memory"


def checked_store_url(url: str) -> str:
    """Return the URL of a store as `open_store` takes it.

    Raises:
        ValueError: it cannot be used. The message does not repeat the URL, and so no password.
    """
    module, extra = STORES.get(scheme_of(url), ("", ""))
    hosts = urlsplit(url).netloc.rpartition("@")[2].split(",") if module else ()
    if scheme_of(url) not in STORES or not all(map(HOST.fullmatch, hosts)):
        raise ValueError(
            "must be memory://, file:///folder, redis://host or postgresql://user@host/name"
        )
    if module and find_spec(module) is None:
        raise ValueError(f"needs {module}: uv add 'py-key-value-aio[{extra}]'")
    return url


def open_store(
    variable: str, url: str, key: str, failure: Callable[[], Exception]
) -> "AsyncKeyValue":
    """Return the store at the checked URL of a setting, encrypted with `key`.

    It connects at its first use. Each error is logged, and `failure` returns the exception that is
    raised instead. A value that was encrypted with another key counts as absent.
    """
    from key_value.aio.wrappers.base import BaseWrapper  # noqa: PLC0415
    from key_value.aio.wrappers.encryption import FernetEncryptionWrapper  # noqa: PLC0415
    from key_value.aio.wrappers.ttl_clamp import TTLClampWrapper  # noqa: PLC0415

    @contextmanager
    def watched() -> Iterator[None]:
        try:
            with anyio.fail_after(SECONDS):
                yield
        except Exception as error:
            text = str(error) or type(error).__name__
            store_log.warning("%s: the store fails: %s", variable, text)
            raise failure() from error

    class Watched(BaseWrapper):
        def __init__(self, store: "AsyncKeyValue") -> None:
            self.key_value = store

        async def get(self, key: str, **options: Any) -> dict[str, Any] | None:
            with watched():
                found: dict[str, Any] | None = await super().get(key, **options)
            return found

        async def put(self, key: str, value: Mapping[str, Any], **options: Any) -> None:
            with watched():
                await super().put(key, value, **options)

        async def delete(self, key: str, **options: Any) -> bool:
            with watched():
                deleted: bool = await super().delete(key, **options)
            return deleted

    encrypted = FernetEncryptionWrapper(
        Watched(plain_store(url)),
        source_material=key,
        salt=variable,
        raise_on_decryption_error=False,
    )
    return TTLClampWrapper(encrypted, 1, LONGEST_SECONDS, missing_ttl=KEPT_SECONDS)


def plain_store(url: str) -> "AsyncKeyValue":
    scheme = scheme_of(url)
    if scheme == "file":
        from key_value.aio.stores import filetree  # noqa: PLC0415

        folder = Path(url2pathname(urlsplit(url).path))
        folder.mkdir(parents=True, exist_ok=True)
        return filetree.FileTreeStore(
            data_directory=folder,
            key_sanitization_strategy=filetree.FileTreeV1KeySanitizationStrategy(folder),
            collection_sanitization_strategy=filetree.FileTreeV1CollectionSanitizationStrategy(
                folder
            ),
        )
    if scheme in {"redis", "rediss"}:
        from key_value.aio.stores.redis import RedisStore  # noqa: PLC0415

        redis = import_module("redis.asyncio")  # an extra, like asyncpg: it may be missing
        # Given the URL, RedisStore would drop its options, such as those of TLS, and take a quoted
        # password as it is.
        pool = redis.BlockingConnectionPool.from_url(
            url, max_connections=CONNECTIONS, timeout=SECONDS, decode_responses=True
        )
        return RedisStore(client=redis.Redis.from_pool(pool))
    if scheme == "postgresql":
        from key_value.aio.stores.postgresql import PostgreSQLStore  # noqa: PLC0415

        class FewConnections(PostgreSQLStore):
            """Opens connections when they are needed, not ten at the start."""

            async def _setup(self) -> None:
                self._pool = None  # one that could not be set up has been closed
                await super()._setup()

            async def _create_pool(self) -> Any:
                create_pool = import_module("asyncpg").create_pool
                return await create_pool(url, min_size=0, max_size=CONNECTIONS)

        # It writes a traceback for a lost connection that is logged in one line here.
        logging.getLogger("asyncpg.pool").setLevel(logging.ERROR)
        return FewConnections(url=url, table_name="encrypted_values")
    from key_value.aio.stores.memory import MemoryStore  # noqa: PLC0415

    return MemoryStore()
