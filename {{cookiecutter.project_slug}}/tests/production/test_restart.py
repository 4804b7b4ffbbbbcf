"""A server that is killed and restarted: clients do not notice."""

import pytest

from .process import ServerProcess
from .report import Observe
from .servers import Servers


@pytest.mark.checklist("restart")
async def test_a_client_of_a_killed_server_continues_with_the_next(
    server: ServerProcess, servers: Servers, observe: Observe
) -> None:
    async with server.clients() as (modern, legacy):
        for client in (modern, legacy):
            assert (await client.call_tool("probe_echo", {"text": "tea"})).data == "tea"
        server.process.kill()
        await server.ended()
        again = servers.replace(server)
        assert again.url == server.url
        assert again.process.pid != server.process.pid
        for client in (modern, legacy):
            assert (await client.call_tool("probe_echo", {"text": "tea"})).data == "tea"
    observe("2 of 2 clients continued")
