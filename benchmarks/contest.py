"""The compared servers: four kinds with the same tools, each started as its documentation describes."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from .generated import generated_server
from .measure import TEMPLATE

OURS = "generated"
PLAIN = "FastMCP"
SDK = "MCPServer"
NAMES = (OURS, PLAIN, SDK, "low-level")
SCRIPTS = Path(__file__).with_name("contestants")
PATIENCE_SECONDS = 60
# The variables that a process needs to start.
NEEDED = ("PATH", "SYSTEMROOT", "VIRTUAL_ENV", "LANG")
UNLIMITED = {"RATE_LIMIT_PER_MINUTE": "1000000000", "RATE_LIMIT_BURST": "1000000000"}
ADD_NO_OPS = """
from benchmarks.contestants.padding import no_ops

for no_op in no_ops():
    mcp.add_tool(no_op)
"""
DEFINE = """
import anyio, json
from benchmarked.server import mcp
tools = anyio.run(lambda: mcp.list_tools(run_middleware=False))
listed = [tool.to_mcp_tool().model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]
print(json.dumps([{key: tool[key] for key in KEYS} for tool in listed]))
"""
KEYS = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


@dataclass(frozen=True)
class Site:
    """The source folder of the generated project, and a folder for logs and state."""

    source: Path
    folder: Path

    def environment(self, padding: int) -> dict[str, str]:
        """Return the environment, which is the same for every server."""
        kept = {name: os.environ[name] for name in NEEDED if name in os.environ}
        return {
            **kept,
            **UNLIMITED,
            "HOME": str(self.folder),
            "LOCALAPPDATA": str(self.folder),
            "PYTHONPATH": os.pathsep.join([str(self.source), str(TEMPLATE)]),
            "DEFINITIONS": str(self.folder / "definitions.json"),
            "PADDING": str(padding),
        }

    def command(self, name: str, port: int | None = None) -> list[str]:
        """Return the command that serves HTTP on `port`, or stdio without one."""
        python, ported = sys.executable, ["--port", str(port)]
        match name:
            case "generated":
                flags = ["--transport", "http", *ported] if port else []
                return [python, "-m", "benchmarked", *flags]
            case "FastMCP":
                flags = ["--transport", "http", *ported] if port else []
                return [python, "-m", "fastmcp.cli", "run", str(SCRIPTS / "plain.py"), "--no-banner", *flags]
            case "MCPServer":
                return [python, str(SCRIPTS / "sdk.py"), *([str(port)] if port else [])]
            case "low-level":
                return [python, str(SCRIPTS / "low_level.py"), *([str(port)] if port else [])]
        raise ValueError(name)


@contextmanager
def site() -> Iterator[Site]:
    """Generate the server with every pattern, and save its tool definitions for the SDK servers."""
    with generated_server() as source, TemporaryDirectory() as folder:
        place = Site(source, Path(folder))
        listed = subprocess.run(
            [sys.executable, "-c", DEFINE.replace("KEYS", repr(KEYS))],
            env=place.environment(0),
            check=True,
            capture_output=True,
            text=True,
        )
        (place.folder / "definitions.json").write_text(listed.stdout, encoding="utf-8")
        with (source / "benchmarked" / "server.py").open("a", encoding="utf-8") as server:
            server.write(ADD_NO_OPS)
        yield place


def number_of_tools(place: Site) -> int:
    """Return the number of tools that every server has without padding."""
    return len(json.loads((place.folder / "definitions.json").read_text(encoding="utf-8")))


class Server:
    """A running server, and its resource usage."""

    def __init__(self, name: str, pid: int, port: int = 0) -> None:
        self.name = name
        self.port = port
        first = psutil.Process(pid)
        self._processes = [first, *first.children(recursive=True)]

    def cpu_seconds(self) -> float:
        if sys.platform == "linux":
            # The CPU clock of each process (clock_getcpuclockid) has nanosecond resolution. psutil's resolution of
            # 10 ms is too coarse for short turns.
            return sum(time.clock_gettime(~process.pid << 3 | 2) for process in self._processes)
        times = [process.cpu_times() for process in self._processes]
        return sum(one.user + one.system for one in times)

    def megabytes(self) -> float:
        """Return the resident memory in MiB."""
        used: int = sum(process.memory_info().rss for process in self._processes)
        return used / 2**20


@asynccontextmanager
async def http_server(place: Site, name: str, padding: int) -> AsyncIterator[Server]:
    """Serve HTTP on a free port, and log to a file."""
    port = free_port()
    with (place.folder / f"{name}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            place.command(name, port),
            cwd=place.folder,
            env=place.environment(padding),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        await _until_connectable(process, port, Path(log.name))
        yield Server(name, process.pid, port)
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def stdio_server(
    place: Site, name: str, padding: int
) -> AsyncIterator[tuple[Server, asyncio.subprocess.Process]]:
    """Serve stdio, and log to a file."""
    with (place.folder / f"{name}-stdio.log").open("w", encoding="utf-8") as log:
        process = await asyncio.create_subprocess_exec(
            *place.command(name),
            cwd=place.folder,
            env=place.environment(padding),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            limit=1 << 20,
        )
    try:
        yield Server(name, process.pid), process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _until_connectable(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
    raise RuntimeError(f"{process.args!r} does not serve: {log.read_text(encoding='utf-8')[-2000:]}")
