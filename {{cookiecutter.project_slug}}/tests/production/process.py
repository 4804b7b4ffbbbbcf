"""Start the server as a user does, and watch it."""

import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio

SLOW_SERVER = str(Path(__file__).with_name("slow_server.py"))
# What a process needs to start at all; a client may pass no more.
NEEDED = ("PATH", "PYTHONPATH", "SYSTEMROOT", "VIRTUAL_ENV")
PATIENCE_SECONDS = 30


def bare_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a process that knows nothing of this one, and `variables`."""
    kept = {name: os.environ[name] for name in NEEDED if name in os.environ}
    return {**kept, "HOME": str(home), "LOCALAPPDATA": str(home), **variables}


@dataclass
class ServerProcess:
    """A process that serves HTTP, and what it has logged so far."""

    process: "subprocess.Popen[str]"
    log: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def follow(self) -> None:
        """Read the log until the process ends."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.changed:
                self.log.append(line)
                self.changed.notify_all()

    async def logged(self, text: str, times: int = 1) -> str:
        """Wait for a line of the log that contains `text`, the first or a later one."""

        def found() -> list[str]:
            return [line for line in self.log if text in line][times - 1 :]

        def wait() -> str:
            with self.changed:
                assert self.changed.wait_for(found, PATIENCE_SECONDS), "".join(self.log)
                return found()[0]

        return await anyio.to_thread.run_sync(wait)

    async def ended(self) -> int:
        """Wait for the end of the process, and return its exit code."""
        return await anyio.to_thread.run_sync(self.process.wait, PATIENCE_SECONDS)


def start(
    environment: dict[str, str], *flags: str, program: Sequence[str] = (SLOW_SERVER,)
) -> "subprocess.Popen[str]":
    """Start the server with pipes for all that it reads and writes."""
    return subprocess.Popen(
        [sys.executable, *program, *flags],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def until_connectable(address: str) -> None:
    """Wait for the first worker: the supervisor's socket refuses connections until then."""
    host, port = address.split(":")
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            with suppress(OSError):
                async with await anyio.connect_tcp(host, int(port)):
                    return
            await anyio.sleep(0.05)


@asynccontextmanager
async def http_server(
    environment: dict[str, str], *flags: str, program: Sequence[str] = (SLOW_SERVER,)
) -> AsyncIterator[tuple[ServerProcess, str]]:
    """Serve HTTP on a free port; yield the process and its base URL."""
    http = ("--transport", "http", "--port", "0")
    with start(environment, *http, *flags, program=program) as process:
        server = ServerProcess(process)
        thread = threading.Thread(target=server.follow)
        thread.start()
        try:
            line = await server.logged("running on http://")
            address = line.split("http://")[1].split()[0]
            await until_connectable(address)
            yield server, f"http://{address}"
        finally:
            process.kill()
            thread.join()
