"""Calls over HTTP: answered, abandoned by the client, too long, invalid, and concurrent."""

import asyncio
import time

import httpx2
import pytest

from .arguments import largest_arguments
from .process import AUTHORIZATION, ServerProcess, call
from .report import Observe
from .servers import DEADLINE_SECONDS
from .wire import ACCEPT, MODES

HEADERS = {**ACCEPT, **AUTHORIZATION}
ROUNDS = 3
# What a tool may take in a round: some wait for something else.
MOST_SECONDS = 1
PROMPT_SECONDS = 0.1
LARGEST_ERROR = 2048


@pytest.mark.checklist("both-protocol-eras")
@pytest.mark.parametrize("mode", MODES)
async def test_http_answers_in_both_eras(mode: str, server: ServerProcess) -> None:
    async with server.client(mode) as client:
        assert (await client.call_tool("probe_echo", {"text": "tea"})).data == "tea"


@pytest.mark.checklist("loopback-bind")
def test_a_server_without_settings_listens_on_this_machine_only(
    server: ServerProcess, observe: Observe
) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    observe(server.url)


@pytest.mark.checklist("cancelled-calls")
async def test_a_call_whose_client_disconnects_is_cancelled_and_the_next_is_answered(
    server: ServerProcess, observe: Observe
) -> None:
    """Of both eras: without a session, no later message can name a call of an earlier one."""
    async with httpx2.AsyncClient(headers=HEADERS) as legacy, server.client() as modern:
        await modern.list_tools()
        stuck = {"seconds": 30, "label": "modern vanishes"}
        gone = [
            asyncio.create_task(modern.call_tool("probe_wait", stuck)),
            asyncio.create_task(
                legacy.post(
                    f"{server.url}/mcp",
                    json=call("probe_wait", seconds=30, label="legacy vanishes"),
                )
            ),
        ]
        for era in ("modern", "legacy"):
            await server.logged(f"waiting: {era} vanishes")
        for task in gone:
            task.cancel()
        # It ends before the deadline, which would cut those calls as well.
        stays = await modern.call_tool("probe_wait", {"seconds": 0.3, "label": "stays"})
    assert stays.data == "done"
    log = "".join(server.log)
    for era in ("modern", "legacy"):
        assert f"cancelled: {era} vanishes" in log
    await asyncio.gather(*gone, return_exceptions=True)
    observe("cancelled when the client vanishes")


@pytest.mark.checklist("tool-deadlines")
async def test_a_call_that_exceeds_its_deadline_is_cancelled_with_a_message(
    server: ServerProcess, observe: Observe
) -> None:
    async def answer(mode: str) -> str:
        async with server.client(mode) as client:
            stuck = {"seconds": 30, "label": f"{mode} hangs"}
            result = await client.call_tool("probe_wait", stuck, raise_on_error=False)
        assert result.is_error
        return str(result.content[0].text)

    for text in await asyncio.gather(*map(answer, MODES)):
        assert f"did not finish within {DEADLINE_SECONDS} seconds" in text
        observe(text)
    for mode in MODES:
        await server.logged(f"cancelled: {mode} hangs")


@pytest.mark.checklist("readable-arguments")
@pytest.mark.parametrize("mode", MODES)
async def test_many_invalid_arguments_get_a_short_error(
    mode: str, server: ServerProcess, observe: Observe
) -> None:
    unknown = {f"unknown_{number}": "canary" for number in range(5_000)}
    async with server.client(mode) as client:
        result = await client.call_tool_mcp("probe_echo", unknown)
    assert result.is_error
    whole = result.model_dump_json()
    assert 0 < result.content[0].text.count("unknown_") <= 5
    assert "canary" not in whole
    assert len(whole.encode()) < LARGEST_ERROR
    observe(f"{len(whole.encode())} bytes")


@pytest.mark.checklist("masked-errors")
@pytest.mark.parametrize("mode", MODES)
async def test_the_text_of_an_unknown_exception_is_only_in_the_log(
    mode: str, server: ServerProcess, observe: Observe
) -> None:
    async with server.client(mode) as client:
        result = await client.call_tool_mcp("probe_fail", {})
    assert result.is_error
    assert "canary" not in result.model_dump_json()
    await server.logged("canary")
    observe("its text is in the log alone")


@pytest.mark.checklist("responsive-under-load")
async def test_the_server_listens_while_each_tool_works(
    server: ServerProcess, observe: Observe
) -> None:
    """A tool that computes, or waits without `await`, blocks all other callers.

    Tools that may change something are not called.
    """
    async with server.client() as client, httpx2.AsyncClient(base_url=server.url) as other:

        async def longest_delay(tool: str, arguments: dict[str, object]) -> float:
            working = asyncio.create_task(client.call_tool_mcp(tool, arguments))
            delays: list[float] = []
            while not working.done() and sum(delays) < MOST_SECONDS:
                begin = time.monotonic()
                await other.get("/elsewhere")
                delays.append(time.monotonic() - begin)
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            return max(delays)

        observed = {}
        for tool in await client.list_tools():
            if tool.annotations and tool.annotations.read_only_hint:
                arguments = largest_arguments(tool.input_schema)
                # The best round: this machine may be busy in some, a tool that blocks is in each.
                rounds = [await longest_delay(tool.name, arguments) for _ in range(ROUNDS)]
                observed[tool.name] = round(min(rounds) * 1000)
    assert observed
    assert max(observed.values()) < PROMPT_SECONDS * 1000, observed
    observe(f"at most {max(observed.values())} ms")
