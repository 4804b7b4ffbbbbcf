{% if cookiecutter.environment_config %}
"""Where every setting comes from: a field `http_port` is set by the variable `HTTP_PORT`.

The first of these that has a value wins: the environment, the `.env` file, a secret file, the
profile of `ENVIRONMENT`, the default in the code. The `.env` file is the one beside pyproject.toml,
or `ENV_FILE`; never one of the current folder, which for a server that a client starts may be
anybody's.
"""
{% else %}
"""Where every setting comes from: a field `http_port` is set by the variable `HTTP_PORT`.

Settings are read when they are first needed, so importing the server reads nothing and cannot fail.
"""
{% endif %}

{% if cookiecutter.environment_config %}
import os
import tomllib
from pathlib import Path
{% endif %}
from typing import Annotated, Any{{ ", Literal" if cookiecutter.environment_config else "" }}

from pydantic import BeforeValidator, ValidationError
{% if cookiecutter.environment_config %}
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

Environment = Literal["development", "staging", "production"]

PROJECT = Path(__file__).parents[2]
PROFILES = Path(__file__).with_name("environment_config.toml")
SECRETS = Path("/run/secrets")
{% else %}
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
{% endif %}


class InvalidSettings(Exception):
    """One line for the person who starts the server: the variable and what is wrong with it."""


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """Base class of all settings. An empty variable is unset; values never show in errors."""

    model_config = SettingsConfigDict(
        defer_build=True,  # built when first read, not at import
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )
{% if cookiecutter.environment_config %}

    environment: Environment = "development"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - passed by name
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        secrets = Path(os.environ.get("SECRETS_DIR") or SECRETS)
        return (
            init_settings,
            env_settings,
            DotEnvSettingsSource(settings_cls, env_file=_env_file(), env_file_encoding="utf-8"),
            *([SecretsSettingsSource(settings_cls, secrets)] if secrets.is_dir() else []),
            Profile(settings_cls, {}),
        )


class Profile(InitSettingsSource):
    """The table of the environment that the stronger sources have named."""

    def __call__(self) -> dict[str, Any]:
        environment = self.current_state.get("environment", "development")
        if environment == "development":
            return {}
        with PROFILES.open("rb") as file:
            profile: dict[str, Any] = tomllib.load(file).get(environment, {})
        return profile


def _env_file() -> Path | None:
    chosen = os.environ.get("ENV_FILE")
    if chosen:
        if not Path(chosen).exists():
            raise InvalidSettings(f"ENV_FILE: there is no file {chosen}")
        return Path(chosen)
    # Installed from a wheel, the folder above is the interpreter's: no project, no `.env`.
    return PROJECT / ".env" if (PROJECT / "pyproject.toml").is_file() else None
{% endif %}


def check_settings() -> None:
    """Read every setting of the server once.

    Raises:
        InvalidSettings: one line that names every bad variable.
    """
    problems: dict[str, None] = {}
    for settings in Settings.__subclasses__():
        try:
            settings()
        except ValidationError as error:
            problems.update(dict.fromkeys(_problems(error)))
    if problems:
        raise InvalidSettings("; ".join(problems))


def _problems(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        variable = str(problem["loc"][0]).upper() + ": " if problem["loc"] else ""
        lines.append(variable + problem["msg"].removeprefix("Value error, "))
    return lines
