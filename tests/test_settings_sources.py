"""Settings come only from the sources that the README documents.

These tests start servers next to hostile files and with unreadable sources. They also run a project's own tests where
the developer has configured real systems, which the tests must not access.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from .combinations import answers
from .conftest import Bake, Projects
from .project import Project, assert_passed
from .running import (
    HANDSHAKE,
    MODERN,
    PATIENCE_SECONDS,
    Running,
    environment,
    following,
    message,
    port_in,
    tool_call,
)

pytestmark = [pytest.mark.sweep, pytest.mark.matrix]

HOSTILE = {
    "in UTF-16": "FASTMCP_LOG_LEVEL=DEBUG\n".encode("utf-16"),
    "encrypted": b"\x00GITCRYPT\x00" + bytes(range(256)),
    "with an unknown level": b"FASTMCP_LOG_LEVEL=trace\n",
    "with other rules for tools": b"FASTMCP_STRICT_INPUT_VALIDATION=true\nHTTP_PORT=1\nLOG_LEVEL=x\n",
}
# Modules that Python itself, FastMCP and the server import.
SHADOWED = ("fastmcp", "json", "mcp", "selectors", "socket", "types")
SCRIPT = "from {package}.__main__ import main\nif __name__ == '__main__':\n    main()\n"


@pytest.fixture(params=HOSTILE)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a folder whose `.env` must not be read."""
    folder = tmp_path / "current"
    folder.mkdir()
    (folder / ".env").write_bytes(HOSTILE[request.param])
    return folder


def script_of(project: Project, folder: Path) -> Path:
    """Return the console script that an installation would create."""
    script = folder / "server_command.py"
    script.write_text(SCRIPT.format(package=project.package_name), encoding="utf-8")
    return script


def run(
    project: Project, folder: Path, *command: str, given: str = "", **variables: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment(project, folder, **variables),
        input=given,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_no_env_file_of_the_current_folder_is_read_on_stdio_or_for_help(
    folder: Path, tmp_path: Path, projects: Projects
) -> None:
    project = projects("all")
    script = str(script_of(project, tmp_path))
    for command in (("-m", project.package_name), (script,)):
        helped = run(project, folder, *command, "--help")
        assert helped.returncode == 0, helped.stderr
        assert "--transport" in helped.stdout
    # A number as text is accepted, unless FastMCP validates strictly.
    call = tool_call(MODERN, "database_operation", {"limit": "2"})
    with subprocess.Popen(
        [sys.executable, script],
        cwd=folder,
        env=environment(project, tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(call).encode() + b"\n")
        process.stdin.flush()
        try:
            answer = json.loads(process.stdout.readline() or b"{}")
            assert len(answer["result"]["structuredContent"]["users"]) == 2
        finally:
            process.kill()


@contextmanager
def serving(project: Project, folder: Path, home: Path, *command: str, **variables: str) -> Iterator[Running]:
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=environment(project, home, **variables),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    with following(process) as server:
        try:
            yield server
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("folder", ["in UTF-16"], indirect=True)
def test_no_env_file_of_the_current_folder_is_read_under_uvicorn(
    folder: Path, tmp_path: Path, projects: Projects
) -> None:
    project = projects("none")
    app = (f"{project.package_name}.__main__:app", "--factory", "--port", "0")
    with serving(project, folder, tmp_path, "-m", "uvicorn", *app) as server:
        assert port_in(server.logged("running on http://")) > 1


@pytest.mark.parametrize("folder", ["in UTF-16"], indirect=True)
def test_neither_an_env_file_nor_a_module_of_the_current_folder_reaches_workers(
    folder: Path, tmp_path: Path, projects: Projects
) -> None:
    project = projects("none")
    for name in SHADOWED:
        (folder / f"{name}.py").write_text("raise SystemExit('of the current folder')\n", encoding="utf-8")
    script = str(script_of(project, tmp_path))
    flags = ("--transport", "http", "--port", "0", "--workers", "2")
    with serving(project, folder, tmp_path, script, *flags) as server:
        server.logged("Application startup complete", times=2)
    assert "of the current folder" not in "".join(server.log)


def chosen_env_file(content: bytes) -> Callable[[Path], dict[str, str]]:
    def source(folder: Path) -> dict[str, str]:
        (folder / "chosen.env").write_bytes(content)
        return {"ENV_FILE": str(folder / "chosen.env")}

    return source


def env_file_that_is_a_folder(folder: Path) -> dict[str, str]:
    (folder / "chosen.env").mkdir()
    return {"ENV_FILE": str(folder / "chosen.env")}


def secret_file_that_is_binary(folder: Path) -> dict[str, str]:
    (folder / "secrets").mkdir()
    (folder / "secrets" / "http_port").write_bytes(b"\xff\xfe9\x00")
    return {"SECRETS_DIR": str(folder / "secrets")}


def secret_file_that_is_a_folder(folder: Path) -> dict[str, str]:
    (folder / "secrets" / "http_port").mkdir(parents=True)
    return {"SECRETS_DIR": str(folder / "secrets")}


def secrets_that_are_missing(folder: Path) -> dict[str, str]:
    return {"SECRETS_DIR": str(folder / "secrets")}


SOURCES: dict[str, tuple[Callable[[Path], dict[str, str]], str]] = {
    "ENV_FILE in Latin-1": (chosen_env_file(b"NAME=caf\xe9\n"), "chosen.env"),
    "ENV_FILE in UTF-16": (chosen_env_file("HTTP_PORT=1\n".encode("utf-16")), "chosen.env"),
    "ENV_FILE with an invalid line": (chosen_env_file(b"HTTP_PORT 1\n"), "chosen.env: line 1"),
    "ENV_FILE is a folder": (env_file_that_is_a_folder, "chosen.env"),
    "ENV_FILE is missing": (lambda folder: {"ENV_FILE": str(folder / "none.env")}, "none.env"),
    "a secret file is binary": (secret_file_that_is_binary, "http_port"),
    "a secret file is a folder": (secret_file_that_is_a_folder, "http_port"),
    "SECRETS_DIR is missing": (secrets_that_are_missing, "secrets"),
    "a FastMCP variable": (lambda _: {"FASTMCP_LOG_LEVEL": "nonsense"}, "FASTMCP_LOG_LEVEL: "),
    "FastMCP's own file": (
        lambda folder: {"FASTMCP_ENV_FILE": chosen_env_file(b"A=\xff\n")(folder)["ENV_FILE"]},
        "FASTMCP_",
    ),
}


@pytest.mark.parametrize("source", SOURCES)
def test_an_unreadable_source_is_reported_by_name_in_one_line_with_exit_code_2(
    source: str, tmp_path: Path, projects: Projects
) -> None:
    project = projects("only-environment_config")
    variables, named = SOURCES[source]
    given = variables(tmp_path)
    for flags in ((), ("--transport", "http", "--port", "0")):
        ended = run(project, tmp_path, "-m", project.package_name, *flags, **given)
        assert ended.returncode == 2, ended.stderr
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert named in ended.stderr
        assert not ended.stdout


@pytest.mark.parametrize("content", [b"[production\n", b"[production]\nhttp_prt = 1\n", b"\xff"])
def test_unreadable_profiles_are_reported_in_one_line_with_exit_code_2(
    content: bytes, tmp_path: Path, bake: Bake
) -> None:
    project = bake(**answers(frozenset({"environment_config"})))
    (project.package / "environment_config.toml").write_bytes(content)
    ended = run(project, tmp_path, "-m", project.package_name)
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "environment_config.toml: " in ended.stderr


def test_an_app_under_uvicorn_refuses_bad_settings_in_one_line_too(
    tmp_path: Path, projects: Projects
) -> None:
    project = projects("none")
    app = (f"{project.package_name}.__main__:app", "--factory", "--port", "0")
    ended = run(project, tmp_path, "-m", "uvicorn", *app, LOG_LEVEL="loud")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "LOG_LEVEL: " in ended.stderr


# A project whose developer has configured real systems

WRITING_TOOL = '''\
"""Create an issue."""

from typing import Annotated

from fastmcp.tools import tool
from pydantic import BaseModel, Field

from ..upstream import Api


class Created(BaseModel):
    status: int


@tool(
    title="Create an issue",
    description="Create an issue with the given title.",
    annotations={
        "readOnlyHint": False,
        "destructiveHint": False,
        "idempotentHint": False,
        "openWorldHint": True,
    },
)
async def create_issue(
    title: Annotated[str, Field(description="Its title.", max_length=20_000)],
    api: Api,
) -> Created:
    answer = await api.post("issues", json={"title": title})
    return Created(status=answer.status)
'''
TEST_OF_IT = '''\
"""An issue is created."""

from ..client import McpClient
from ..upstream import Upstream


async def test_an_issue_is_created(client: McpClient, api: Upstream) -> None:
    assert await client.call("create_issue", title="tea") == {"status": 200}
    assert api.paths == ["/issues"]
'''


@dataclass
class Recorder:
    """A real API that records every request."""

    url: str = ""
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def real_api() -> Iterator[Recorder]:
    recorder = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            recorder.requests.append(self.requestline)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_POST = do_HEAD = do_GET  # noqa: N815 - names of the base class

        def log_message(self, *_arguments: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        recorder.url = f"http://127.0.0.1:{server.server_port}/v1"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield recorder
        finally:
            server.shutdown()
            thread.join()


@dataclass(frozen=True)
class Developer:
    """A developer's machine, which tests must not change."""

    home: Path
    variables: dict[str, str]

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.home.rglob("*") if path.is_file()}


@pytest.fixture
def developer(real_api: Recorder, tmp_path: Path) -> Developer:
    home = tmp_path / "developer"
    (home / "secrets").mkdir(parents=True)
    (home / "secrets" / "api_key").write_text("of-the-real-api", encoding="utf-8")
    return Developer(
        home,
        {
            "API_BASE_URL": real_api.url,
            "API_KEY": "of-the-real-api",
            "STATE_URL": f"sqlite:///{home / 'state.db'}",
            "DATABASE_URL": f"sqlite:///{home / 'users.db'}",
            "LOG_LEVEL": "DEBUG",
            "ENVIRONMENT": "production",
            "TRANSPORT": "http",
            "RATE_LIMIT_BURST": "1",
        },
    )


def add_writing_tool(project: Project) -> None:
    """Add a tool as the README describes."""
    server = project.package / "server.py"
    text = server.read_text(encoding="utf-8")
    for before, inserted in [
        ("from .tools.environment_config", "from .tools.create_issue import create_issue\n"),
        ("        process_data,\n", "        create_issue,\n"),
    ]:
        assert text.count(before) == 1, before
        text = text.replace(before, inserted + before)
    server.write_text(text, encoding="utf-8")
    (project.path / "tests" / "tools" / "test_create_issue.py").write_text(TEST_OF_IT, encoding="utf-8")
    (project.package / "tools" / "create_issue.py").write_text(WRITING_TOOL, encoding="utf-8")
    assert_passed(project.run_tests("tests/test_surface.py", "--update-surface"))


@pytest.mark.parametrize("place", ["the .env file", "the environment"])
def test_a_projects_tests_do_not_touch_the_developers_systems(
    place: str, bake: Bake, developer: Developer, real_api: Recorder
) -> None:
    project = bake()
    add_writing_tool(project)
    given = {"HOME": str(developer.home), "XDG_DATA_HOME": str(developer.home / "data")}
    if place == "the environment":
        (developer.home / "bad.env").write_bytes(b"\xff")
        sources = {
            "ENV_FILE": str(developer.home / "bad.env"),
            "SECRETS_DIR": str(developer.home / "secrets"),
        }
        given |= {**developer.variables, **sources, "FASTMCP_LOG_LEVEL": "nonsense", "http_host": "0.0.0.0"}
    else:
        lines = [f"{name}={value}\n" for name, value in developer.variables.items()]
        (project.path / ".env").write_text("".join([*lines, "FASTMCP_LOG_LEVEL=trace\n"]), encoding="utf-8")
    before = developer.files()
    ran = project.run("-m", "pytest", "-q", "-p", "anyio", "-p", "no:cacheprovider", **given)
    assert_passed(ran)
    assert real_api.requests == []
    assert developer.files() == before


def test_the_recording_api_would_have_seen_a_call(
    bake: Bake, developer: Developer, real_api: Recorder, tmp_path: Path
) -> None:
    project = bake()
    add_writing_tool(project)
    call = tool_call(HANDSHAKE, "create_issue", {"title": "tea"})
    lines = [{**message(HANDSHAKE, "initialize"), "id": 0}, call]
    variables = {**developer.variables, "TRANSPORT": "stdio", "NO_PROXY": "127.0.0.1"}
    with subprocess.Popen(
        [sys.executable, "-m", project.package_name],
        cwd=tmp_path,
        env={**environment(project, tmp_path), **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in lines:
            process.stdin.write(json.dumps(line).encode() + b"\n")
            process.stdin.flush()
            process.stdout.readline()
        process.kill()
    assert real_api.requests == ["POST /v1/issues HTTP/1.1"]
