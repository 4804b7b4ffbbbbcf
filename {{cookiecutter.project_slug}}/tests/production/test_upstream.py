"""Whatever the API does, a tool that calls it answers in time and legibly, and recovers."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fastmcp import Client

from ..upstream import DROPPED, RESET, TRUNCATED, Answer, answer, local_upstream, unending
from .process import DEADLINE_SECONDS, ERAS, ServerProcess, shared_server
from .upstream import Api, server_of, shared_api

# An error that nobody has foreseen is masked, which here is no answer.
INTERNALS = ("Traceback", "httpx", "127.0.0.1", "Error calling", "unexpected")
# More than the time that an answer may take, for a machine that is busy with other things.
SECONDS = 3 * DEADLINE_SECONDS

FAULTS = {
    "slow": answer(pause_seconds=30),
    "dripping": Answer(answer(body="a" * 1000).raw, drip_seconds=0.1),
    "unavailable": answer(503),
    "busy": answer(429, headers={"Retry-After": "3600"}),
    "garbage": Answer(b"SSH-2.0-OpenSSH\r\n\r\n", drop=True),
    "html": answer(body=b"<html>Welcome</html>"),
    "dropped": DROPPED,
    "reset": RESET,
    "truncated": TRUNCATED,
    "endless": unending(b"a" * 2**20),
}


@pytest.fixture
def api(request: pytest.FixtureRequest) -> Api:
    return shared_api(request)


@pytest.fixture
def server(api: Api, request: pytest.FixtureRequest) -> ServerProcess:
    return server_of(api, request)


async def api_tools(client: Client[Any]) -> dict[str, str]:
    """Return the tools that reach out of the server and change nothing, with their parameter."""
    tools = {
        tool.name: tool.input_schema["required"][0]
        for tool in await client.list_tools()
        if (hints := tool.annotations) and hints.open_world_hint and hints.read_only_hint
    }
    assert tools
    return tools


async def ask_every_tool(client: Client[Any], *questions: str) -> dict[tuple[str, str], Any]:
    """Ask every tool every question, side by side, and return the answers."""
    asked = [
        (tool, question, client.call_tool_mcp(tool, {parameter: question}))
        for tool, parameter in (await api_tools(client)).items()
        for question in questions
    ]
    answers = await asyncio.wait_for(asyncio.gather(*(call for *_, call in asked)), SECONDS)
    return {
        (tool, question): result for (tool, question, _), result in zip(asked, answers, strict=True)
    }


def assert_readable_error(result: Any, about: object) -> None:
    text = result.content[0].text
    assert result.is_error, about
    assert text.endswith("."), (about, text)
    assert len(result.model_dump_json()) < 1024, about
    assert not [word for word in INTERNALS if word in text], (about, text)


@pytest.mark.checklist("retry")
async def test_every_fault_of_the_api_is_a_readable_error_in_time_and_passes(
    api: Api, server: ServerProcess, record_property: Callable[[str, object], None]
) -> None:
    async with local_upstream() as other, Client(f"{server.url}/mcp", mode="legacy") as client:
        elsewhere = answer(302, headers={"Location": f"{other.url}/users"})
        api.upstream.faults = {**FAULTS, "elsewhere": elsewhere}
        results = await ask_every_tool(client, *api.upstream.faults)
        for question, result in results.items():
            assert_readable_error(result, question)
        assert other.connections == 0
        for result in (await ask_every_tool(client, "healthy")).values():
            assert not result.is_error, result
    record_property("observed", f"{len(results)} of {len(results)} faults told, none left behind")


async def test_an_api_that_is_down_is_a_readable_error_until_it_is_back(
    api: Api, server: ServerProcess
) -> None:
    async with Client(f"{server.url}/mcp", mode="auto") as client:
        with api.down():
            for about, result in (await ask_every_tool(client, "absent")).items():
                assert_readable_error(result, about)
        for about, result in (await ask_every_tool(client, "present")).items():
            assert not result.is_error, about


@pytest.mark.checklist("empty-environment")
@pytest.mark.parametrize("era", ERAS)
async def test_without_configuration_a_call_names_the_variable(
    era: str, request: pytest.FixtureRequest
) -> None:
    server = shared_server(request)
    async with Client(f"{server.url}/mcp", mode=era) as client:
        for result in (await ask_every_tool(client, "users")).values():
            assert result.is_error
            assert "API_BASE_URL is not set" in result.content[0].text
