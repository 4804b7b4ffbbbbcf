"""The production checklist of a project: its report is right for every kind of run, and every item can fail."""

import json
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from types import ModuleType
from typing import Annotated, Any, Literal
from uuid import UUID

import anyio
import pytest
import uvicorn
from fastmcp import FastMCP
from fastmcp.utilities.json_schema import dereference_refs
from mcp.server.mcpserver import MCPServer
from pydantic import BaseModel, Field, TypeAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from matrix.template import Combination

from .combinations import ALL, NONE, PATTERNS, SKELETON, answers
from .conftest import Bake
from .project import Project, assert_passed

PRODUCTION = SKELETON / "tests" / "production"
TOKEN = "token-of-the-checklist"
LINE = re.compile(r"^(.{32})(holds|fails|not chosen|not observable|not run)(?: +(.*))?$", flags=re.MULTILINE)


def module(name: str) -> ModuleType:
    """Load a module of the skeleton that does not need a project, without bytecode, which would be rendered."""
    path = PRODUCTION / f"{name}.py"
    loaded = ModuleType(f"skeleton_{name}")
    sys.modules[loaded.__name__] = loaded
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), loaded.__dict__)
    return loaded


arguments = module("arguments")
checklist = module("checklist")
wire = module("wire")
NAMES = {item.key: item.name for item in checklist.ITEMS}
FIXES = {item.key: item.fix for item in checklist.ITEMS}


def verdicts(run: "subprocess.CompletedProcess[str]") -> dict[str, str]:
    """Return the verdicts in the report of a run."""
    found = {match[1].rstrip(): match[2] for match in LINE.finditer(run.stdout)}
    return {key: found[name] for key, name in NAMES.items() if name in found}


def observed(run: "subprocess.CompletedProcess[str]", key: str) -> str:
    return next(match[3] or "" for match in LINE.finditer(run.stdout) if match[1].rstrip() == NAMES[key])


def judged(outcomes: list[Any], patterns: set[str] | frozenset[str] = ALL, **run: bool) -> dict[str, str]:
    return {line.item.key: line.verdict for line in checklist.judge(outcomes, patterns, **run)}


def outcome(result: str, *keys: str) -> Any:
    return checklist.Outcome("test", keys, result, says="reason")


def test_the_names_fit_their_column_and_keys_and_names_are_unique() -> None:
    assert len(NAMES) == len(set(NAMES.values())) == len(checklist.ITEMS)
    assert all(len(name) < 32 for name in NAMES.values())


def test_every_optional_item_belongs_to_a_prompt() -> None:
    assert {item.pattern for item in checklist.ITEMS} - {""} <= set(PATTERNS)


def test_an_item_holds_if_all_its_tests_ran_and_passed() -> None:
    item = "restart"
    passed, failed, skipped, not_run = (
        outcome(result, item) for result in ("passed", "failed", "skipped", "not run")
    )
    assert judged([passed, passed])[item] == "holds"
    assert judged([passed, failed, skipped, not_run])[item] == "fails"
    assert judged([passed, skipped])[item] == "not run"
    assert judged([passed, not_run])[item] == "not run"
    assert judged([passed, skipped], from_outside=True)[item] == "not observable"


def test_an_item_without_a_test_does_not_hold() -> None:
    assert set(judged([]).values()) == {"fails"}
    assert set(judged([], complete=False).values()) == {"not run"}
    assert set(judged([], from_outside=True).values()) == {"not observable"}


def test_only_optional_items_can_be_not_chosen() -> None:
    choices = {"connection-pooling", "retry", "caching", "health-check", "rate-limiting"}
    choices |= {"shared-state", "authentication", "telemetry"}
    found = judged([], NONE)
    assert {key for key, verdict in found.items() if verdict == "not chosen"} == choices


# The outcomes of a project's own tests, in the smallest project.


@pytest.fixture
def project(bake: Bake) -> Project:
    """Generate a project without production tests."""
    project = bake(**answers(NONE))
    for path in (project.path / "tests" / "production").glob("test_*.py"):
        path.unlink()
    return project


def run(project: Project, tests: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    file = project.path / "tests" / "production" / "test_example.py"
    file.write_text(f"import pytest\n\nshows = pytest.mark.checklist\n\n{tests}", encoding="utf-8")
    return project.run_tests(*(arguments or ["tests/production"]))


ENDINGS = """\
@shows("retry", "restart")
def test_passes(record_property):
    record_property("restart", "two of two")
    record_property("observed", "of neither alone")

@shows("restart")
def test_passes_too(record_property):
    record_property("observed", "one more")

@shows("both-protocol-eras")
def test_fails():
    assert 1 == 2, "one is not two"

@pytest.fixture
def broken():
    raise OSError("no port is free")

@shows("logging")
def test_setup_fails(broken):
    pass

@pytest.fixture
def leaking():
    yield
    raise OSError("a thread is left")

@shows("several-workers")
def test_teardown_fails(leaking):
    pass

@shows("cancelled-calls")
@pytest.mark.xfail(reason="some day")
def test_is_expected_to_fail():
    assert False

@shows("masked-errors")
@pytest.mark.xfail(reason="some day")
def test_is_expected_to_fail_and_passes():
    pass

@shows("body-limit")
@pytest.mark.skip(reason="not here")
def test_is_skipped():
    pass

@shows("caching")
def test_of_a_pattern_that_is_off():
    assert False

def test_shows_nothing():
    assert False
"""


def test_every_outcome_of_a_test_counts(project: Project) -> None:
    ended = run(project, ENDINGS)
    found = verdicts(ended)
    assert ended.returncode == 1
    assert found["retry"] == found["restart"] == "holds"
    assert observed(ended, "restart") == "two of two; one more"
    assert observed(ended, "retry") == "1 test passed"
    assert observed(ended, "both-protocol-eras") == "one is not two"
    assert observed(ended, "logging") == "OSError: no port is free"
    assert observed(ended, "several-workers") == "OSError: a thread is left"
    assert observed(ended, "cancelled-calls") == "expected to fail: some day"
    assert observed(ended, "pure-stdout") == "no test shows it"
    assert observed(ended, "body-limit") == "not here"
    assert [key for key, verdict in found.items() if verdict == "holds"] == ["retry", "restart"]
    assert [key for key, verdict in found.items() if verdict == "not run"] == ["body-limit"]
    assert [key for key, verdict in found.items() if verdict == "not chosen"] == [
        *("connection-pooling", "caching", "health-check", "telemetry", "rate-limiting"),
        *("shared-state", "authentication"),
    ]
    assert "Not on the checklist: 1 failed test." in ended.stdout
    assert "FAILED tests/production/test_example.py::test_fails" in ended.stdout
    assert "test_of_a_pattern_that_is_off" not in ended.stdout


def test_an_item_that_a_run_did_not_reach_does_not_hold(project: Project) -> None:
    tests = """\
@shows("restart")
def test_a(): pass

@shows("restart", "logging")
def test_b(): {}

@shows("restart", "masked-errors")
def test_c(): pass
"""
    stopped = run(project, tests.format("assert False"), "-x", "tests/production")
    assert stopped.returncode == 1
    assert verdicts(stopped)["restart"] == verdicts(stopped)["logging"] == "fails"
    assert verdicts(stopped)["masked-errors"] == "not run"
    interrupted = run(project, tests.format("raise KeyboardInterrupt"))
    assert interrupted.returncode == 2
    found = verdicts(interrupted)
    assert {found[key] for key in ("restart", "logging", "masked-errors")} == {"not run"}
    assert "holds" not in found.values()


def test_a_partial_run_reports_only_its_own_items(project: Project) -> None:
    tests = (
        '@shows("restart")\ndef test_a(): pass\n\n'
        '@shows("restart", "logging")\ndef test_b(): pass\n\n'
        '@shows("masked-errors")\ndef test_c(): pass\n'
    )
    some = run(project, tests, "tests/production", "-k", "test_b")
    assert some.returncode == 0
    assert verdicts(some) == {"restart": "not run", "logging": "holds"}
    one = run(project, tests, "tests/production/test_example.py::test_c")
    assert verdicts(one) == {"masked-errors": "holds"}
    whole = run(project, tests, "tests/production/test_example.py")
    assert verdicts(whole)["pure-stdout"] == "fails"
    assert verdicts(run(project, tests, "tests/production", "--collect-only")) == {}


def test_a_test_of_an_unknown_item_is_an_error(project: Project) -> None:
    ended = run(project, '@shows("retires")\ndef test_a(): pass\n')
    assert ended.returncode == 4
    assert "the checklist has no item 'retires'" in ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


# Servers that are not from this template.


@contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve an ASGI app on a free port, and yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, args=[[listener]])
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def check(project: Project, url: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return project.run_tests("tests/production", "--checklist-url", url, **variables)


FROM_OUTSIDE = {
    *("both-protocol-eras", "several-workers", "described-tools", "host-and-origin", "body-limit"),
    *("malformed-messages", "structured-errors", "readable-arguments", "health-check"),
}


@pytest.mark.matrix
def test_the_report_lists_what_a_plain_fastmcp_server_lacks_and_calls_none_of_its_tools(
    bake_once: Bake,
) -> None:
    called: list[str] = []
    plain = FastMCP("plain")

    @plain.tool
    def delete_everything() -> None:
        called.append("delete_everything")

    @plain.tool(annotations={"readOnlyHint": True})
    def read(name: str) -> None:
        called.append(name)

    with serving(plain.http_app()) as address:
        ended = check(bake_once(**answers(NONE)), f"{address}/mcp")
    found = verdicts(ended)
    assert ended.returncode == 1
    assert called == []
    assert {key for key, verdict in found.items() if verdict == "holds"} == {
        *("both-protocol-eras", "body-limit", "structured-errors")
    }
    assert {key for key, verdict in found.items() if verdict == "fails"} == {
        *("several-workers", "described-tools", "host-and-origin", "malformed-messages", "readable-arguments")
    }
    assert {key for key, verdict in found.items() if verdict == "not observable"} == NAMES.keys() - (
        FROM_OUTSIDE - {"health-check"}
    )
    assert observed(ended, "health-check") == "none of /livez, /readyz, /healthz, /health"


@pytest.mark.matrix
def test_an_sdk_server_is_checked_from_outside(bake_once: Bake) -> None:
    server = MCPServer("sdk")

    @server.tool()
    def add(a: int, b: int) -> int:
        return a + b

    with serving(server.streamable_http_app()) as address:
        ended = check(bake_once(**answers(ALL - {"self_contained"})), f"{address}/mcp")
    found = verdicts(ended)
    assert found["both-protocol-eras"] == found["body-limit"] == found["host-and-origin"] == "holds"
    assert found["described-tools"] == found["several-workers"] == "fails"
    assert found["readable-arguments"] == found["retry"] == "not observable"
    assert observed(ended, "readable-arguments") == "no tool with required parameters says that it only reads"


async def old(request: Request) -> Response:
    """Serve only the handshake era, with sessions, and require the token."""
    if request.headers.get("Authorization") != f"Bearer {TOKEN}":
        return Response(status_code=401)
    if request.method == "DELETE":
        return Response(status_code=204)
    try:
        message = await request.json()
        method, number = message["method"], message["id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return PlainTextResponse("no request: " + request.headers["Authorization"], status_code=400)
    about = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "", "version": ""}}
    session = {"Mcp-Session-Id": "one"}
    if method == "initialize":
        return JSONResponse({"jsonrpc": "2.0", "id": number, "result": about}, headers=session)
    if request.headers.get("Mcp-Session-Id") != "one":
        return JSONResponse({"jsonrpc": "2.0", "id": None, "error": {"code": 1, "message": TOKEN}}, 400)
    error = {"code": -32601, "message": f"There is no method {method}."}
    return JSONResponse({"jsonrpc": "2.0", "id": number, "error": error})


@pytest.mark.matrix
def test_an_old_server_behind_a_token_is_checked_and_the_token_is_never_shown(bake_once: Bake) -> None:
    project = bake_once(**answers(NONE))
    with serving(Starlette(routes=[Route("/mcp", old, methods=["POST", "DELETE"])])) as address:
        ended = check(project, f"{address}/mcp?key={TOKEN}", CHECKLIST_TOKEN=TOKEN)
        for token, said in (("", "requires a token: set"), ("another", "refuses the token of")):
            with pytest.raises(wire.NotMcp, match=rf"{said} CHECKLIST_TOKEN \(HTTP 401\)$"):
                anyio.run(wire.find, f"{address}/mcp", token)
    found = verdicts(ended)
    assert found["both-protocol-eras"] == found["several-workers"] == "fails"
    assert found["malformed-messages"] == found["structured-errors"] == "holds"
    assert found["described-tools"] == found["readable-arguments"] == "not observable"
    assert TOKEN not in ended.stdout + ended.stderr


async def page(_: Request) -> Response:
    return HTMLResponse("<html>Welcome</html>")


async def away(_: Request) -> Response:
    return RedirectResponse("https://elsewhere.example/mcp")


async def other(_: Request) -> Response:
    return JSONResponse({"ok": True})


async def defect(_: Request) -> Response:
    return PlainTextResponse("Bad Gateway", status_code=502)


WEB = Starlette(
    routes=[
        Route(f"/{endpoint.__name__}", endpoint, methods=["GET", "POST"])
        for endpoint in (page, away, other, defect)
    ]
)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("page", "answers with a web page (HTTP 200), but not as an MCP server"),
        ("away", "redirects elsewhere (HTTP 307): give the URL that it leads to"),
        ("other", "answers (HTTP 200), but not as an MCP server"),
        ("defect", "answers (HTTP 502), but not as an MCP server"),
        ("nothing", "does not exist (HTTP 404): the path of most servers is /mcp"),
    ],
)
def test_a_url_of_something_other_than_an_mcp_server_is_reported_in_one_sentence(
    path: str, said: str
) -> None:
    with serving(WEB) as address:
        url = f"{address}/{path}"
        with pytest.raises(wire.NotMcp, match=f"^{re.escape(f'{url} {said}')}$"):
            anyio.run(wire.find, url, "")


def test_a_url_that_does_not_answer_is_reported_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(wire.NotMcp, match=rf"^http://127.0.0.1:{port}/mcp does not answer: [\w ]+$"):
        anyio.run(wire.find, f"http://user:{TOKEN}@127.0.0.1:{port}/mcp", "")


def test_a_url_that_cannot_be_checked_is_reported_in_one_line_without_a_verdict(bake_once: Bake) -> None:
    project = bake_once(**answers(NONE))
    with serving(WEB) as address:
        ends = {
            "is not a URL: write it in full, such as https://host/mcp": check(project, "example.com/mcp"),
            "answers with a web page": check(project, f"{address}/page"),
        }
    for said, ended in ends.items():
        assert ended.returncode == 4
        assert said in ended.stderr
        assert len(ended.stderr.strip().splitlines()) == 1
        assert "Traceback" not in ended.stdout + ended.stderr
        assert verdicts(ended) == {}


# Users delete the example tools.


def delete_tools(project: Project) -> None:
    """Delete every tool and resource as a user would, with its test and its lines in server.py."""
    for folder in ("tools", "../../tests/tools", "../../tests/surface"):
        for path in (project.package / folder).iterdir():
            if path.is_file() and path.name not in {"__init__.py", "conftest.py"}:
                path.unlink()
    server = project.package / "server.py"
    text = re.sub(
        r"^from \.tools\..*\n|^mcp\.add_resource.*\n", "", server.read_text("utf-8"), flags=re.MULTILINE
    )
    text, count = re.subn(
        r"^    tools=\[\n(?: {8}\w+,\n)+    \],\n", "    tools=[],\n", text, flags=re.MULTILINE
    )
    assert count == 1
    server.write_text(text, encoding="utf-8")


@pytest.mark.matrix
@pytest.mark.parametrize("chosen", [NONE, ALL - {"self_contained"}, ALL], ids=["none", "all", "folded"])
def test_a_project_without_a_tool_passes_its_checklist(chosen: Combination, bake: Bake) -> None:
    project = bake(**answers(chosen))
    delete_tools(project)
    ended = project.run_tests("tests/production")
    assert_passed(ended)
    assert set(verdicts(ended).values()) <= {"holds", "not chosen"}
    assert observed(ended, "described-tools") == "it has no tools"


# The parameter schemas that `tests/test_server.py` of a project allows.
class Place(BaseModel):
    name: Annotated[str, Field(max_length=50)]
    near: Annotated[list[Literal["sea", "lake"]], Field(min_length=1, max_length=2)]


PARAMETERS: list[Any] = [
    Annotated[str, Field(max_length=1_000_000_000)],
    Annotated[str, Field(min_length=3, max_length=3)],
    Annotated[int, Field(le=7)],
    Annotated[int, Field(gt=1, lt=3)],
    Annotated[float, Field(lt=0.5)],
    Annotated[list[date], Field(max_length=1_000_000)],
    Annotated[list[Annotated[list[str], Field(max_length=9)]], Field(max_length=1000)],
    Literal["one"],
    Literal[1, 2],
    *(bool, date, datetime, time_of_day, timedelta, UUID, Place, list[Place]),
]


@pytest.mark.parametrize("parameter", PARAMETERS, ids=str)
def test_a_tool_with_any_schema_gets_valid_and_large_arguments(parameter: Any) -> None:
    adapter = TypeAdapter(parameter)
    schema = dereference_refs(adapter.json_schema())
    found = arguments.largest_arguments({"properties": {"x": schema, "y": {}}, "required": ["x"]})
    adapter.validate_json(json.dumps(found["x"]))
    assert found.keys() == {"x"}
    assert len(json.dumps(found)) <= 2 * arguments.MOST_CHARACTERS
    if schema.get("maxLength", 0) > arguments.MOST_CHARACTERS:
        assert len(found["x"]) == arguments.MOST_CHARACTERS


def test_a_tool_without_required_parameters_is_called_without_any() -> None:
    for schema in ({}, {"type": "object"}, {"properties": {"x": {"type": "string"}}}):
        assert arguments.largest_arguments(schema) == {}


# Each item, broken on purpose


@dataclass(frozen=True)
class Break:
    """A mistake in one place of a project, and the test that must find it.

    If the mistake is in a pattern, the project has every pattern, otherwise none.
    """

    where: str
    old: str
    new: str
    test: str
    patterns: bool = False

    def plant(self, project: Project) -> None:
        folders = (project.package, project.path)
        path = next(folder / self.where for folder in folders if (folder / self.where).exists())
        text = path.read_text(encoding="utf-8")
        assert text.count(self.old) == 1, f"{self.where} contains {text.count(self.old)} times: {self.old}"
        path.write_text(text.replace(self.old, self.new), encoding="utf-8")


CALL = '        if scope["type"] == "lifespan":\n'
BREAKS = {
    "module-level-server": Break(
        "../../server.py",
        "import mcp",
        "import mcp as server",
        "test_imports.py::test_a_host_that_loads_the_file_finds_the_server_at_module_level",
    ),
    "environment-configuration": Break(
        "__main__.py",
        "    check_settings()\n",
        "",
        "test_command.py::test_invalid_settings_are_one_line_and_exit_code_2",
    ),
    "connection-pooling": Break(
        "upstream.py",
        "lambda: nullcontext(client)",
        "lambda: type(client)(**options)",
        "test_connection_pooling.py",
        patterns=True,
    ),
    "retry": Break(
        "patterns/retry.py",
        "is_transient(error) and await self._budget.take()",
        "False",
        "test_retry.py::test_a_call_survives_transient_faults",
        patterns=True,
    ),
    "caching": Break(
        "patterns/caching.py",
        "            await self._store.keep(key, value, stamp)\n",
        "            pass\n",
        "test_caching.py",
        patterns=True,
    ),
    "structured-errors": Break(
        "patterns/structured_errors.py",
        "            is_error=True,\n",
        "",
        "test_checklist.py::test_a_failed_call_is_marked_and_readable",
        patterns=True,
    ),
    "health-check": Break(
        "server.py",
        "add_probes(mcp)\n",
        "",
        "test_checklist.py::test_probes_report_whether_the_process_is_alive_and_ready",
        patterns=True,
    ),
    "logging": Break(
        "__main__.py",
        "configure_logging(mcp.log_format)",
        "configure_logging()",
        "test_structured_logging.py",
        patterns=True,
    ),
    "telemetry": Break("server.py", "add_telemetry(mcp)\n", "", "test_telemetry.py", patterns=True),
    "no-circular-imports": Break(
        "tools/process_data.py",
        "from fastmcp.tools import tool\n",
        "from fastmcp.tools import tool\n\nfrom .. import server\n",
        "test_imports.py",
    ),
    "no-work-at-import": Break(
        "tools/process_data.py",
        "from fastmcp.tools import tool\n",
        'from fastmcp.tools import tool\n\n__import__("socket").getaddrinfo("localhost", 80)\n',
        "test_imports.py",
    ),
    "rate-limiting": Break(
        "server.py", "        RateLimiting(),\n", "", "test_rate_limiting.py", patterns=True
    ),
    "authentication": Break("server.py", "authenticate(mcp)\n", "", "test_authentication.py", patterns=True),
    "graceful-shutdown": Break(
        "runtime/drain.py",
        "            self._take_signals()\n",
        "            pass\n",
        "test_signals.py::test_calls_of_both_eras_are_answered_within_the_grace_period_and_cut_after_it",
    ),
    # A proxy that drops unknown headers.
    "both-protocol-eras": Break(
        "runtime/drain.py",
        CALL,
        '        if scope["type"] == "http":\n'
        '            scope["headers"] = [pair for pair in scope["headers"] if pair[0][:4] != b"mcp-"]\n'
        + CALL,
        "test_checklist.py::test_both_protocol_eras_are_answered",
    ),
    "several-workers": Break(
        "runtime/serving.py",
        "http_sessions: bool = False",
        "http_sessions: bool = True",
        "test_checklist.py::test_no_request_needs_a_session",
    ),
    "shared-state": Break(
        "environment_config.toml",
        "[production]\n",
        "[production]\nworkers = 4\n",
        "test_state_management.py::test_several_workers_in_production_cannot_keep_state_in_memory",
        patterns=True,
    ),
    "restart": Break(
        "runtime/serving.py",
        "http_sessions: bool = False",
        "http_sessions: bool = True",
        "test_restart.py",
    ),
    "cancelled-calls": Break(
        "runtime/server.py",
        "json_response=False",
        "json_response=True",
        "test_calls.py::test_a_call_whose_client_disconnects_is_cancelled_and_the_next_is_answered",
    ),
    "clean-exit-on-stdio": Break(
        "runtime/stdio.py",
        "    call_on_signal(wire.end, leave)\n",
        "",
        "test_signals.py -k stdio",
    ),
    "pure-stdout": Break("runtime/stdio.py", "    os.dup2(2, 1)\n", "", "test_command.py -k stdout"),
    "empty-environment": Break(
        "runtime/serving.py",
        "shutdown_grace_seconds: float = Field(20, ",
        "shutdown_grace_seconds: float = Field(",
        "test_command.py -k stdout",
    ),
    "tool-deadlines": Break(
        "runtime/deadlines.py", "gt=0, lt=60", "gt=0, lt=600", "test_command.py -k settings"
    ),
    "readable-arguments": Break(
        "server.py",
        "        ReadableArguments(),\n",
        "",
        "test_checklist.py::test_invalid_arguments_get_a_short_readable_error",
    ),
    "masked-errors": Break(
        "runtime/errors.py",
        'f"An unexpected error occurred;',
        'f"An unexpected error occurred: {error};',
        "test_calls.py::test_the_text_of_an_unknown_exception_is_only_in_the_log",
    ),
    "described-tools": Break(
        "tools/process_data.py",
        'description="The text to measure.", ',
        "",
        "test_checklist.py::test_every_tool_is_described",
    ),
    "host-and-origin": Break(
        "runtime/server.py",
        "        app.add_middleware(\n            HostAndOrigin,\n",
        "        dict(\n            app=HostAndOrigin,\n",
        "test_checklist.py::test_a_foreign_host_or_origin_is_refused",
    ),
    # A layer in front that accepts bodies of any size.
    "body-limit": Break(
        "runtime/drain.py",
        CALL,
        '        if int(dict(scope.get("headers", [])).get(b"content-length", 0)) > 4_194_304:\n'
        "            from starlette.responses import Response\n"
        "            return await Response()(scope, receive, send)\n" + CALL,
        "test_checklist.py::test_a_body_over_the_limit_is_refused",
    ),
    # A layer in front that reads every body as JSON.
    "malformed-messages": Break(
        "runtime/drain.py",
        CALL,
        '        if scope["type"] == "http" and scope["method"] == "POST":\n'
        "            import json\n"
        "            original, later = receive, [await receive()]\n"
        '            json.loads(later[0]["body"])\n'
        "            async def receive() -> Message:\n"
        "                return later.pop() if later else await original()\n" + CALL,
        "test_checklist.py::test_a_malformed_message_is_an_error_that_reveals_no_internals",
    ),
    "loopback-bind": Break(
        "runtime/serving.py",
        'http_host: str = "127.0.0.1"',
        'http_host: str = "0.0.0.0"',
        "test_calls.py::test_a_server_without_settings_listens_on_this_machine_only",
    ),
    "responsive-under-load": Break(
        "tools/process_data.py",
        "    return TextStatistics(",
        '    __import__("time").sleep(0.3)\n    return TextStatistics(',
        "test_calls.py::test_the_server_listens_while_each_tool_works",
    ),
}
PATIENCE = Break("tests/production/process.py", "PATIENCE_SECONDS = 30", "PATIENCE_SECONDS = 10", "")


def test_every_item_is_broken_once() -> None:
    assert BREAKS.keys() == NAMES.keys()


@pytest.mark.matrix
@pytest.mark.parametrize("key", BREAKS)
def test_a_broken_item_is_reported_with_how_to_fix_it(key: str, bake: Bake) -> None:
    broken = BREAKS[key]
    project = bake(**answers(ALL - {"self_contained"} if broken.patterns else NONE))
    broken.plant(project)
    PATIENCE.plant(project)
    file, *only = shlex.split(broken.test)
    ended = project.run_tests(f"tests/production/{file}", *only)
    print(observed(ended, key))
    assert verdicts(ended).get(key) == "fails", ended.stdout[-3000:]
    assert FIXES[key] in " ".join(ended.stdout.split())
    assert ended.returncode == 1
