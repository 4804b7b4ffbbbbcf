"""A server that was killed, not ended, and comes back: clients need not know."""

from collections.abc import Callable

import pytest
from fastmcp import Client

from .process import ServerProcess, shared_server


@pytest.fixture
def server(request: pytest.FixtureRequest) -> ServerProcess:
    return shared_server(request)


@pytest.mark.checklist("restart")
async def test_a_client_of_a_server_that_was_killed_goes_on_with_the_next(
    server: ServerProcess,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    async with (
        Client(f"{server.url}/mcp", mode="auto") as modern,
        Client(f"{server.url}/mcp", mode="legacy") as legacy,
    ):
        for client in (modern, legacy):
            assert (await client.call_tool("process_data", {"text": "tea"})).data.words == 1
        server.process.kill()
        await server.ended()
        again = shared_server(request, port=server.url.rpartition(":")[2])
        assert again.url == server.url
        assert again.process.pid != server.process.pid
        for client in (modern, legacy):
            assert (await client.call_tool("process_data", {"text": "tea"})).data.words == 1
    record_property("observed", "2 of 2 clients went on")
