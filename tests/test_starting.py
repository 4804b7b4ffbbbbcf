"""The guards work for every documented way to start the server, and it starts in any environment."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest
from uv import find_uv_bin

from .conftest import Bake, Projects
from .project import Project
from .running import (
    ERAS,
    HANDSHAKE,
    MIB,
    MODERN,
    PATIENCE_SECONDS,
    UNLIMITED,
    Running,
    environment,
    following,
    free_port,
    headers_of,
    http_request,
    message,
    mounted,
    running,
    serving,
    start_python,
    tool_call,
    wait_for_port,
    with_root_path,
)

pytestmark = [pytest.mark.sweep, pytest.mark.matrix]

Place = Callable[..., AbstractContextManager[Running]]
NOT_ON_WINDOWS = pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")


@contextmanager
def fastmcp_run(project: Project, home: Path, **variables: str) -> Iterator[Running]:
    command = ("-m", "fastmcp.cli", "run", str(project.path / "server.py"))
    flags = ("--transport", "http", "--port", "0")
    with serving(start_python(project, home, *command, *flags, **variables)) as server:
        yield server


@contextmanager
def gunicorn(project: Project, home: Path, **variables: str) -> Iterator[Running]:
    port = free_port()
    command = ("-m", "gunicorn", "--worker-class", "uvicorn_worker.UvicornWorker")
    app = ("--bind", f"127.0.0.1:{port}", f"{project.package_name}.__main__:app()")
    with following(start_python(project, home, *command, *app, **variables)) as server:
        server.logged("Application startup complete")
        server.port = port
        yield server
        server.process.terminate()  # SIGKILL would leave its worker running
        server.process.wait(PATIENCE_SECONDS)


WAYS: dict[str, Place] = {
    "command": running,
    "fastmcp run": fastmcp_run,
    "uvicorn": with_root_path,
    "gunicorn": gunicorn,
    "mounted": mounted,
}


@pytest.fixture(scope="module", params=WAYS)
def server(
    request: pytest.FixtureRequest, projects: Projects, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    if request.param == "gunicorn" and sys.platform == "win32":
        pytest.skip("gunicorn does not support Windows")
    with WAYS[request.param](projects("all"), tmp_path_factory.mktemp("home"), **UNLIMITED) as started:
        yield started


@pytest.mark.parametrize("era", ERAS)
def test_calls_are_answered(server: Running, era: str) -> None:
    asyncio.run(server.good_call(era))


def test_a_foreign_host_or_origin_is_refused_and_the_message_names_the_setting(server: Running) -> None:
    async def send(header: str, value: str) -> tuple[int, bytes]:
        body = json.dumps(tool_call(MODERN, "process_data", {"text": "a"})).encode()
        headers = headers_of(MODERN, message(MODERN, "tools/call", name="process_data"))
        request = http_request(server.address, body, {**headers, header: value})
        if header == "Host":
            request = request.replace(f"Host: {server.address}\r\n".encode(), b"", 1)
        reply = await server.send(request)
        return reply.status, reply.body

    status, body = asyncio.run(send("Host", "evil.example"))
    assert (status, b"ALLOWED_HOSTS" in body) == (421, True)
    status, body = asyncio.run(send("Origin", "https://evil.example"))
    assert (status, b"ALLOWED_ORIGINS" in body) == (403, True)
    assert "Host 'evil.example' is not in ALLOWED_HOSTS" in server.logged(
        "evil.example' is not in ALLOWED_HOSTS"
    )
    server.logged("Origin 'https://evil.example' is not in ALLOWED_ORIGINS")


def test_a_malformed_message_and_a_body_over_the_limit_are_refused(server: Running) -> None:
    bad_id = {**tool_call(HANDSHAKE, "process_data", {"text": "a"}), "id": None}
    headers = headers_of(HANDSHAKE, bad_id)
    replies = [
        asyncio.run(server.post(json.dumps(bad_id).encode(), headers)),
        asyncio.run(server.post(b" " * 5 * MIB, headers)),
    ]
    assert [reply.status for reply in replies] == [400, 413]
    assert b"pydantic" not in replies[0].body


def test_an_exception_is_masked_and_the_log_has_the_chosen_form(
    server: Running, request: pytest.FixtureRequest
) -> None:
    reply = asyncio.run(server.call(MODERN, "process_data", {"unknown": "canary"}))
    assert reply.result["isError"]
    assert b"canary" not in reply.body
    if "mounted" in request.node.name:
        return  # the host app configures the log
    assert json.loads(server.logged('"arguments":["unknown"]'))["message"] == "tool call"
    own = [line for line in server.log if "[gunicorn" not in line and "] [INFO]" not in line]
    serving = next(number for number, line in enumerate(own) if "startup complete" in line)
    assert all(line.startswith("{") for line in own[serving + 1 :])


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
def test_the_endpoint_answers_at_both_paths_without_a_redirect(server: Running, path: str) -> None:
    body = json.dumps(tool_call(MODERN, "process_data", {"text": "tea for two"})).encode()
    headers = headers_of(MODERN, json.loads(body))
    request = http_request(server.address, body, headers).replace(b" /mcp ", f" {path} ".encode(), 1)
    reply = asyncio.run(server.send(request))
    assert reply.status == 200
    assert reply.result["structuredContent"]["words"] == 3


ELSEWHERE: dict[str, tuple[str, ...]] = {
    "fastmcp run": ("-m", "fastmcp.cli", "run", "{server}", "--transport", "http", "--port", "0", "--host"),
    "uvicorn": ("-m", "uvicorn", "--factory", "{package}.__main__:app", "--port", "0", "--host"),
    "command": ("-m", "{package}", "--transport", "http", "--port", "0", "--host"),
}


@pytest.mark.parametrize("way", ELSEWHERE)
def test_an_unauthenticated_server_does_not_start_on_a_public_address(
    projects: Projects, tmp_path: Path, way: str
) -> None:
    project = projects("all")
    names = {"server": str(project.path / "server.py"), "package": project.package_name}
    command = [part.format(**names) for part in ELSEWHERE[way]]
    with start_python(project, tmp_path, *command, "0.0.0.0") as process:
        try:
            _, log = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    assert process.returncode != 0
    assert b"set ALLOW_UNAUTHENTICATED=true" in log
    assert b"Traceback" not in log
    assert b"startup complete" not in log


def test_a_warning_is_logged_if_uvicorn_itself_trusts_proxies(projects: Projects, tmp_path: Path) -> None:
    project = projects("all")
    command = ("-m", "uvicorn", "--factory", f"{project.package_name}.__main__:app", "--port", "0")
    with following(start_python(project, tmp_path, *command)) as server:
        assert "TRUSTED_PROXIES" in server.logged("--no-proxy-headers")


def test_the_server_accepts_public_url_with_its_prefix_stripped_or_not(
    projects: Projects, tmp_path: Path
) -> None:
    public = {"PUBLIC_URL": "https://mcp.example.com/tools/a", **UNLIMITED}
    with running(projects("all"), tmp_path, **public) as server:
        server.host_header = "mcp.example.com"
        for prefix in ("", "/tools/a"):
            server.prefix = prefix
            for era in ERAS:
                asyncio.run(server.good_call(era))
            origin = {"Origin": "https://mcp.example.com"}
            reply = asyncio.run(server.call(MODERN, "process_data", {"text": "a"}, origin))
            assert reply.status == 200
        server.prefix = "/tools/ab"
        assert asyncio.run(server.call(MODERN, "process_data", {"text": "a"})).status == 404


# The environment

WITHOUT_USER = """
import os, pwd, runpy, sys

def unknown(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")

pwd.getpwuid = unknown
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


@NOT_ON_WINDOWS
def test_a_user_without_a_name_or_home_can_start_the_server(projects: Projects, tmp_path: Path) -> None:
    script = tmp_path / "without_user.py"
    script.write_text(WITHOUT_USER)
    project = projects("all")
    command = (str(script), project.package_name, "--transport", "http", "--port", "0")
    variables = environment(project, tmp_path, **UNLIMITED)
    del variables["HOME"]
    process = subprocess.Popen(
        [project.python, *command],
        cwd=tmp_path,
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with serving(process) as server:
        for era in ERAS:
            asyncio.run(server.good_call(era))
        failed = asyncio.run(server.call(MODERN, "database_operation", {}))
        assert "set DATABASE_URL" in failed.result["content"][0]["text"]
        assert "Traceback" not in "".join(server.log)


@NOT_ON_WINDOWS
@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_http_is_served_with_any_of_the_standard_streams_closed(
    projects: Projects, tmp_path: Path, closed: tuple[int, ...], workers: str
) -> None:
    project, port = projects("all"), free_port()
    flags = ("--transport", "http", "--port", str(port), "--workers", workers)
    redirections = " ".join(f"{descriptor}>&-" for descriptor in closed)
    command = f'exec "$0" -m {project.package_name} {" ".join(flags)} {redirections}'
    variables = {"STATE_URL": f"sqlite:///{tmp_path / 'state.db'}", **UNLIMITED}
    process = subprocess.Popen(
        ["sh", "-c", command, project.python],
        cwd=tmp_path,
        env=environment(project, tmp_path, **variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with process:
        try:
            wait_for_port(port)
            for era in ERAS:
                asyncio.run(Running(process, port=port).good_call(era))
            process.terminate()
            assert process.wait(PATIENCE_SECONDS) in {0, -signal.SIGTERM}
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@NOT_ON_WINDOWS
@pytest.mark.parametrize(("redirections", "named"), [("<&-", b"stdin"), (">&-", b"stdout")])
def test_stdio_without_its_streams_is_refused_in_one_line(
    projects: Projects, tmp_path: Path, redirections: str, named: bytes
) -> None:
    project = projects("all")
    command = f'exec "$0" -m {project.package_name} {redirections}'
    run = subprocess.run(
        ["sh", "-c", command, project.python],
        cwd=tmp_path,
        env=environment(project, tmp_path),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1
    assert named in run.stderr


def test_fastmcp_run_on_stdio_answers_every_line(projects: Projects, tmp_path: Path) -> None:
    project = projects("all")
    command = ("-m", "fastmcp.cli", "run", str(project.path / "server.py"), "--no-banner")
    lines = [b"not a message", b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}']
    lines.append(json.dumps(tool_call(MODERN, "process_data", {"text": "tea for two"})).encode())
    with start_python(project, tmp_path, *command) as process:
        out, log = process.communicate(b"\n".join(lines) + b"\n", timeout=PATIENCE_SECONDS)
    answers = [json.loads(line) for line in out.splitlines()]
    assert sorted("error" in answer for answer in answers) == [False, True, True]
    assert all(json.loads(line) for line in log.decode().splitlines() if line.startswith("{"))
    assert b'"tool call"' in log


@pytest.mark.parametrize("kind", ["stdio", "mcp-json"])
def test_the_command_that_fastmcp_install_prints_starts_the_server_from_any_folder(
    bake: Bake, tmp_path: Path, kind: str
) -> None:
    project = bake()
    shown = project.run("-m", "fastmcp.cli", "install", kind, "server.py", "--project", ".")
    assert shown.returncode == 0, shown.stderr
    if kind == "stdio":
        command = shown.stdout.split()
    else:
        (entry,) = json.loads(shown.stdout).values()
        command = [entry["command"], *entry["args"]]
    assert command[0] == "uv"
    hello = json.dumps({**message(HANDSHAKE, "initialize"), "id": "hello"})
    run = subprocess.run(
        [find_uv_bin(), *command[1:]],
        cwd=tmp_path,
        input=f"{hello}\n",
        capture_output=True,
        text=True,
        timeout=5 * PATIENCE_SECONDS,
        check=False,
    )
    assert json.loads(run.stdout)["id"] == "hello", run.stderr[-2000:]
