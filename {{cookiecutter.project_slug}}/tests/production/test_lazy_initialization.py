"""Nothing is opened before it is needed."""

from pathlib import Path

from .process import HANDSHAKE, bare_environment, call, message, stdio_server


def test_no_database_is_there_before_the_first_call_that_needs_it(tmp_path: Path) -> None:
    with stdio_server(bare_environment(tmp_path)) as server:
        server.send(message("initialize", 1, **HANDSHAKE))
        server.send(message("tools/list", 2))
        server.send(call("process_data", 3, text="tea"))
        assert sorted(server.receive()["id"] for _ in range(3)) == [1, 2, 3]
        assert list(tmp_path.rglob("*.db")) == []
        server.send(call("database_operation", 4, query="rad"))
        users = server.receive()["result"]["structuredContent"]["users"]
        assert [user["name"] for user in users] == ["Radia"]
        assert len(list(tmp_path.rglob("*.db"))) == 1
