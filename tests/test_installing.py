"""The built wheel and fastmcp.json start the server from any folder, without other files of the project.

These tests install from the package index, or from uv's cache.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path
from typing import Any

import psutil
import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport

from .combinations import SLUG
from .conftest import bake_with
from .project import Project, assert_passed
from .running import ERAS, MODERN, headers_of, http_request, message, serving, tool_call
from .test_bounds import THIS_PYTHON, uv
from .test_publishing import GITHUB, REPOSITORIES

pytestmark = pytest.mark.matrix

PROGRAMS = "Scripts" if os.name == "nt" else "bin"
NAME = REPOSITORIES[GITHUB]
# The version that a release sets in pyproject.toml.
VERSION = "1.2.3"
HOSTILE = 'It says "hi" \\ 100%, \N{ROCKET}.'


def ready(run: "subprocess.CompletedProcess[str]") -> None:
    if run.returncode:
        pytest.fail(
            f"uv failed. This test needs the package index or uv's cache:\n{run.stderr}", pytrace=False
        )


@pytest.fixture(scope="module")
def project(cookies_session: Any, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project after `uv sync`, in a folder with a space in its name."""
    baked = bake_with(cookies_session, {"repository": GITHUB, "description": HOSTILE})
    folder = tmp_path_factory.mktemp("a project") / baked.path.name
    shutil.copytree(baked.path, folder)
    metadata = baked.text("pyproject.toml").replace('version = "0.1.0"', f'version = "{VERSION}"')
    (folder / "pyproject.toml").write_text(metadata, encoding="utf-8")
    ready(uv("sync", "--no-dev", "--python", sys.executable, cwd=folder))
    return Project(folder, baked.package_name)


@pytest.fixture(scope="module")
def wheel(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    ready(uv("build", "--out-dir", str(folder), "--python", sys.executable, cwd=project.path))
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install only the wheel in an empty environment, without a lock file, and return the path of its command."""
    folder = tmp_path_factory.mktemp("environment")
    ready(uv("venv", "--python", sys.executable, str(folder / ".venv"), cwd=folder))
    python = folder / ".venv" / PROGRAMS / "python"
    ready(uv("pip", "install", "--python", str(python), str(wheel), cwd=folder))
    return python.with_name(SLUG)


def bare(home: Path, **variables: str) -> dict[str, str]:
    """Return an environment without the libraries of these tests. uv may use its cache and the index."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_", "SSL_"))}
    programs = [str(Path(sys.executable).parent), os.environ["PATH"]]
    system = {name: os.environ[name] for name in ("SYSTEMROOT", "LOCALAPPDATA") if name in os.environ}
    cache = uv("cache", "dir", cwd=home).stdout.strip()
    settings = {
        "UV_CACHE_DIR": cache,
        "UV_PYTHON": THIS_PYTHON,
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_DEV": "1",
    }
    return {**kept, **system, **settings, "PATH": os.pathsep.join(programs), "HOME": str(home), **variables}


def answered(home: Path, program: str, *arguments: str, **variables: str) -> None:
    """Start a server on stdio from another folder, call a tool, and check that errors are masked."""
    transport = StdioTransport(
        program,
        [*arguments],
        env=bare(home, **variables),
        cwd=str(home),
        keep_alive=False,
        log_file=home / "log",
    )

    async def calls() -> None:
        async with Client(transport) as client:
            result = await client.call_tool("process_data", {"text": "tea for two"})
            assert result.data.words == 3
            masked = await client.call_tool("process_data", {"text": 1, "canary": 2}, raise_on_error=False)
            assert masked.is_error
            assert "pydantic" not in str(masked)

    asyncio.run(calls())


def refused_and_answered(process: "subprocess.Popen[bytes]") -> None:
    """Call a tool over HTTP in both eras, and check that a foreign host is refused."""
    with serving(process) as server:
        try:
            for era in ERAS:
                asyncio.run(server.good_call(era))
            body = json.dumps(tool_call(MODERN, "process_data", {"text": "a"})).encode()
            headers = headers_of(MODERN, message(MODERN, "tools/call", name="process_data"))
            request = http_request("evil.example", body, headers)
            assert asyncio.run(server.send(request)).status == 421
        finally:
            # `fastmcp run` starts uv, which starts the server, and does not forward signals.
            for inner in psutil.Process(process.pid).children(recursive=True):
                inner.kill()


def started(home: Path, *words: str, **variables: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*words],
        cwd=home,
        env=bare(home, **variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*words], cwd=home, env=bare(home), capture_output=True, text=True, encoding="utf-8", check=False
    )


def test_the_metadata_of_the_wheel_has_the_marker_and_the_addresses(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(name).decode("utf-8")
        assert not [name for name in archive.namelist() if name.startswith("tests")]
    fields = message_from_string(metadata)
    assert f"\n<!-- mcp-name: {NAME} -->\n" in metadata
    assert (fields["Name"], fields["Version"]) == (SLUG, VERSION)
    assert fields["Summary"] == HOSTILE
    assert set(fields.get_all("Project-URL") or []) == {f"Repository, {GITHUB}", f"Issues, {GITHUB}/issues"}


def test_the_installed_command_prints_its_name_and_version_in_any_folder(
    command: Path, tmp_path: Path
) -> None:
    ended = run(tmp_path, str(command), "--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{SLUG} {VERSION}\n", "")


def test_the_installed_command_answers_on_stdio_in_any_folder(command: Path, tmp_path: Path) -> None:
    answered(tmp_path, str(command))


def test_the_installed_command_answers_over_http_in_any_folder(command: Path, tmp_path: Path) -> None:
    refused_and_answered(started(tmp_path, str(command), "--transport", "http", "--port", "0"))


@pytest.fixture(scope="module")
def bundle(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files of an unpacked bundle."""
    folder = tmp_path_factory.mktemp("bundle")
    kept = [line[2:] for line in project.text(".mcpbignore").splitlines() if line.startswith("!/")]
    for name in kept:
        path = project.path / name
        if path.is_dir():
            shutil.copytree(path, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.exists():
            shutil.copy(path, folder / name)
    return folder


def bundled_start(bundle: Path, **chosen: str) -> tuple[list[str], dict[str, str]]:
    """Return the command and variables of a bundle, with placeholders replaced as Claude Desktop does."""
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    start = manifest["server"]["mcp_config"]
    values = {name: str(option["default"]) for name, option in manifest["user_config"].items()} | chosen
    places = {"${__dirname}": str(bundle)} | {
        "${user_config." + name + "}": value for name, value in values.items()
    }

    def filled(text: str) -> str:
        for place, value in places.items():
            text = text.replace(place, value)
        assert "${" not in text
        return text

    return [filled(word) for word in [start["command"], *start["args"]]], {
        name: filled(value) for name, value in start["env"].items()
    }


def test_a_bundle_starts_without_the_files_that_it_leaves_out(bundle: Path, tmp_path: Path) -> None:
    assert {path.name for path in bundle.iterdir()} == {
        *("LICENSE", "README.md", "manifest.json", "pyproject.toml", "server.py", "src", "uv.lock"),
    }
    words, variables = bundled_start(bundle)
    answered(tmp_path, *words, **variables)


def test_the_entry_point_of_a_bundle_starts_the_server_too(bundle: Path, tmp_path: Path) -> None:
    """Clients may run the entry point directly, without the command in the manifest."""
    answered(tmp_path, "uv", "run", "--directory", str(bundle), "server.py")


def test_fastmcp_inspect_works_in_any_folder(project: Project, tmp_path: Path) -> None:
    ended = run(tmp_path, "fastmcp", "inspect", str(project.path / "fastmcp.json"), "--format", "mcp")
    assert_passed(ended)
    found = json.loads(ended.stdout)
    assert (found["serverInfo"]["name"], found["serverInfo"]["version"]) == (SLUG, VERSION)
    assert "process_data" in {tool["name"] for tool in found["tools"]}


def test_fastmcp_run_answers_on_stdio_in_any_folder(project: Project, tmp_path: Path) -> None:
    answered(tmp_path, "fastmcp", "run", str(project.path / "fastmcp.json"))


def test_fastmcp_run_answers_over_http_in_any_folder(project: Project, tmp_path: Path) -> None:
    path = str(project.path / "fastmcp.json")
    refused_and_answered(started(tmp_path, "fastmcp", "run", path, "--transport", "http", "--port", "0"))


FAKE_CLAUDE = f"""\
#!{sys.executable}
import json, pathlib, sys
pathlib.Path(__file__).with_name("arguments.json").write_text(json.dumps(sys.argv[1:]))
print("Claude Code")
"""


def installed_entry(client: str, project: Project, home: Path) -> list[str]:
    """Install the server with `fastmcp install`, and return the command in the client's configuration."""
    path = str(project.path / "fastmcp.json")
    given = [path, "--project", str(project.path), "--name", SLUG]
    match client:
        case "mcp-json":
            ended = run(home, "fastmcp", "install", client, *given)
            assert_passed(ended)
            configuration = json.loads(ended.stdout)[SLUG]
        case "claude-desktop":
            assert_passed(run(home, "fastmcp", "install", client, *given, "--config-path", str(home)))
            written = (home / "claude_desktop_config.json").read_text(encoding="utf-8")
            configuration = json.loads(written)["mcpServers"][SLUG]
        case "cursor":
            assert_passed(run(home, "fastmcp", "install", client, *given, "--workspace", str(home)))
            written = (home / ".cursor" / "mcp.json").read_text(encoding="utf-8")
            configuration = json.loads(written)["mcpServers"][SLUG]
        case _:
            program = home / ".claude" / "local" / "claude"
            program.parent.mkdir(parents=True)
            program.write_text(FAKE_CLAUDE, encoding="utf-8")
            program.chmod(0o755)
            assert_passed(run(home, "fastmcp", "install", client, *given))
            arguments = json.loads(program.with_name("arguments.json").read_text(encoding="utf-8"))
            assert arguments[:4] == ["mcp", "add", SLUG, "--"]
            return [str(word) for word in arguments[4:]]
    return [configuration["command"], *configuration["args"]]


@pytest.mark.skipif(sys.platform == "win32", reason="the replacement for claude is a POSIX script")
def test_what_fastmcp_install_gives_to_a_client_answers_in_any_folder(
    project: Project, tmp_path: Path
) -> None:
    commands = []
    for client in ("mcp-json", "claude-desktop", "cursor", "claude-code"):
        home = tmp_path / client
        home.mkdir()
        commands.append(installed_entry(client, project, home))
    assert len({tuple(words) for words in commands}) == 1
    answered(tmp_path, *commands[0])
