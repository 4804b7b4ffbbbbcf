{% if cookiecutter.environment_config %}
"""Where every setting comes from: the variable `HTTP_PORT` sets the field `http_port`.

The first of these that has a value wins: the environment, the `.env` file, a secret file, the
profile of `ENVIRONMENT`, the default in the code. The `.env` file is the one next to
pyproject.toml, or `ENV_FILE`. It is never the one in the current folder: a client that starts the
server may choose any folder. A source that cannot be read stops the server at startup, so that
nothing in it is silently ignored.
"""
{% else %}
"""Where every setting comes from: the variable `HTTP_PORT` sets the field `http_port`.

Settings are read when they are first needed, so importing the server reads nothing and cannot fail.
"""
{% endif %}

import importlib
import os
{% if cookiecutter.environment_config %}
import tomllib
{% endif %}
from collections.abc import {{ "Container, " if cookiecutter.environment_config }}Iterator, Mapping
from contextlib import contextmanager
{% if cookiecutter.environment_config %}
from io import StringIO
from pathlib import Path
{% endif %}
from typing import Annotated, Any, Literal, get_args, get_origin

{% if cookiecutter.environment_config %}
from dotenv import dotenv_values
from dotenv.parser import parse_stream
{% endif %}
from pydantic import BeforeValidator, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
{% if cookiecutter.environment_config %}
    InitSettingsSource,
{% endif %}
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

EXIT_BAD_SETTINGS = 2
{% if cookiecutter.environment_config %}

Environment = Literal["development", "staging", "production"]

PROJECT = Path(__file__).parents[2]
PROFILES = Path(__file__).with_name("environment_config.toml")
SECRETS = Path("/run/secrets")
# These locate the other sources, so they are only read from the environment.
SOURCES = ("ENV_FILE", "SECRETS_DIR")
{% endif %}


class InvalidSettings(Exception):
    """One line for the operator of the server, with the problem and its place."""


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


class Settings(BaseSettings):
    """Base class of all settings. A blank variable is unset; values never show in errors."""

    model_config = SettingsConfigDict(
        allow_inf_nan=False,
        defer_build=True,  # built when first read, not at import
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )
{% if cookiecutter.environment_config %}

    environment: Environment = "development"
{% endif %}

    @field_validator("*", mode="before")
    @classmethod
    def _ignore_space_and_case(cls, value: Any, info: ValidationInfo) -> Any:
        """Strip surrounding whitespace, and accept a choice in any case."""
        if not isinstance(value, str):
            return value
        value = value.strip()
        annotation = cls.model_fields[str(info.field_name)].annotation
        choices = get_args(annotation) if get_origin(annotation) is Literal else ()
        return next((choice for choice in choices if choice.lower() == value.lower()), value)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - passed by name
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
{% if cookiecutter.environment_config %}
        return (
            init_settings,
            Variables(settings_cls, os.environ),
            Variables(settings_cls, _env_file()),
            Variables(settings_cls, _secret_files(settings_cls.model_fields)),
            Profile(settings_cls, {}),
        )
{% else %}
        return init_settings, Variables(settings_cls, os.environ)
{% endif %}


class Variables(EnvSettingsSource):
    """Values by name; the case of a name does not matter, and a blank value is unset."""

    def __init__(
        self, settings_cls: type[BaseSettings], variables: Mapping[str, str | None]
    ) -> None:
        super().__init__(settings_cls)
        self.env_vars = {
            name.lower(): value for name, value in variables.items() if value and value.strip()
        }
{% if cookiecutter.environment_config %}


class Profile(InitSettingsSource):
    """The table of the selected environment in `environment_config.toml`."""

    def __call__(self) -> dict[str, Any]:
        environment = str(self.current_state.get("environment", "development"))
        values = _profiles().get(environment.strip().lower())
        if not isinstance(values, dict):
            return {}
        return {name.lower(): value for name, value in values.items()}


def _env_file() -> dict[str, str | None]:
    chosen = os.environ.get("ENV_FILE", "").strip()
    path = Path(chosen).expanduser() if chosen else PROJECT / ".env"
    if not chosen and not ((PROJECT / "pyproject.toml").is_file() and os.path.lexists(path)):
        # Installed from a wheel, the parent folder belongs to Python: no project, no `.env`.
        return {}
    text = _read(path, "ENV_FILE" if chosen else "")
    for line in parse_stream(StringIO(text)):
        if line.error or (line.key and line.value is None):
            raise InvalidSettings(f"{path}: line {line.original.line} is not NAME=value")
    variables = dotenv_values(stream=StringIO(text))
    if misplaced := [name for name in SOURCES if name in variables]:
        raise InvalidSettings(f"{path}: {misplaced[0]} is read from the environment only")
    return variables


def _secret_files(names: Container[str]) -> dict[str, str | None]:
    chosen = os.environ.get("SECRETS_DIR", "").strip()
    folder = Path(chosen).expanduser() if chosen else SECRETS
    if not chosen and not folder.is_dir():
        return {}
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise InvalidSettings(f"SECRETS_DIR: {folder}: {error.strerror}") from None
    return {path.name: _read(path) for path in paths if path.name.lower() in names}


def _profiles() -> dict[str, Any]:
    try:
        return tomllib.loads(_read(PROFILES))
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettings(f"{PROFILES}: {error}") from None


def _read(path: Path, variable: str = "") -> str:
    """Return the text of a UTF-8 file, without the byte order mark that Windows adds."""
    place = f"{variable}: {path}" if variable else str(path)
    if path.is_fifo():
        raise InvalidSettings(f"{place}: a pipe, which can be read only once; use a file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidSettings(f"{place}: {error.strerror}") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # UTF-16 without a byte order mark would pass as UTF-8
        raise InvalidSettings(f"{place}: not a text file in UTF-8")
    return text
{% endif %}


def check_settings() -> None:
    """Read every setting of the server.

    Raises:
        InvalidSettings: one line that names every invalid variable.
    """
    problems: dict[str, None] = {}
    for settings in Settings.__subclasses__():
        try:
            settings()
        except ValidationError as error:
            problems.update(dict.fromkeys(_problems(error)))
        except (InvalidSettings, SettingsError) as error:
            problems[str(error)] = None
    if problems:
        raise InvalidSettings("; ".join(problems))
{% if cookiecutter.environment_config %}


def check_profiles() -> None:
    """Find keys that have no effect. The whole server must be imported.

    Raises:
        InvalidSettings: one line that names every such key.
    """
    known = {name for settings in Settings.__subclasses__() for name in settings.model_fields}
    problems = []
    for table, values in _profiles().items():
        if not isinstance(values, dict):
            problems.append(f"{PROFILES}: {table} belongs in the table of an environment")
        elif table not in get_args(Environment):
            problems.append(f"{PROFILES}: unknown environment {table}")
        else:
            unknown = [name for name in values if name.lower() not in known - {"environment"}]
            problems += [f"{PROFILES}: [{table}] {name} has no effect" for name in unknown]
    if problems:
        raise InvalidSettings("; ".join(problems))
{% endif %}


def import_fastmcp() -> None:
    """Import FastMCP, which then reads its own settings: variables that begin with `FASTMCP_`.

    Raises:
        InvalidSettings: one line that names every invalid one.
    """
    try:
        with _some_home():
            importlib.import_module("fastmcp")
    except ValidationError as error:
        problems = [f"FASTMCP_{problem}" for problem in _problems(error)]
        raise InvalidSettings("; ".join(problems)) from None
    except ValueError as error:  # a value that is not JSON, or a binary FASTMCP_ENV_FILE
        raise InvalidSettings(f"FASTMCP_: {error}") from None


@contextmanager
def _some_home() -> Iterator[None]:
    """Let FastMCP look up the user's data folder, even for a user without a home folder."""
    if os.path.isabs(os.path.expanduser("~")):  # noqa: PTH111, PTH117 - pathlib would raise
        yield
        return
    os.environ["HOME"] = "/nonexistent"
    try:
        yield
    finally:
        del os.environ["HOME"]  # a relative one is useless too


def _problems(error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        variable = str(problem["loc"][0]).upper() + ": " if problem["loc"] else ""
        lines.append(variable + problem["msg"].removeprefix("Value error, "))
    return lines
