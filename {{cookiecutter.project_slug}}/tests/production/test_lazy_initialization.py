"""Nothing is opened before it is needed."""

from pathlib import Path

from .process import ServerProcess, call, message


def test_no_database_is_there_before_the_first_call_that_needs_it(
    stdio_server: ServerProcess,
) -> None:
    def databases() -> list[Path]:
        return list(stdio_server.home.rglob("*.db"))

    stdio_server.greet()
    stdio_server.send(message("tools/list", 1))
    stdio_server.send(call("probe_echo", 2, text="tea"))
    assert sorted(stdio_server.receive()["id"] for _ in range(2)) == [1, 2]
    assert databases() == []
    stdio_server.send(call("probe_database", 3, name="rad"))
    assert stdio_server.receive()["result"]["structuredContent"] == {"result": ["Radia"]}
    assert len(databases()) == 1
