"""Every line of stdin is answered or passed on, and the end of stdin waits for the answers."""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from my_mcp_server.runtime.messages import (
    MAX_BODY_BYTES,
)
from my_mcp_server.runtime.stdio import (
    Wire,
)

PATIENCE_SECONDS = 10
ENOUGH = 1 << 20  # bytes, more than fit in a pipe


class Client:
    """The other end of both pipes."""

    def __init__(self) -> None:
        source, self._stdin = os.pipe()
        self._stdout, sink = os.pipe()
        self.wire = Wire(source, sink)
        self.end_is_seen = threading.Event()
        self._to_close = [source, self._stdin, self._stdout, sink]

    def start(self, wait_seconds: float = PATIENCE_SECONDS) -> None:
        self.wire.start(self.end_is_seen.set, wait_seconds)

    def send(self, *lines: bytes) -> None:
        for line in lines:
            os.write(self._stdin, line + b"\n")

    def receive(self) -> Any:
        """Read an answer."""
        with os.fdopen(os.dup(self._stdout), "rb", buffering=0) as stream:
            return json.loads(in_time(stream.readline))

    def take(self) -> bytes:
        """Read a line as the SDK does."""
        return in_time(self.read)

    def read(self) -> bytes:
        return asyncio.run(self.wire.read())

    def close(self, *, stdin: bool = False, stdout: bool = False) -> None:
        for descriptor, chosen in ((self._stdin, stdin), (self._stdout, stdout)):
            if chosen:
                self._to_close.remove(descriptor)
                os.close(descriptor)

    def close_all(self) -> None:
        """Close both pipes once no thread uses them: their descriptors will be reused."""
        self.wire.end()
        self.close(stdin=self._stdin in self._to_close, stdout=self._stdout in self._to_close)
        self.end_is_seen.wait(PATIENCE_SECONDS)
        self.wire.write(b"To nobody.")
        for descriptor in self._to_close:
            os.close(descriptor)


def in_time(function: Callable[[], bytes]) -> bytes:
    """Call a function that may block, with a timeout."""
    results: list[bytes] = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    return results[0]


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.close_all()


def request(number: int | str, method: str = "ping", **params: Any) -> bytes:
    content = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return json.dumps(content).encode()


def answer(number: int | str) -> bytes:
    content: dict[str, Any] = {"jsonrpc": "2.0", "id": number, "result": {}}
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def test_a_message_is_passed_on_and_an_invalid_line_is_answered(client: Client) -> None:
    client.start()
    client.send(b"", b" \r", b"hello", request(1, a="\ud83d"), request(2))
    assert client.receive()["id"] is None
    assert client.receive()["id"] == 1
    assert client.take() == request(2) + b"\n"


def test_a_carriage_return_does_not_end_a_message(client: Client) -> None:
    client.start()
    client.send(request(1).replace(b", ", b",\r\t") + b"\r")
    line = client.take()
    assert b"\r" not in line
    assert json.loads(line) == json.loads(request(1))


@pytest.mark.parametrize("first", [True, False])
def test_an_overlong_line_is_not_buffered_but_still_answered(first: bool, client: Client) -> None:
    client.start()
    start, end = (b'"id": 1, ', b"") if first else (b"", b', "id": 1')
    padding = b"x" * 3 * MAX_BODY_BYTES
    client.send(b'{"jsonrpc": "2.0", ' + start + b'"method": "' + padding + b'"' + end + b"}")
    refusal = client.receive()
    assert (refusal["id"], refusal["error"]["message"]) == (1, "Request body too large")
    client.send(request(2))
    assert client.take() == request(2) + b"\n"


def test_lines_are_read_even_if_answers_are_not(client: Client) -> None:
    client.start()
    client.send(*[b"no message"] * 2_000, request(1))
    assert client.take() == request(1) + b"\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot tell whether a pipe is full")
def test_a_message_is_written_immediately_only_if_that_does_not_block(client: Client) -> None:
    assert client.wire.write_at_once(answer(1))
    assert client.receive()["id"] == 1
    assert not client.wire.write_at_once(answer("x" * ENOUGH))
    messages = 0
    while client.wire.write_at_once(answer(messages)):
        messages += 1
    assert messages * len(answer(0)) <= ENOUGH
    for number in range(messages):
        assert client.receive()["id"] == number
    assert client.wire.write_at_once(answer(messages))


def test_the_end_of_stdin_is_delayed_until_every_request_is_answered(client: Client) -> None:
    client.start()
    client.send(request(1), request("two"), request("listen", "subscriptions/listen"), request(3))
    cancelled = {"method": "notifications/cancelled", "params": {"requestId": 3}}
    client.send(json.dumps({"jsonrpc": "2.0", **cancelled}).encode())
    client.close(stdin=True)
    for _ in range(5):
        assert client.take()
    assert client.end_is_seen.wait(PATIENCE_SECONDS)
    reader = threading.Thread(target=client.read)
    reader.start()
    client.wire.write(answer(1))
    reader.join(0.05)
    assert reader.is_alive()
    client.wire.write(answer("two"))
    reader.join(PATIENCE_SECONDS)
    assert not reader.is_alive()


def test_the_end_of_stdin_is_not_delayed_for_long(client: Client) -> None:
    client.start(wait_seconds=0.01)
    client.send(request(1))
    client.close(stdin=True)
    assert client.take()
    assert client.take() == b""


def test_the_end_of_stdin_is_not_passed_on_during_startup(client: Client) -> None:
    client.start(wait_seconds=0)
    client.close(stdin=True)
    assert not client.end_is_seen.wait(0.05)
    assert client.take() == b""
    assert client.end_is_seen.is_set()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot tell whether a pipe is full")
def test_the_server_does_not_wait_for_a_disconnected_client(client: Client) -> None:
    client.start()
    client.send(request(1))
    assert client.take()
    client.close(stdin=True, stdout=True)
    assert client.take() == b""


def test_a_client_that_closes_its_end_stops_the_server(client: Client) -> None:
    client.start()
    client.close(stdout=True)
    client.wire.write(answer(1))
    assert client.take() == b""
