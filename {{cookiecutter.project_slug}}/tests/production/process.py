"""A running server: its input, output and log."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from fastmcp import Client

from .wire import GREETING

# A process needs these to start. A client may pass only these.
NEEDED = ("PATH", "PYTHONPATH", "SYSTEMROOT", "VIRTUAL_ENV")
# Set by tests/conftest.py, so that none of the developer's files is read.
{% if cookiecutter.environment_config %}
SOURCES = ("FASTMCP_ENV_FILE", "ENV_FILE", "SECRETS_DIR")
{% else %}
SOURCES = ("FASTMCP_ENV_FILE",)
{% endif %}
PATIENCE_SECONDS = 30
# Tests send this token. A server that requires authentication accepts it: see `probe_server.py`.
TOKEN = "token-of-the-tests"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}

# The signal that asks a process to end; on Windows, this is the only one.
STOP: int = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)


def bare_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return an environment that is independent of this process, with `variables`."""
    kept = {name: os.environ[name] for name in (*NEEDED, *SOURCES) if name in os.environ}
    places = dict.fromkeys(("HOME", "LOCALAPPDATA", "WIN_PD_OVERRIDE_LOCAL_APPDATA"), str(home))
    return {**kept, **places, "TEST_TOKEN": TOKEN, **variables}


def message(method: str, number: int = 1, **params: Any) -> dict[str, Any]:
    """Return a JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def call(tool: str, number: int = 1, **arguments: Any) -> dict[str, Any]:
    """Return the request that calls a tool, in the form of the handshake eras."""
    return message("tools/call", number, name=tool, arguments=arguments)


class ServerProcess:
    """A server with pipes for its input and output, and its log so far."""

    def __init__(self, command: tuple[str, ...], home: Path, **variables: str) -> None:
        self.home = home
        self.url = ""
        self.log: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env=bare_environment(home, **variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A separate group, to end it with its workers and, on Windows, to send Ctrl-Break.
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._log_has_ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read_log)
        self._thread.start()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.log.append(line)
                self._changed.notify_all()
        with self._changed:
            self._log_has_ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """End the process, and workers that it may have left behind."""
        if self._thread.is_alive() or self.process.poll() is None:
            self.process.kill()
            if sys.platform != "win32":
                with suppress(ProcessLookupError):
                    os.killpg(self.process.pid, signal.SIGKILL)
        self._thread.join()
        with self.process:  # close its pipes
            pass

    def wait_until_serving(self) -> None:
        """Wait until the server serves HTTP; with several workers, until one of them does."""
        line = self.wait_for_line("running on http://")
        self.wait_for_line("Application startup complete")
        self.url = "http://" + line.split("http://")[1].split()[0].rstrip('",')

    def wait_for_line(self, text: str, times: int = 1) -> str:
        """Wait for a line that contains `text`, the first or a later one."""

        def found() -> list[str]:
            return [line for line in self.log if text in line][times - 1 :]

        with self._changed:
            self._changed.wait_for(lambda: found() or self._log_has_ended, PATIENCE_SECONDS)
            assert found(), "".join(self.log)
            return found()[0]

    def client(self, mode: str = "auto") -> Client[Any]:
        """Return a client of the newest protocol, or as `legacy` of the handshake before it."""
        return Client(f"{self.url}/mcp", mode=mode, auth=TOKEN)

    @asynccontextmanager
    async def clients(self) -> AsyncIterator[tuple[Client[Any], Client[Any]]]:
        """Connect a client of each protocol era."""
        async with self.client() as modern, self.client("legacy") as legacy:
            yield modern, legacy

    async def logged(self, text: str, times: int = 1) -> str:
        """Wait for a line without blocking the test's tasks."""
        return await anyio.to_thread.run_sync(self.wait_for_line, text, times)

    async def ended(self) -> int:
        """Wait until the process ends, and return its exit code."""
        return await anyio.to_thread.run_sync(self.process.wait, PATIENCE_SECONDS)

    def greet(self) -> None:
        """Complete the handshake on stdio."""
        self.send(message("initialize", 0, **GREETING))
        assert self.receive()["id"] == 0
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def send(self, content: Any) -> None:
        """Write a line of JSON to stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(content) + "\n")
        self.process.stdin.flush()

    def receive(self) -> Any:
        """Read a line of stdout, which must be a message."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())
