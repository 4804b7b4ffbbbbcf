"""Show the configuration of a running server: the effective value of every variable, and no
secret.

It is easier to ask the server for a wrong value than to read four files in order of precedence. A
value is secret by its type: a `SecretStr` is shown as asterisks if it is set, and empty
otherwise.
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
