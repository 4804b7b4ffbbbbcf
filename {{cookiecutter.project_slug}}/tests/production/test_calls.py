"""Calls over HTTP: answered, given up by their client, too long, and beside others."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from fastmcp import Client

from .process import ACCEPT, DEADLINE_SECONDS, ERAS, ServerProcess, call, shared_server

ROUNDS = 4
PROMPT_SECONDS = 0.1

TEA = {"text": "tea for two"}
COUNTED = {"words": 3, "lines": 1, "characters": 11}


@pytest.fixture
def server(request: pytest.FixtureRequest) -> ServerProcess:
    return shared_server(request)


@pytest.mark.checklist("both-protocol-eras")
@pytest.mark.parametrize("era", ERAS)
async def test_http_answers_in_both_eras(era: str, server: ServerProcess) -> None:
    async with Client(f"{server.url}/mcp", mode=era) as client:
        result = await client.call_tool("process_data", TEA)
    assert result.structured_content == COUNTED


async def test_a_child_process_reads_nothing_from_the_servers_stdin(server: ServerProcess) -> None:
    async with Client(f"{server.url}/mcp") as client:
        assert (await client.call_tool("run_child")).data == ""


@pytest.mark.checklist("loopback-bind")
def test_a_server_that_is_told_nothing_listens_to_this_machine_alone(
    server: ServerProcess, record_property: Callable[[str, object], None]
) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    record_property("observed", server.url)


@pytest.mark.checklist("cancelled-calls")
async def test_a_call_whose_client_vanishes_is_cancelled_and_the_next_one_answered(
    server: ServerProcess, record_property: Callable[[str, object], None]
) -> None:
    """Of both eras: without a session, no later message can name a call of an earlier one."""
    url = f"{server.url}/mcp"
    async with (
        httpx2.AsyncClient(headers=ACCEPT) as legacy,
        Client(url, mode="auto") as modern,
    ):
        await modern.list_tools()
        arguments = {"seconds": 30, "label": "modern vanishes"}
        gone = [
            asyncio.create_task(modern.call_tool("wait", arguments)),
            asyncio.create_task(
                legacy.post(url, json=call("wait", seconds=30, label="legacy vanishes"))
            ),
        ]
        for era in ("modern", "legacy"):
            await server.logged(f"waiting: {era} vanishes")
        for task in gone:
            task.cancel()
        # It ends long before the deadline, which would cut those calls as well.
        stays = await modern.call_tool("wait", {"seconds": 0.5, "label": "stays"})
    assert stays.data == "done"
    for era in ("modern", "legacy"):
        assert f"cancelled: {era} vanishes\n" in server.log
    await asyncio.gather(*gone, return_exceptions=True)
    record_property("observed", "cancelled when the client vanishes")


@pytest.mark.checklist("tool-deadlines")
async def test_a_call_past_its_deadline_is_cancelled_and_told_so(
    server: ServerProcess, record_property: Callable[[str, object], None]
) -> None:
    async def answer(era: str) -> str:
        async with Client(f"{server.url}/mcp", mode=era) as client:
            arguments = {"seconds": 30, "label": f"{era} hangs"}
            result = await client.call_tool("wait", arguments, raise_on_error=False)
        assert result.is_error
        return str(result.content[0].text)

    for text in await asyncio.gather(*map(answer, ERAS)):
        assert f"did not finish within {DEADLINE_SECONDS} seconds" in text
        record_property("observed", text)
    for era in ERAS:
        await server.logged(f"cancelled: {era} hangs")


def largest(schema: dict[str, Any]) -> Any:
    """Return a value of the size that a schema allows."""
    match schema.get("type"):
        case "string":
            return "a " * (schema["maxLength"] // 2) or "a"
        case "array":
            return [largest(schema["items"] | {"maxLength": 100})] * schema["maxItems"]
        case _:
            return schema.get("maximum", 0)


def questions(tools: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return a call, with much to do, of every tool that changes nothing."""
    for tool in tools:
        if tool.annotations and tool.annotations.read_only_hint:
            required = tool.input_schema.get("required", [])
            properties = tool.input_schema["properties"]
            yield tool.name, {name: largest(properties[name]) for name in required}


@pytest.mark.checklist("responsive-under-load")
async def test_the_server_listens_while_each_tool_works(
    server: ServerProcess, record_property: Callable[[str, object], None]
) -> None:
    """A tool that computes, or waits without `await`, keeps everybody else waiting."""
    observed = {}
    async with (
        Client(f"{server.url}/mcp") as client,
        httpx2.AsyncClient(base_url=server.url) as probe,
    ):
        for tool, arguments in questions(await client.list_tools()):
            longest = []
            for _ in range(ROUNDS):
                delays = []
                working = asyncio.create_task(client.call_tool_mcp(tool, arguments))
                while not working.done():
                    begin = time.monotonic()
                    await probe.get("/elsewhere")
                    delays.append(time.monotonic() - begin)
                longest.append(max(delays))
            # The best round: this machine may be busy in some, a tool that blocks does so in each.
            observed[tool] = round(min(longest) * 1000)
    assert observed
    assert max(observed.values()) < PROMPT_SECONDS * 1000, observed
    record_property("observed", f"at most {max(observed.values())} ms")
