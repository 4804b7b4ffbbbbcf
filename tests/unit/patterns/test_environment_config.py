"""Settings in detail: every source, profiles, and files that are not understood."""

import os
import tomllib
from pathlib import Path

import pytest
from pydantic import Field, SecretStr, ValidationError

from my_mcp_server import (
    settings,
)
from my_mcp_server.patterns.environment_config import (
    describe_settings,
)
from my_mcp_server.runtime.deadlines import (
    DeadlineSettings,
)
from my_mcp_server.runtime.serving import (
    ServingSettings,
)
from my_mcp_server.settings import (
    InvalidSettings,
    Settings,
    check_profiles,
    check_settings,
)

from ...patterns.test_environment_config import Sources

# The profile "production".
PROFILE: dict[str, float] = tomllib.loads(settings.PROFILES.read_text("utf-8"))["production"]


in_every_source = pytest.mark.parametrize("source", ["variable", "env file", "secret file"])


class VaultSettings(Settings):
    vault_token: SecretStr = SecretStr("")
    vault_pin: int = Field(0, le=9999)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sources:
    return Sources(tmp_path, monkeypatch)


def grace() -> float:
    return ServingSettings().shutdown_grace_seconds


def check() -> None:
    check_settings()
    check_profiles()


def refusal() -> str:
    """Return the message with which the server refuses to start."""
    with pytest.raises(InvalidSettings) as refused:
        check()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_environment_wins_over_a_secret_file(sources: Sources) -> None:
    sources.set("secret file", "SHUTDOWN_GRACE_SECONDS", "2")
    assert grace() == 2
    sources.set("variable", "SHUTDOWN_GRACE_SECONDS", "1")
    assert grace() == 1


@in_every_source
def test_every_source_wins_over_the_profile_of_the_server(source: str, sources: Sources) -> None:
    default = grace()
    sources.set("variable", "ENVIRONMENT", "production")
    assert grace() == PROFILE["shutdown_grace_seconds"] != default
    sources.set(source, "SHUTDOWN_GRACE_SECONDS", "1")
    assert grace() == 1


@in_every_source
def test_every_source_can_select_the_profile(source: str, sources: Sources) -> None:
    sources.set(source, "ENVIRONMENT", "production")
    assert grace() == PROFILE["shutdown_grace_seconds"]


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_a_profile_changes_exactly_the_settings_in_its_table(
    environment: str, sources: Sources
) -> None:
    profile = tomllib.loads(settings.PROFILES.read_text())[environment]
    default = describe_settings(ServingSettings, DeadlineSettings)
    sources.set("variable", "ENVIRONMENT", environment)
    changed = describe_settings(ServingSettings, DeadlineSettings)
    assert changed != default
    assert changed == default | {
        "ENVIRONMENT": environment,
        **{name.upper(): value for name, value in profile.items() if name.upper() in default},
    }


def test_an_unknown_environment_is_refused_by_name(sources: Sources) -> None:
    sources.set("variable", "ENVIRONMENT", "prod")
    with pytest.raises(InvalidSettings) as refusal:
        check_settings()
    assert str(refusal.value) == (
        "ENVIRONMENT: Input should be 'development', 'staging' or 'production'"
    )


def test_an_env_file_that_does_not_exist_is_refused_by_name(
    tmp_path: Path, sources: Sources
) -> None:
    sources.set("variable", "ENV_FILE", str(tmp_path / "missing.env"))
    for read in (check_settings, grace):
        with pytest.raises(InvalidSettings, match=r"^ENV_FILE: .*missing\.env: No such file"):
            read()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"NAME=caf\xe9\n", "not a text file in UTF-8"),
        ("HTTP_PORT=1\n".encode("utf-16"), "not a text file in UTF-8"),
        ("HTTP_PORT=1\n".encode("utf-16-le"), "not a text file in UTF-8"),
        (b"HTTP_PORT=1\nHTTP_PORT\n", "line 2 is not NAME=value"),
        (b"HTTP_PORT=1\n-----BEGIN AGE ENCRYPTED FILE-----\n", "line 2 is not NAME=value"),
        (b"SECRETS_DIR=/run/other\n", "SECRETS_DIR is read from the environment only"),
    ],
)
def test_an_invalid_env_file_is_refused_with_the_reason(
    content: bytes, reason: str, tmp_path: Path, sources: Sources
) -> None:
    file = tmp_path / "bad.env"
    file.write_bytes(content)
    sources.set("variable", "ENV_FILE", str(file))
    assert refusal().endswith(f"{file}: {reason}")


def test_a_byte_order_mark_in_an_env_file_is_ignored(tmp_path: Path, sources: Sources) -> None:
    (tmp_path / "windows.env").write_bytes(b"\xef\xbb\xbfSHUTDOWN_GRACE_SECONDS=1\r\n")
    sources.set("variable", "ENV_FILE", str(tmp_path / "windows.env"))
    assert grace() == 1


def test_a_folder_is_not_read_as_a_file(tmp_path: Path, sources: Sources) -> None:
    (tmp_path / "http_port").mkdir()
    sources.set("variable", "ENV_FILE", str(tmp_path))
    assert refusal().startswith(f"ENV_FILE: {tmp_path}: ")
    sources.set("variable", "ENV_FILE", os.devnull)
    sources.set("variable", "SECRETS_DIR", str(tmp_path))
    assert refusal().startswith(f"{tmp_path / 'http_port'}: ")


def test_a_binary_secret_file_is_refused_by_name(tmp_path: Path, sources: Sources) -> None:
    (tmp_path / "vault_token").write_bytes(b"\xff\xfe\x00")
    sources.set("variable", "SECRETS_DIR", str(tmp_path))
    assert refusal() == f"{tmp_path / 'vault_token'}: not a text file in UTF-8"


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_secrets_dir_that_is_not_a_folder_is_refused_by_name(
    name: str, tmp_path: Path, sources: Sources
) -> None:
    (tmp_path / "file").touch()
    sources.set("variable", "SECRETS_DIR", str(tmp_path / name))
    assert refusal().startswith(f"SECRETS_DIR: {tmp_path / name}: ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[production\n", "Expected"),
        ("[production]\nhttp_prt = 1\n", "[production] http_prt has no effect"),
        ("[production]\nenvironment = 'staging'\n", "[production] environment has no effect"),
        ("[prod]\nhttp_port = 1\n", "unknown environment prod"),
        ("http_port = 1\n", "http_port belongs in the table of an environment"),
    ],
)
def test_a_profile_that_would_have_no_effect_is_refused_in_every_environment(
    text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "profiles.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(settings, "PROFILES", tmp_path / "profiles.toml")
    assert refusal().startswith(f"{tmp_path / 'profiles.toml'}: {reason}")


def test_a_profile_may_have_a_byte_order_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "profiles.toml").write_bytes(b"\xef\xbb\xbf[staging]\r\nLOG_LEVEL = 'debug'\r\n")
    monkeypatch.setattr(settings, "PROFILES", tmp_path / "profiles.toml")
    monkeypatch.setenv("ENVIRONMENT", "Staging")
    check_settings()
    assert ServingSettings().log_level == "DEBUG"


@in_every_source
def test_space_and_case_do_not_matter_in_any_source(source: str, sources: Sources) -> None:
    sources.set(source, "ENVIRONMENT", " Production\t")
    assert grace() == PROFILE["shutdown_grace_seconds"]
    sources.set(source, "VAULT_TOKEN", " hunter2 ")
    assert VaultSettings().vault_token.get_secret_value() == "hunter2"


def test_the_env_file_next_to_pyproject_toml_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENV_FILE")
    monkeypatch.setattr(settings, "PROJECT", tmp_path)
    (tmp_path / ".env").write_text("SHUTDOWN_GRACE_SECONDS=1\n")
    assert grace() != 1  # not a project: others may write to the folder of an installed package
    (tmp_path / "pyproject.toml").touch()
    assert grace() == 1


@pytest.mark.parametrize("blank", ["", " "])
@pytest.mark.parametrize("source", ["variable", "env file"])
def test_a_blank_variable_does_not_override_weaker_sources(
    source: str, blank: str, sources: Sources
) -> None:
    sources.set("secret file", "SHUTDOWN_GRACE_SECONDS", "1")
    sources.set(source, "SHUTDOWN_GRACE_SECONDS", blank)
    assert grace() == 1


@in_every_source
def test_a_list_is_written_with_commas_in_every_source(source: str, sources: Sources) -> None:
    sources.set(source, "ALLOWED_HOSTS", "a.example, b.example,")
    assert ServingSettings().allowed_hosts == ("a.example", "b.example")


@in_every_source
def test_one_line_names_every_bad_variable(source: str, sources: Sources) -> None:
    bad = {"HTTP_PORT": "http", "WORKERS": "0", "TOOL_DEADLINE_SECONDS": "99"}
    for name, value in bad.items():
        sources.set(source, name, value)
    with pytest.raises(InvalidSettings) as refusal:
        check_settings()
    message = str(refusal.value)
    assert all(f"{name}: " in message for name in bad)
    assert "\n" not in message


def test_a_secret_is_never_shown(sources: Sources) -> None:
    sources.set("variable", "VAULT_TOKEN", "hunter2")
    vault = VaultSettings()
    assert vault.vault_token.get_secret_value() == "hunter2"
    for shown in (repr(vault), str(vault), vault.model_dump_json(), str(describe_settings())):
        assert "hunter2" not in shown


@in_every_source
def test_a_bad_value_is_not_repeated(source: str, sources: Sources) -> None:
    sources.set(source, "VAULT_PIN", "hunter2")
    with pytest.raises(InvalidSettings, match="VAULT_PIN: ") as refusal:
        check_settings()
    assert "hunter2" not in str(refusal.value)
    with pytest.raises(ValidationError) as error:
        VaultSettings()
    assert "hunter2" not in str(error.value)
