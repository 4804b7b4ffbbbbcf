"""Where a setting comes from, which source wins, and what is never shown."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from {{ cookiecutter.package_name }} import (
    settings,
)
from {{ cookiecutter.package_name }}.patterns.environment_config import (
    describe_settings,
)
from {{ cookiecutter.package_name }}.settings import (
    InvalidSettings,
    Settings,
    check_settings,
)


class ProbeSettings(Settings):
    probe_count: int = 1
    probe_seconds: float = 3
    probe_token: SecretStr = SecretStr("")


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


def seconds() -> float:
    return ProbeSettings().probe_seconds


@pytest.mark.parametrize(
    ("stronger", "weaker"), [("variable", "env file"), ("env file", "secret file")]
)
def test_the_environment_overrides_the_env_file_and_the_env_file_a_secret_file(
    stronger: str, weaker: str, sources: Sources
) -> None:
    sources.set(weaker, "PROBE_SECONDS", "2")
    assert seconds() == 2
    sources.set(stronger, "PROBE_SECONDS", "1")
    assert seconds() == 1


def test_every_source_overrides_the_profile_and_the_profile_overrides_the_default(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "profiles.toml").write_text("[production]\nprobe_seconds = 2\n", encoding="utf-8")
    monkeypatch.setattr(settings, "PROFILES", tmp_path / "profiles.toml")
    assert seconds() == 3
    sources.set("variable", "ENVIRONMENT", "production")
    assert seconds() == 2
    sources.set("secret file", "PROBE_SECONDS", "1")
    assert seconds() == 1


def test_the_env_file_of_the_current_folder_is_never_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("project", "current"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "pyproject.toml").touch()
    (tmp_path / "current" / ".env").write_text("PROBE_SECONDS=123.25\n")
    monkeypatch.chdir(tmp_path / "current")
    monkeypatch.setattr(settings, "PROJECT", tmp_path / "project")
    monkeypatch.delenv("ENV_FILE")
    assert seconds() != 123.25


def test_every_bad_variable_is_named_in_one_line_without_its_value(sources: Sources) -> None:
    for name in ("PROBE_SECONDS", "PROBE_COUNT"):
        sources.set("env file", name, "hunter2")
    with pytest.raises(InvalidSettings) as refusal:
        check_settings()
    message = str(refusal.value)
    assert "PROBE_SECONDS: " in message
    assert "PROBE_COUNT: " in message
    assert "hunter2" not in message
    assert "\n" not in message


def test_effective_values_are_shown_by_variable_and_secrets_are_masked(sources: Sources) -> None:
    sources.set("env file", "PROBE_SECONDS", "1")
    sources.set("secret file", "PROBE_TOKEN", "hunter2")
    shown = {"PROBE_SECONDS": 1, "PROBE_TOKEN": "**********"}
    assert describe_settings(ProbeSettings).items() >= shown.items()
    assert describe_settings().items() >= shown.items()
