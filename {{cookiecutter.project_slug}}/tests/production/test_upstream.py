"""For every fault of the API, tools answer in time with a readable error, and recover."""

import asyncio
from typing import Any

import pytest
from fastmcp import Client

from ..upstream import DROPPED, RESET, TRUNCATED, Answer, answer, local_upstream, unending
from .process import ServerProcess
from .report import Observe
from .upstream import Api, calls_api
from .wire import MODES

pytestmark = calls_api

# An unforeseen error is masked, which does not count as an answer here.
INTERNALS = ("Traceback", "httpx", "127.0.0.1", "Error calling", "unexpected")
# More than the deadline of a call, for a busy machine.
SECONDS = 6

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


async def ask(client: Client[Any], *paths: str) -> dict[tuple[str, str], Any]:
    """Request every path with every tool concurrently, and return the answers."""
    probes = [tool.name for tool in await client.list_tools() if tool.name.startswith("probe_api")]
    assert probes
    asked = [(probe, path) for probe in probes for path in paths]
    calls = [client.call_tool_mcp(probe, {"path": path}) for probe, path in asked]
    answers = await asyncio.wait_for(asyncio.gather(*calls), SECONDS)
    return dict(zip(asked, answers, strict=True))


def assert_readable_error(result: Any, about: object) -> None:
    text = result.content[0].text
    assert result.is_error, about
    assert text.endswith("."), (about, text)
    assert len(result.model_dump_json()) < 1024, about
    assert not [word for word in INTERNALS if word in text], (about, text)


@pytest.mark.checklist("retry")
async def test_every_fault_of_the_api_is_a_readable_error_in_time_and_recovers(
    api: Api, server: ServerProcess, observe: Observe
) -> None:
    async with local_upstream() as other, server.client("legacy") as client:
        elsewhere = answer(302, headers={"Location": f"{other.url}/users"})
        api.upstream.faults = {**FAULTS, "elsewhere": elsewhere}
        results = await ask(client, *api.upstream.faults)
        for about, result in results.items():
            assert_readable_error(result, about)
        assert other.connections == 0
        for about, result in (await ask(client, "healthy")).items():
            assert not result.is_error, (about, result)
    observe(f"{len(results)} of {len(results)} faults reported, no task left")


async def test_an_api_that_is_down_is_a_readable_error_until_it_recovers(
    api: Api, server: ServerProcess
) -> None:
    async with server.client("auto") as client:
        with api.down():
            for about, result in (await ask(client, "absent")).items():
                assert_readable_error(result, about)
        for about, result in (await ask(client, "present")).items():
            assert not result.is_error, (about, result)


@pytest.mark.checklist("empty-environment")
@pytest.mark.serving
@pytest.mark.parametrize("mode", MODES)
async def test_without_configuration_a_call_names_the_variable(
    mode: str, server: ServerProcess
) -> None:
    async with server.client(mode) as client:
        for result in (await ask(client, "users")).values():
            assert result.is_error
            assert "API_BASE_URL is not set" in result.content[0].text
