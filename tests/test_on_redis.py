"""The patterns of a rendered project work with real engines: runs `tests/on_redis` with the code of that project."""

import subprocess
import sys
from pathlib import Path

import pytest

from .combinations import TEMPLATE
from .conftest import Bake
from .engines import redis_program

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(sys.platform == "win32", reason="the engines do not run on Windows"),
]


# If a test hangs, print the stacks of all threads and exit.
DEADLINE = ("-o", "faulthandler_timeout=120", "-o", "faulthandler_exit_on_timeout=true")


def test_the_patterns_share_through_a_real_server(bake: Bake) -> None:
    redis_program()  # skips the test if Redis is not installed
    project = bake()
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "anyio",
            "-p",
            "no:cacheprovider",
            *DEADLINE,
            "tests/on_redis",
        ],
        cwd=TEMPLATE,
        env=project.environment(ENGINE_TESTS="1", PYTEST_DISABLE_PLUGIN_AUTOLOAD=""),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


MEASURE = """
import asyncio, sys
from fastmcp import Client
from my_mcp_server.server import mcp

async def call():
    async with Client(mcp) as client:
        for tool, arguments in (("cached_fetch", {"resource_id": "1"}), ("increment_counter", {"name": "n"})):
            await client.call_tool(tool, arguments)

asyncio.run(call())
print([name for name in ("redis", "asyncpg", "sqlalchemy") if name in sys.modules])
"""
WITHOUT_CLIENTS = """
import sys
sys.modules["redis"] = sys.modules["asyncpg"] = None
"""


def test_without_a_url_no_client_library_is_imported_although_it_is_installed(bake: Bake) -> None:
    done = bake().run("-c", MEASURE, API_BASE_URL="example")
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("variable", ["CACHE_URL", "RATE_LIMIT_URL", "STATE_URL"])
def test_a_missing_extra_is_one_line_at_startup(variable: str, bake: Bake, tmp_path: Path) -> None:
    project = bake()
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_CLIENTS)
    path = f"{project.path / 'src'}:{tmp_path}"
    done = project.run("-m", project.package_name, PYTHONPATH=path, **{variable: "redis://u:hunter2@h"})
    assert done.returncode == 2
    assert done.stderr == (f"my-mcp-server: {variable}: needs the package redis: install the extra `redis`\n")
