"""The image and the Compose stack work, from the first call to a rolling restart.

No container engine is needed: `images.py` builds the image in a folder, and the services of the Compose file run as
processes.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from .combinations import NONE, answers
from .conftest import Bake
from .engines import PASSWORD, PostgresEngine, RedisEngine
from .images import (
    OTHER_USER,
    BuildError,
    Image,
    build,
    can_change_user,
    interpolated,
    interpreter,
    new_folder,
)
from .project import Project
from .running import PATIENCE_SECONDS, Running, free_port, nginx, serving
from .scaling.replicas import REPLICAS, Replicas, Tally, call, counting, failure, stored, until_more
from .test_bounds import uv
from .test_container import compose

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.skipif(sys.platform == "win32", reason="images are for Linux"),
]


@dataclass
class Built:
    """A project and its image."""

    project: Project
    image: Image


@contextmanager
def built(project: Project) -> Iterator[Built]:
    folder = new_folder()
    try:
        yield Built(project, build(project.path, folder))
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def whole(bake_once: Bake) -> Iterator[Built]:
    """Build the image of a project with every pattern. It has no uv.lock."""
    with built(bake_once()) as made:
        yield made


@contextmanager
def started(image: Image, *flags: str, user: int | None = None, **variables: str) -> Iterator[Running]:
    """Start the image's server on a free loopback port."""
    given = {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": str(free_port()), **variables}
    with serving(image.start(*flags, user=user, **given)) as server:
        yield server


FIRST_CALLS: dict[str, dict[str, Any]] = {
    "process_data": {"text": "tea for two"},
    "increment_counter": {"name": "first"},
    "database_operation": {"query": "a"},
}


@pytest.mark.parametrize("user", [None, OTHER_USER], ids=["own-user", "user-of-OpenShift"])
def test_the_first_run_serves_and_writes_only_to_the_data_folder(whole: Built, user: int | None) -> None:
    """It runs as the image's user or an arbitrary one, without HOME, with only the image's variables and a port."""
    if user and not can_change_user():
        pytest.skip("only root can start a process as another user")
    image = whole.image
    reset_data(image)
    if can_change_user():
        assert image.writable(user) == ["data"]
    with started(image, user=user) as server:
        for tool, arguments in FIRST_CALLS.items():
            assert failure(asyncio.run(call(server.port, tool, **arguments))) is None
        owner = Path(f"/proc/{server.process.pid}")
        if can_change_user() and owner.exists():
            assert (owner.stat().st_uid, owner.stat().st_gid) == (user or 65532, 0)
        assert image.is_healthy(HTTP_PORT=str(server.port))
        server.process.terminate()
        assert server.process.wait(PATIENCE_SECONDS) == -15
    assert [path.name for path in (image.folder / "data").rglob("*.db")] == ["users.db"]


def reset_data(image: Image) -> None:
    """Empty the data folder, so that it is like a new volume."""
    for path in (image.folder / "data").iterdir():
        shutil.rmtree(path)


def test_what_was_written_survives_the_container(whole: Built) -> None:
    url = f"sqlite:///{whole.image.folder}/data/state.db"
    for expected in (1, 2):
        with started(whole.image, STATE_URL=url) as server:
            reply = asyncio.run(call(server.port, "increment_counter", name="kept"))
            assert reply.result["structuredContent"]["value"] == expected


def test_all_code_of_the_image_is_compiled_and_none_is_of_the_tests(whole: Built) -> None:
    [packages] = (whole.image.folder / "app" / "lib").glob("python3.*/site-packages")
    package = packages / whole.project.package_name
    sources = list(package.rglob("*.py"))
    assert len(sources) > 40
    for source in sources:
        assert list((source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")), source
    installed = {path.name.partition("-")[0].lower() for path in packages.glob("*.dist-info")}
    assert installed >= {"fastmcp", "redis", "asyncpg", "opentelemetry_sdk"}
    assert not installed & {"pytest", "mypy", "ruff", "uv", "pip"}
    # An editable installation would depend on the folder that it was built in.
    assert not list(packages.glob(f"*{whole.project.package_name}*.pth"))


def test_on_a_public_address_the_image_asks_for_a_decision(whole: Built) -> None:
    """With only the image's variables, it exits without opening the port."""
    process = whole.image.start()
    _, printed = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2
    assert printed.decode().count("\n") == 1
    assert "0.0.0.0" in printed.decode()
    assert "set ALLOW_UNAUTHENTICATED=true" in printed.decode()


def test_the_health_check_fails_without_a_server(whole: Built) -> None:
    assert not whole.image.is_healthy(HTTP_PORT=str(free_port()))


def test_the_health_check_fails_while_the_port_answers_with_an_error(whole: Built) -> None:
    """A server without this path answers with 404."""

    async def check() -> bool:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(refuse, "127.0.0.1") as server:
            port = str(server.sockets[0].getsockname()[1])
            return await asyncio.to_thread(partial(whole.image.is_healthy, HTTP_PORT=port))

    assert asyncio.run(check()) is False


def test_probes_pass_with_the_address_of_the_pod_as_host(whole: Built) -> None:
    """The kubelet sends the pod's address as Host. Here, another loopback address replaces it."""
    with started(whole.image, HTTP_HOST="127.0.0.2", API_BASE_URL="example") as server:
        for path in ("/livez", "/readyz"):
            url = f"http://127.0.0.2:{server.port}{path}"
            assert status_of(url) == 200
            assert status_of(url, host="mcp.example.com") == 421
    with started(whole.image, HTTP_HOST="127.0.0.2", PUBLIC_URL="https://mcp.example.com") as server:
        assert status_of(f"http://127.0.0.2:{server.port}/livez", host="mcp.example.com") == 200


def status_of(url: str, host: str = "") -> int:
    """Request a URL, optionally with another Host header, and return the status."""
    script = (
        "import http.client, sys, urllib.parse\n"
        "url = urllib.parse.urlsplit(sys.argv[1])\n"
        "asked = http.client.HTTPConnection(url.hostname, url.port, timeout=60)\n"
        "asked.request('GET', url.path, headers={'Host': sys.argv[2] or url.netloc})\n"
        "print(asked.getresponse().status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, url, host], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.fixture
def locked(bake: Bake) -> Project:
    """Return a project whose uv.lock has an older version of a library than the newest allowed one."""
    project = bake(**answers(NONE))
    older = ["--upgrade-package", f"{OLDER[0]}=={OLDER[1]}"]
    done = uv("lock", "--python", interpreter(), *older, cwd=project.path)
    assert done.returncode == 0, done.stderr
    return project


OLDER = ("uvicorn", "0.51.0")


def test_the_image_has_the_versions_of_the_lock_file(locked: Project) -> None:
    with built(locked) as made:
        [packages] = (made.image.folder / "app" / "lib").glob("python3.*/site-packages")
        assert (packages / "{}-{}.dist-info".format(*OLDER)).is_dir()


def test_an_outdated_lock_file_stops_the_build(locked: Project) -> None:
    changed = locked.text("pyproject.toml").replace('"anyio>=', '"anyio[trio]>=')
    (locked.path / "pyproject.toml").write_text(changed, encoding="utf-8")
    with pytest.raises(BuildError, match="lockfile"), built(locked):
        pass


@pytest.mark.skipif(not can_change_user(), reason="only root can start the first process of a namespace")
@pytest.mark.skipif(not shutil.which("unshare"), reason="unshare is not installed")
def test_as_the_first_process_of_a_container_it_ends_at_the_first_signal(whole: Built) -> None:
    """The kernel ignores signals to PID 1 of a container unless it has a handler."""
    process = whole.image.start(
        "--port", "0", around=["unshare", "--pid", "--fork", "--kill-child"], HTTP_HOST="127.0.0.1"
    )
    with serving(process) as server:
        [first] = psutil.Process(process.pid).children()
        assert Path(f"/proc/{first.pid}/status").read_text().split("NSpid:")[1].split()[1] == "1"
        assert first.uids().real == whole.image.ids[0]
        first.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
        server.logged("Application shutdown complete")


DOCKER = """\
#!/bin/sh
echo "ALLOW_UNAUTHENTICATED=$ALLOW_UNAUTHENTICATED $*" >> "$DOCKER_LOG"
"""


@dataclass
class Stack:
    """The Compose stack: its replicas, the port of its proxy, and the secrets that the README's commands created."""

    replicas: "ImageReplicas"
    port: int
    secrets: Path


class ImageReplicas(Replicas):
    """Replicas that are started from an image."""

    def __init__(self, image: Image, **variables: str) -> None:
        super().__init__(Project(image.folder, ""), image.folder, **variables)
        self._image = image

    def _start(self, *flags: str) -> tuple[Running, ExitStack]:
        stack = ExitStack()
        process = self._image.start(*(flags or ("--port", "0")), user=None, **self.variables)
        return stack.enter_context(serving(process)), stack


def follow_readme(project: Project, folder: Path) -> dict[str, str]:
    """Run the README's commands that start the stack, and return the variables of Compose: from `.env`, and its own."""
    section = project.text("README.md").split("### With Docker Compose\n")[1]
    commands = section.split("```sh\n")[1].split("```")[0]
    programs = folder / "programs"
    programs.mkdir()
    (programs / "docker").write_text(DOCKER, encoding="utf-8")
    (programs / "docker").chmod(0o755)
    log = folder / "docker.log"
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    subprocess.run(
        ["sh", "-eu", "-c", commands], cwd=folder, env={"PATH": path, "DOCKER_LOG": str(log)}, check=True
    )
    own, _, called = log.read_text(encoding="utf-8").partition(" ")
    assert called == "compose up --build --wait\n"
    env_file = folder / ".env"
    lines = env_file.read_text(encoding="utf-8").splitlines() if env_file.exists() else []
    return dict(line.split("=", 1) for line in [*lines, own])


@contextmanager
def stack_of(made: Built, folder: Path) -> Iterator[Stack]:
    """Run the services of the Compose file with their commands and configuration, on loopback ports."""
    told = compose(made.project)
    written = follow_readme(made.project, folder)
    variables = {
        name: interpolated(value, written)
        for name, value in told["services"]["server-1"]["environment"].items()
    }
    assert variables["ALLOW_UNAUTHENTICATED"] == "true"
    with ExitStack() as stack:
        valkey = stack.enter_context(RedisEngine(options=options(told["services"]["valkey"]["command"])))
        postgres = stack.enter_context(PostgresEngine())
        database_url = variables.get("DATABASE_URL", "")
        if not database_url:
            database_url = (folder / "secrets" / "database_url").read_text(encoding="utf-8")
            assert (folder / "secrets").stat().st_mode & 0o777 == 0o700
            password = (folder / "secrets" / "postgres_password").read_text(encoding="utf-8")
        else:
            password = written["POSTGRES_PASSWORD"]
        assert password != PASSWORD
        postgres.execute(f"ALTER ROLE app PASSWORD '{password}'")
        real = {
            "redis://valkey:6379/0": f"redis://{valkey.address}/0",
            "172.30.80.0/24": "127.0.0.1",
            "0.0.0.0": "127.0.0.1",
        }
        variables = {name: real.get(value, value) for name, value in variables.items()}
        assert "@postgres/" in database_url
        database_url = database_url.replace("@postgres/", f"@{postgres.address}/")
        mounted = made.image.folder / "secrets"
        if "DATABASE_URL" in variables:
            variables["DATABASE_URL"] = database_url
        else:
            mounted.mkdir(exist_ok=True)
            (mounted / "database_url").write_text(database_url, encoding="utf-8")
            variables["SECRETS_DIR"] = str(mounted)
        # The clients simulate many callers with X-Forwarded-For. Each makes fewer calls than this burst.
        variables |= {"RATE_LIMIT_PER_MINUTE": "60", "RATE_LIMIT_BURST": "100"}
        running = ImageReplicas(made.image, **variables)
        stack.callback(running.close)
        running.add(REPLICAS)
        port = free_port()
        stack.enter_context(
            nginx(folder, port, local(made.project.text("deploy/nginx.conf"), running.ports, port))
        )
        yield Stack(running, port, mounted)


def options(command: list[str]) -> dict[str, str]:
    """Return the options in the command of Valkey."""
    program, *words = command
    assert program == "valkey-server"
    names, values = words[::2], words[1::2]
    return {name.removeprefix("--"): value for name, value in zip(names, values, strict=True)}


def local(config: str, ports: list[int], port: int) -> str:
    """Return the proxy's configuration for replicas on loopback, without a DNS resolver."""
    config, resolvers = re.subn(r" *resolver 127\.0\.0\.11 .*\n", "", config)
    assert resolvers == 1
    for number, replica in enumerate(ports, start=1):
        name = f"server server-{number}:8000 resolve max_fails=0;"
        assert config.count(name) == 1
        config = config.replace(name, f"server 127.0.0.1:{replica} max_fails=0;")
    assert config.count("listen 8080;") == 1
    return config.replace("listen 8080;", f"listen 127.0.0.1:{port};")


# Enough calls that each replica gets some over connections that the proxy kept open.
CALLS_BETWEEN = 60
STACKS = {"secret files": {}, "variables": {"environment_config": False}}


@pytest.mark.engines
@pytest.mark.parametrize("kind", STACKS)
def test_the_stack_serves_from_the_first_call_to_a_rolling_restart(
    bake_once: Bake, whole: Built, kind: str, tmp_path: Path
) -> None:
    """Replicas share their state. Restarting each one under load does not fail calls or lose increments."""

    async def roll(stack: Stack) -> tuple[Tally, list[int]]:
        codes = []
        async with counting([stack.port], "rolled", clients=6) as tally:
            for index in range(REPLICAS):
                await until_more(tally, CALLS_BETWEEN)
                codes.append(await asyncio.to_thread(stack.replicas.restart, index))
            await until_more(tally, CALLS_BETWEEN)
        return tally, codes

    with ExitStack() as open_:
        made = open_.enter_context(built(bake_once(**STACKS[kind]))) if STACKS[kind] else whole
        stack = open_.enter_context(stack_of(made, tmp_path))
        for tool, arguments in FIRST_CALLS.items():
            assert failure(asyncio.run(call(stack.port, tool, **arguments))) is None
        for expected, port in enumerate(stack.replicas.ports, start=1):
            reply = asyncio.run(call(port, "increment_counter", name="shared"))
            assert reply.result["structuredContent"]["value"] == expected
        tally, codes = asyncio.run(roll(stack))
        assert codes == [-15] * REPLICAS
        assert tally.acknowledged == tally.calls, tally
        assert asyncio.run(stored(stack.replicas.ports[0], "rolled")) == tally.acknowledged
        assert not list((made.image.folder / "data").rglob("users.db*")) or kind == "secret files"
