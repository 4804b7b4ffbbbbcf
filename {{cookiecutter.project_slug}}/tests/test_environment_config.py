"""Where a setting comes from, which source wins, and what is never shown."""

import json
import tomllib
from pathlib import Path

import pytest
from fastmcp import Client, FastMCP
from pydantic import Field, SecretStr, ValidationError

from {{ cookiecutter.package_name }} import (
    settings,
)
from {{ cookiecutter.package_name }}.patterns.environment_config import (
    describe_settings,
)
from {{ cookiecutter.package_name }}.runtime.deadlines import (
    DeadlineSettings,
)
from {{ cookiecutter.package_name }}.runtime.serving import (
    ServingSettings,
)
from {{ cookiecutter.package_name }}.settings import (
    InvalidSettings,
    Settings,
    check_settings,
)
from {{ cookiecutter.package_name }}.tools.environment_config import (
    config_settings,
)

# Of the profile "production".
PROFILE: dict[str, float] = tomllib.loads(settings.PROFILES.read_text())["production"]


in_every_source = pytest.mark.parametrize("source", ["variable", "env file", "secret file"])


class VaultSettings(Settings):
    vault_token: SecretStr = SecretStr("")
    vault_pin: int = Field(0, le=9999)


class Sources:
    """Everywhere a value can be set."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._monkeypatch = monkeypatch

    def set(self, source: str, name: str, value: str) -> None:
        match source:
            case "variable":
                self._monkeypatch.setenv(name, value)
            case "env file":
                with (self._folder / "chosen.env").open("a", encoding="utf-8") as file:
                    file.write(f"{name}={value}\n")
                self._monkeypatch.setenv("ENV_FILE", str(self._folder / "chosen.env"))
            case "secret file":
                (self._folder / name.lower()).write_text(f"{value}\n", encoding="utf-8")
                self._monkeypatch.setenv("SECRETS_DIR", str(self._folder))


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sources:
    return Sources(tmp_path, monkeypatch)


def grace() -> float:
    return ServingSettings().shutdown_grace_seconds


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [("variable", "env file"), ("variable", "secret file"), ("env file", "secret file")],
)
def test_the_environment_wins_over_the_env_file_and_that_over_a_secret_file(
    stronger: str, weaker: str, sources: Sources
) -> None:
    sources.set(weaker, "SHUTDOWN_GRACE_SECONDS", "2")
    assert grace() == 2
    sources.set(stronger, "SHUTDOWN_GRACE_SECONDS", "1")
    assert grace() == 1


@in_every_source
def test_every_source_wins_over_the_profile_and_that_over_the_default(
    source: str, sources: Sources
) -> None:
    default = grace()
    sources.set("variable", "ENVIRONMENT", "production")
    assert grace() == PROFILE["shutdown_grace_seconds"] != default
    sources.set(source, "SHUTDOWN_GRACE_SECONDS", "1")
    assert grace() == 1


@in_every_source
def test_the_profile_may_be_chosen_in_every_source(source: str, sources: Sources) -> None:
    sources.set(source, "ENVIRONMENT", "production")
    assert grace() == PROFILE["shutdown_grace_seconds"]


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_a_profile_changes_what_its_table_says(environment: str, sources: Sources) -> None:
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
        with pytest.raises(InvalidSettings, match=r"^ENV_FILE: there is no file .*missing\.env$"):
            read()


def test_the_env_file_beside_pyproject_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENV_FILE")
    monkeypatch.setattr(settings, "PROJECT", tmp_path)
    (tmp_path / ".env").write_text("SHUTDOWN_GRACE_SECONDS=1\n")
    assert grace() != 1  # no project: the folder of an installed package may be anybody's
    (tmp_path / "pyproject.toml").touch()
    assert grace() == 1


def test_the_env_file_of_the_current_folder_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("SHUTDOWN_GRACE_SECONDS=123.25\n")
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ENV_FILE")
    assert grace() != 123.25


@pytest.mark.parametrize("source", ["variable", "env file"])
def test_an_empty_variable_is_unset(source: str, sources: Sources) -> None:
    default = grace()
    sources.set(source, "SHUTDOWN_GRACE_SECONDS", "")
    assert grace() == default


@in_every_source
def test_a_list_is_written_with_commas_in_every_source(source: str, sources: Sources) -> None:
    sources.set(source, "ALLOWED_HOSTS", "a.example, b.example,")
    assert ServingSettings().allowed_hosts == ("a.example", "b.example")


@in_every_source
def test_every_bad_variable_is_in_the_one_line(source: str, sources: Sources) -> None:
    bad = {"HTTP_PORT": "http", "WORKERS": "0", "TOOL_DEADLINE_SECONDS": "99"}
    for name, value in bad.items():
        sources.set(source, name, value)
    with pytest.raises(InvalidSettings) as refusal:
        check_settings()
    message = str(refusal.value)
    assert all(f"{name}: " in message for name in bad)
    assert "\n" not in message


def test_a_secret_shows_in_no_form(sources: Sources) -> None:
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


async def test_the_resource_shows_effective_values_and_masks_secrets(sources: Sources) -> None:
    sources.set("variable", "HTTP_PORT", "9000")
    sources.set("env file", "VAULT_TOKEN", "hunter2")
    server = FastMCP("test")
    server.add_resource(config_settings)
    async with Client(server) as client:
        (content,) = await client.read_resource("config://settings")
    assert content.mime_type == "application/json"
    shown = json.loads(content.text)
    assert shown["HTTP_PORT"] == 9000
    assert shown["ENVIRONMENT"] == "development"
    assert shown["VAULT_TOKEN"] == "**********"
    assert "hunter2" not in content.text
    assert [*shown] == sorted(shown)
