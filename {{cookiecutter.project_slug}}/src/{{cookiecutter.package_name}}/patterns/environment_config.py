"""Show the effective settings of a running server, without secrets.

A wrong value is easier to find by asking the server than by reading four sources in order of
precedence. Secrets are recognized by their type: a `SecretStr` is shown as asterisks, or as an
empty string if it is not set.
"""

from typing import Any

from pydantic_settings import BaseSettings

from ..settings import Settings


def describe_settings(*classes: type[BaseSettings]) -> dict[str, Any]:
    """Return JSON values by variable name, for `classes` or for all settings of the server."""
    values: dict[str, Any] = {}
    for settings in classes or Settings.__subclasses__():
        for field, value in settings().model_dump(mode="json").items():
            values[field.upper()] = value
    return dict(sorted(values.items()))
