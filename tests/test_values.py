"""Values that clients send and tools return are accepted, corrected or rejected, and never logged."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .conftest import Projects
from .fault_server import always, fault_server
from .project import Project
from .running import (
    ERAS,
    HANDSHAKE,
    MODERN,
    UNLIMITED,
    Running,
    environment,
    headers_of,
    message,
    running,
    tool_call,
)

pytestmark = [pytest.mark.sweep, pytest.mark.matrix]

WAYS = ["as_model", "as_any", "as_result", "as_meta", "as_failure", "as_error", "as_unknown"]
SCRIPT = str(Path(__file__).with_name("odd_server.py"))
VALUES = ["half", "file", "key", "bytes", "nan", "infinity", "object", "itself", "deep", "number", "set"]
LISTS = ["tools/list", "resources/list", "resources/templates/list", "prompts/list"]
MARKER = "canary"


def odd_command(project: Project, *flags: str) -> list[str]:
    return [sys.executable, SCRIPT, project.package_name, *flags]


@pytest.fixture(scope="module", params=["all", "none"])
def server(
    request: pytest.FixtureRequest, projects: Projects, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    with running(projects(request.param), home, script=SCRIPT, **UNLIMITED) as started:
        yield started


async def ask(server: Running, era: str, method: str, **params: Any) -> dict[str, Any]:
    request = message(era, method, **params)
    reply = await server.post(json.dumps(request).encode(), headers_of(era, request))
    answer = reply.message
    json.dumps(answer, ensure_ascii=False).encode()  # fails on a lone surrogate
    return answer


@pytest.mark.parametrize("name", VALUES)
def test_anything_that_a_tool_returns_or_raises_becomes_an_answer(server: Running, name: str) -> None:
    async def calls() -> None:
        for era in ERAS:
            for way in WAYS:
                reply = await server.call(era, way, {"name": name})
                text = json.dumps(reply.result, ensure_ascii=False)
                text.encode()
                assert "NaN" not in text.replace("contains NaN", "")
                assert "output_schema" not in text
                assert reply.result.get("isError", False) or way in WAYS[:4]
                assert way not in ("as_failure", "as_error") or "No tea: half \ufffd" in text
            for method, params in (
                ("resources/read", {"uri": f"odd://{name}"}),
                ("prompts/get", {"name": "read", "arguments": {"name": name}}),
            ):
                answer = await ask(server, era, method, **params)
                assert "result" in answer or answer["error"]["message"]
            await server.good_call(era)

    asyncio.run(calls())


@pytest.mark.parametrize("name", ["half", "bytes", "nan", "object", "itself", "deep"])
def test_a_result_that_cannot_be_sent_gives_the_reason(server: Running, name: str) -> None:
    async def calls() -> None:
        for era in ERAS:
            reply = await server.call(era, "as_model", {"name": name})
            assert "The result cannot be sent: it " in reply.result["content"][0]["text"]

    asyncio.run(calls())


def test_a_question_that_cannot_reach_the_client_names_the_setting(server: Running) -> None:
    async def calls() -> None:
        for era, text in ((HANDSHAKE, "HTTP_SESSIONS=true"), (MODERN, MODERN)):
            reply = await server.call(era, "ask", {})
            assert reply.result["isError"]
            assert text in reply.result["content"][0]["text"]

    asyncio.run(calls())


def test_each_era_gets_its_own_capabilities_and_a_foreign_cursor_is_refused(server: Running) -> None:
    async def calls() -> None:
        discovered = await ask(server, MODERN, "server/discover")
        assert "logging" not in discovered["result"]["capabilities"]
        assert "tools" in discovered["result"]["capabilities"]
        initialized = await ask(server, HANDSHAKE, "initialize")
        assert "logging" in initialized["result"]["capabilities"]
        for era in ERAS:
            for method in LISTS:
                assert (await ask(server, era, method, cursor="x"))["error"]["code"] == -32602
                assert "result" in await ask(server, era, method)

    asyncio.run(calls())


class Stdio:
    """A client of a server on stdio that sends one message at a time."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def send(self, request: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.send(request)
        assert self.process.stdout is not None
        while True:
            answer: dict[str, Any] = json.loads(self.process.stdout.readline())
            if answer.get("id") == request["id"]:
                return answer


@contextmanager
def on_stdio(project: Project, home: Path, log: Path, **variables: str) -> Iterator[Stdio]:
    with (
        log.open("w", encoding="utf-8") as stderr,
        subprocess.Popen(
            odd_command(project),
            cwd=home,
            env=environment(project, home, **variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            encoding="utf-8",
        ) as process,
    ):
        try:
            yield Stdio(process)
        finally:
            process.kill()


@pytest.mark.parametrize("era", ERAS)
def test_anything_that_a_tool_on_stdio_returns_or_raises_becomes_an_answer(
    projects: Projects, tmp_path: Path, era: str
) -> None:
    with on_stdio(projects("all"), tmp_path, tmp_path / "log", **UNLIMITED) as server:
        if era == HANDSHAKE:
            server.ask(message(era, "initialize"))
            server.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        for name in VALUES:
            for way in WAYS:
                answer = server.ask(tool_call(era, way, {"name": name}))
                json.dumps(answer, ensure_ascii=False).encode()
                assert "result" in answer
            for method, params in (
                ("resources/read", {"uri": f"odd://{name}"}),
                ("prompts/get", {"name": "read", "arguments": {"name": name}}),
            ):
                assert server.ask(message(era, method, **params))


def debugged(era: str) -> list[dict[str, Any]]:
    """Return valid and invalid calls whose arguments and results contain the marker."""
    return [
        tool_call(era, tool, arguments)
        for tool, arguments in (
            ("process_data", {"text": MARKER}),
            ("process_data", {"text": [MARKER]}),
            ("process_data", {"text": "tea", "more": MARKER}),
            ("database_operation", {"query": MARKER}),
            ("database_operation", {"cursor": MARKER}),
            ("api_request", {"endpoint": f"tea~{MARKER}"}),
            ("resilient_api_call", {"endpoint": f"tea~{MARKER}"}),
            ("cached_fetch", {"resource_id": f"tea~{MARKER}"}),
            ("batch_process", {"items": [MARKER]}),
            ("batch_process", {"items": json.dumps([MARKER])}),
            ("validated_operation", {"data": MARKER}),
            ("increment_counter", {"name": MARKER}),
        )
    ]


def variables(api: str, home: Path) -> dict[str, str]:
    return {
        **UNLIMITED,
        "LOG_LEVEL": "DEBUG",
        "API_BASE_URL": f"{api}",
        "API_KEY": f"{MARKER}-key",
        "STATE_URL": f"sqlite:///{home / 'state.db'}",
    }


PLAYS = {"tea": always(body=json.dumps({"tea": MARKER}).encode(), Tea=MARKER)}


def test_no_value_is_in_the_log_over_http_even_at_debug(projects: Projects, tmp_path: Path) -> None:
    async def calls(server: Running) -> None:
        for era in ERAS:
            for request in debugged(era):
                sent = {"Authorization": f"Bearer {MARKER}", "Cookie": f"tea={MARKER}", "X-Tea": MARKER}
                headers = headers_of(era, request) | sent
                reply = await server.post(json.dumps(request).encode(), headers)
                assert reply.result["content"]

    with (
        fault_server(PLAYS) as api,
        running(projects("all"), tmp_path, **variables(api.url, tmp_path)) as server,
    ):
        asyncio.run(calls(server))
        server.logged("tool call", times=len(ERAS) * len(debugged(MODERN)))
        assert api.requests
        assert [line for line in server.log if MARKER in line] == []


@pytest.mark.parametrize("era", ERAS)
def test_no_value_is_in_the_log_on_stdio_even_at_debug(projects: Projects, tmp_path: Path, era: str) -> None:
    log = tmp_path / "log"
    with (
        fault_server(PLAYS) as api,
        on_stdio(projects("all"), tmp_path, log, **variables(api.url, tmp_path)) as server,
    ):
        if era == HANDSHAKE:
            server.ask(message(era, "initialize"))
            server.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        for request in debugged(era):
            assert server.ask(request)["result"]["content"]
    lines = log.read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if "tool call" in line]) == len(debugged(era))
    assert [line for line in lines if MARKER in line] == []


def test_a_list_that_a_client_sends_as_text_is_parsed(projects: Projects, tmp_path: Path) -> None:
    async def calls(server: Running) -> None:
        for era in ERAS:
            whole = await server.call(era, "batch_process", {"items": ["tea", "milk"]})
            text = await server.call(era, "batch_process", {"items": '["tea", "milk"]'})
            assert text.result["structuredContent"] == whole.result["structuredContent"]

    with running(projects("all"), tmp_path, **UNLIMITED) as server:
        asyncio.run(calls(server))
        assert "Invalid arguments" not in "".join(server.log)
