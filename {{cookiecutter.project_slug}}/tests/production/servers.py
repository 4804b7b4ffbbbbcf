"""Servers that start while other tests run, because a start takes longer than most tests.

The fixtures of `conftest.py` get them here. The mark `serving` gives a test a server with certain
flags and variables. Tests with the same values share a server, which is closed after the last of
them. In a variable, `{home}` is the home folder of the server, and `{api.url}` the `url` of the
fixture `api`. Tests with the mark `ends_server` end their server, so they run last.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import {{ cookiecutter.package_name }} as package
from {{ cookiecutter.package_name }}.server import (
    mcp,
)

from .process import ServerProcess

FOLDER = Path(__file__).parent
HTTP = ("--transport", "http", "--port", "0")
PLAIN_SERVER = ("-m", package.__name__)
PROBE_SERVER = (str(FOLDER / "probe_server.py"),)
# Long enough for a call, short enough to wait for; a call is cut by the first before the second.
GRACE_SECONDS = 0.8
DEADLINE_SECONDS = 1.3
LIMITS = {
    "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
    "TOOL_DEADLINE_SECONDS": str(DEADLINE_SECONDS),
}
# How many servers start in advance.
AHEAD = 1


@dataclass(frozen=True)
class Start:
    """How a server is started."""

    command: tuple[str, ...]
    variables: frozenset[tuple[str, str]] = frozenset()


def starts(test: Any) -> dict[str, Start]:
    """Return the servers that a test asks for, by fixture."""
    mark = test.get_closest_marker("serving") or pytest.mark.serving().mark
    variables = {**LIMITS, **mark.kwargs}
    found = {
        "server": Start((*PROBE_SERVER, *HTTP, *mark.args), frozenset(variables.items())),
        "stdio_server": Start((*PROBE_SERVER, *mark.args), frozenset(mark.kwargs.items())),
        "plain_server": plain_start(),
    }
    names = {"plain_server" if name == "deployed" else name for name in test.fixturenames}
    return {name: start for name, start in found.items() if name in names}


@cache
def plain_start() -> Start:
    """Start the project as it is, except for the token if the server requires one."""
    if mcp.auth is None:
        return Start((*PLAIN_SERVER, *HTTP))
    return Start((*PROBE_SERVER, *HTTP), frozenset({("PROBES", "no")}))


def upcoming(tests: Iterable[Any]) -> Iterator[Start]:
    """Return every start that the tests will need, in their order."""
    running: set[Start] = set()
    for test in tests:
        needed = starts(test)
        yield from (start for start in needed.values() if start not in running)
        running |= {start for name, start in needed.items() if name != "stdio_server"}
        if test.get_closest_marker("ends_server"):
            running -= set(needed.values())


class Variables(dict[str, Any]):
    """The fields in the value of a variable: fixtures, by name."""

    def __init__(self, request: pytest.FixtureRequest, home: Path) -> None:
        super().__init__(home=home)
        self._request = request

    def __missing__(self, fixture: str) -> Any:
        return self._request.getfixturevalue(fixture)


class Servers:
    """All servers of a test run."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        own = [test for test in request.session.items if FOLDER in test.path.parents]
        self._upcoming = list(upcoming(own))
        self._uses = Counter(start for test in own for start in starts(test).values())
        self._waiting: dict[Start, ServerProcess] = {}
        self._shared: dict[Start, ServerProcess] = {}
        self._closing = ExitStack()

    def close(self) -> None:
        self._closing.close()

    @contextmanager
    def share(self, start: Start) -> Iterator[ServerProcess]:
        """Yield the server that such tests share, or a new one if a test has ended it."""
        server = self._shared.get(start)
        if server is None or server.process.poll() is not None:
            server = self._shared[start] = self.take(start)
            server.wait_until_serving()
        yield server
        self._uses[start] -= 1
        if not self._uses[start]:
            self._shared.pop(start).close()

    def take(self, start: Start) -> ServerProcess:
        """Return a new server, and start those that will be wanted next."""
        server = self._waiting.pop(start, None) or self._start(start)
        for later in [*self._upcoming]:
            if len(self._waiting) < AHEAD and later not in self._waiting:
                self._waiting[later] = self._start(later)
        return server

    def replace(self, server: ServerProcess) -> ServerProcess:
        """Serve at the address of a server that has ended, with the same settings."""
        start = next(start for start, shared in self._shared.items() if shared is server)
        again = self._shared[start] = self._start(start, "--port", server.url.rpartition(":")[2])
        again.wait_until_serving()
        return again

    def _start(self, start: Start, *flags: str) -> ServerProcess:
        if start in self._upcoming and not flags:
            self._upcoming.remove(start)
        home = self._request.getfixturevalue("tmp_path_factory").mktemp("home")
        values = Variables(self._request, home)
        variables = {name: value.format_map(values) for name, value in start.variables}
        server = ServerProcess((*start.command, *flags), home, **variables)
        self._closing.callback(server.close)
        return server
