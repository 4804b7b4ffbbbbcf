"""Start the server as a user does, and watch it."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

SLOW_SERVER = str(Path(__file__).with_name("slow_server.py"))
# What a process needs to start at all; a client may pass no more.
NEEDED = ("PATH", "PYTHONPATH", "SYSTEMROOT", "VIRTUAL_ENV")
# Set by tests/conftest.py, so that no file of the developer's is read.
{% if cookiecutter.environment_config %}
SOURCES = ("FASTMCP_ENV_FILE", "ENV_FILE", "SECRETS_DIR")
{% else %}
SOURCES = ("FASTMCP_ENV_FILE",)
{% endif %}
PATIENCE_SECONDS = 30

# The protocol of 2026-07-28, and the handshake of all before it.
ERAS = ("auto", "legacy")
ACCEPT = {"Accept": "application/json, text/event-stream"}
MODERN_VERSION = "2026-07-28"
MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
HANDSHAKE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}

# Of the shared servers: long enough for a call, short enough to wait for.
GRACE_SECONDS = 1.5
DEADLINE_SECONDS = 2

# What asks a process to end, where there is such a thing: on Windows, nothing else is heard.
STOP: int = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)


def bare_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a process that knows nothing of this one, and `variables`."""
    kept = {name: os.environ[name] for name in (*NEEDED, *SOURCES) if name in os.environ}
    places = dict.fromkeys(("HOME", "LOCALAPPDATA", "WIN_PD_OVERRIDE_LOCAL_APPDATA"), str(home))
    return {**kept, **places, **variables}


def message(method: str, number: int = 1, **params: Any) -> dict[str, Any]:
    """Return a JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def call(tool: str, number: int = 1, **arguments: Any) -> dict[str, Any]:
    """Return the request that calls a tool, in the form of the handshake eras."""
    return message("tools/call", number, name=tool, arguments=arguments)


@dataclass
class ServerProcess:
    """A running server, where it serves HTTP if it does, and what it has logged so far."""

    process: "subprocess.Popen[str]"
    url: str = ""
    log: list[str] = field(default_factory=list)
    complete: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def follow(self) -> None:
        """Read the log until the process ends."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.changed:
                self.log.append(line)
                self.changed.notify_all()
        with self.changed:
            self.complete = True
            self.changed.notify_all()

    def wait_for_line(self, text: str, times: int = 1) -> str:
        """Wait for a line that contains `text`, the first or a later one."""

        def found() -> list[str]:
            return [line for line in self.log if text in line][times - 1 :]

        with self.changed:
            self.changed.wait_for(lambda: found() or self.complete, PATIENCE_SECONDS)
            assert found(), "".join(self.log)
            return found()[0]

    async def logged(self, text: str, times: int = 1) -> str:
        """Wait for a line without holding up the test's own tasks."""
        return await anyio.to_thread.run_sync(self.wait_for_line, text, times)

    async def ended(self) -> int:
        """Wait for the end of the process, and return its exit code."""
        return await anyio.to_thread.run_sync(self.process.wait, PATIENCE_SECONDS)

    def wait_for_all(self) -> None:
        """Wait until all who write to the log have ended: the process and its workers."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.complete, PATIENCE_SECONDS)

    def send(self, content: Any) -> None:
        """Write a line of JSON to stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(content) + "\n")
        self.process.stdin.flush()

    def receive(self) -> Any:
        """Read a line of stdout, which must be a message."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


def start(
    environment: dict[str, str], *flags: str, program: tuple[str, ...] = (SLOW_SERVER,)
) -> "subprocess.Popen[str]":
    """Start the server with pipes for all that it reads and writes."""
    return subprocess.Popen(
        [sys.executable, *program, *flags],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A group of its own, to be ended with its workers and, on Windows, to be sent Ctrl-Break.
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def end(process: "subprocess.Popen[str]") -> None:
    """End a process, and workers that it may have left behind."""
    process.kill()
    if sys.platform != "win32":
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def following(process: "subprocess.Popen[str]") -> Iterator[ServerProcess]:
    """Read the log of a process meanwhile, and end it."""
    with process:
        server = ServerProcess(process)
        thread = threading.Thread(target=server.follow)
        thread.start()
        try:
            yield server
        finally:
            end(process)
            thread.join()


@contextmanager
def stdio_server(environment: dict[str, str]) -> Iterator[ServerProcess]:
    """Serve stdio; it has begun when it answers."""
    with following(start(environment)) as server:
        yield server


@contextmanager
def http_server(
    environment: dict[str, str], *flags: str, program: tuple[str, ...] = (SLOW_SERVER,)
) -> Iterator[ServerProcess]:
    """Serve HTTP on a free port, unless `flags` say which."""
    flags = ("--transport", "http", "--port", "0", *flags)
    with serving(start(environment, *flags, program=program)) as server:
        yield server


@contextmanager
def serving(process: "subprocess.Popen[str]") -> Iterator[ServerProcess]:
    """Wait until a process that was started serves HTTP."""
    with following(process) as server:
        line = server.wait_for_line("running on http://")
        server.wait_for_line("Application startup complete")  # of a worker, if there are several
        server.url = "http://" + line.split("http://")[1].split()[0].rstrip('",')
        yield server


SHARED = pytest.StashKey[dict[frozenset[tuple[str, str]], ServerProcess]]()
SPARE = pytest.StashKey["subprocess.Popen[str]"]()


def shared_server(
    request: pytest.FixtureRequest, port: str = "0", **variables: str
) -> ServerProcess:
    """Return the server that all tests with these `variables` use; another, if one has ended it.

    A start costs more than most tests, so a spare server starts beside them. Another server
    listens to `port`.
    """
    stash = request.session.stash
    servers = stash.setdefault(SHARED, {})
    key = frozenset(variables.items())
    if key not in servers or servers[key].process.poll() is not None:
        plain = not variables and port == "0"
        process = stash.get(SPARE, None) if plain else None
        process = process or start_shared(request, port, variables)
        if plain or SPARE not in stash:
            stash[SPARE] = start_shared(request, "0", {})
        stack = ExitStack()
        request.session.addfinalizer(stack.close)
        servers[key] = stack.enter_context(serving(process))
    return servers[key]


def start_shared(
    request: pytest.FixtureRequest, port: str, variables: dict[str, str]
) -> "subprocess.Popen[str]":
    """Start a server, and end it with the tests."""
    limits = {
        "SHUTDOWN_GRACE_SECONDS": str(GRACE_SECONDS),
        "TOOL_DEADLINE_SECONDS": str(DEADLINE_SECONDS),
    }
    home = request.getfixturevalue("tmp_path_factory").mktemp("home")
    environment = bare_environment(home, **limits, **variables)
    stack = ExitStack()
    request.session.addfinalizer(stack.close)
    process = stack.enter_context(start(environment, "--transport", "http", "--port", port))
    stack.callback(end, process)
    return process
