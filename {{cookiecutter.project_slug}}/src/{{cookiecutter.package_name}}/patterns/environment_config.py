"""Show what a running server is configured with: every variable's effective value, and never a
secret.

A wrong value is usually found by asking the server, not by reading four files in the order of
their precedence. What is a secret is a matter of type: a `SecretStr` shows as asterisks, set or
not shown at all.
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
