import logging
{% if cookiecutter.environment_config %}
import os
{% endif %}

import fastmcp
import pytest

from {{ cookiecutter.package_name }}.settings import (
    Settings,
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-surface",
        action="store_true",
        help="agree to the tools and resources as they are now: write tests/surface",
    )


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True, scope="session")
def _plain_log() -> None:
    """Leave FastMCP's log to pytest: drawn in colour, it takes longer than most tests."""
    log = logging.getLogger(fastmcp.__name__)
    log.handlers.clear()
    log.propagate = True


@pytest.fixture(autouse=True)
def _default_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's own settings: a test sees defaults, and what it sets itself."""
    for settings in Settings.__subclasses__():
        for field in settings.model_fields:
            monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
{% if cookiecutter.environment_config %}
    monkeypatch.setenv("ENV_FILE", os.devnull)
{% endif %}
