"""PostgreSQL with a self-signed certificate: what each sslmode accepts."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from my_mcp_server.database import (
    DatabaseSettings,
    StatementRefused,
    check_postgres,
    checked_url,
    open_database,
)

from ..engines import PostgresEngine
from ..scaling.certificates import certificates

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the files of two authorities: the one of the server's certificate (`known`), and another one."""
    return {name: certificates(tmp_path_factory.mktemp(name))[0] for name in ("known", "other")}


@pytest.fixture(scope="module")
def postgres(authorities: dict[str, Path]) -> Iterator[PostgresEngine]:
    engine = PostgresEngine()
    for option, name in (("ssl_cert_file", "authority.pem"), ("ssl_key_file", "key.pem")):
        copy = engine.folder / name
        copy.write_bytes(authorities["known"].with_name(name).read_bytes())
        copy.chmod(0o600)
        if user := engine.as_user():
            os.chown(copy, user["user"], user["group"])
        engine.options[option] = str(copy)
    engine.options["ssl"] = "on"
    with engine:
        yield engine


@pytest.fixture(autouse=True)
def _no_files_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set an empty home folder, since the driver also looks for certificates there."""
    monkeypatch.setenv("HOME", str(tmp_path))


async def is_encrypted(url: str) -> bool:
    """Connect like a readiness check and like a call, and return whether the latter connection uses TLS."""
    checked = checked_url(url)
    await check_postgres(checked, DatabaseSettings())
    async with open_database(checked) as database:
        rows = await database.fetch("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    return bool(rows[0]["ssl"])


async def test_a_connection_is_encrypted_unless_the_url_forbids_it(postgres: PostgresEngine) -> None:
    assert await is_encrypted(postgres.url)
    assert await is_encrypted(f"{postgres.url}?sslmode=require")
    assert not await is_encrypted(f"{postgres.url}?sslmode=disable")


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
async def test_a_certificate_of_a_known_authority_is_accepted(
    mode: str, postgres: PostgresEngine, authorities: dict[str, Path]
) -> None:
    assert await is_encrypted(f"{postgres.url}?sslmode={mode}&sslrootcert={authorities['known']}")


@pytest.mark.parametrize(
    ("host", "options", "sentence"),
    [
        ("127.0.0.1", "sslmode=verify-full&sslrootcert={other}", "is not trusted"),
        ("127.0.0.1", "sslmode=verify-ca&sslrootcert={other}", "is not trusted"),
        ("localhost", "sslmode=verify-full&sslrootcert={known}", "is not trusted"),
        ("127.0.0.1", "sslmode=verify-full", "set sslrootcert in the URL"),
        ("127.0.0.1", "sslmode=require&sslcert={known}&sslkey={known}", "TLS handshake"),
        (
            "127.0.0.1",
            "sslmode=require&ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2",
            "TLS handshake",
        ),
    ],
)
async def test_what_tls_cannot_verify_is_refused_and_no_retry_helps(
    host: str, options: str, sentence: str, postgres: PostgresEngine, authorities: dict[str, Path]
) -> None:
    url = postgres.url.replace("127.0.0.1", host)
    checked = checked_url(f"{url}?{options.format(**authorities)}")
    for attempt in (check_postgres(checked, DatabaseSettings()), open_once(checked)):
        with pytest.raises(StatementRefused, match=sentence) as refusal:
            await attempt
        assert not refusal.value.retryable


async def open_once(url: str) -> None:
    async with open_database(url):
        pass
