"""The console script: stdio by default, `--transport http` for streamable HTTP.

Everything else is imported late. So nothing that an import prints reaches a client, and an invalid
setting of FastMCP, which reads its settings at import, is reported in one line like any other.
"""

import gc
{% if cookiecutter.environment_config %}
import importlib
import pkgutil
{% endif %}
import sys
from collections.abc import Iterator
from contextlib import contextmanager
{% if cookiecutter.environment_config %}
from pathlib import Path
{% endif %}
from typing import TYPE_CHECKING

from . import __version__
from .runtime.descriptors import open_standard_streams
from .runtime.flags import parse_flags
{% if cookiecutter.environment_config %}
from .settings import (
    EXIT_BAD_SETTINGS,
    InvalidSettings,
    check_profiles,
    check_settings,
    import_fastmcp,
)
{% else %}
from .settings import EXIT_BAD_SETTINGS, InvalidSettings, check_settings, import_fastmcp
{% endif %}

if TYPE_CHECKING:
    from .runtime.drain import Drain
    from .runtime.server import Server

COMMAND = "{{ cookiecutter.project_slug }}"
GARBAGE_THRESHOLD = 20_000


def load() -> "Server":
    """Import the server.

    The loaded modules stay in memory. Collecting garbage in them would take a tenth of the startup
    time, and later block the event loop for a tenth of a second each time, so they are frozen. A
    call creates thousands of short-lived objects, so the threshold is above the default of 700.
    """
    gc.disable()
    from .runtime.logs import configure_logging  # noqa: PLC0415
    from .server import mcp  # noqa: PLC0415

    check_settings()
{% if cookiecutter.environment_config %}
    import_patterns()
    check_profiles()
{% endif %}
    configure_logging(mcp.log_format)
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    gc.enable()
    return mcp


{% if cookiecutter.environment_config %}
def import_patterns() -> None:
    """Import patterns that no tool uses, because a profile may set their variables."""
    for module in pkgutil.walk_packages([str(Path(__file__).parent)], f"{__package__}."):
        if module.name.split(".")[1] in {"patterns", "utils"}:
            importlib.import_module(module.name)


{% endif %}
def app() -> "Drain":
    """Create the ASGI app that each HTTP worker serves."""
    with bad_settings_in_one_line():
        import_fastmcp()
        from .runtime.http import create_app  # noqa: PLC0415

        return create_app(load())


def main() -> None:
    closed = open_standard_streams()
    parse_flags(COMMAND, __version__)
    with bad_settings_in_one_line():
        import_fastmcp()
        from .runtime.command import run  # noqa: PLC0415

        run(COMMAND, load, app=f"{__package__}.__main__:app", closed=closed)


@contextmanager
def bad_settings_in_one_line() -> Iterator[None]:
    try:
        yield
    except InvalidSettings as error:
        sys.stderr.write(f"{COMMAND}: {error}\n")
        sys.exit(EXIT_BAD_SETTINGS)


if __name__ == "__main__":
    main()
