"""The file with all patterns can be imported first, and the server by its path, from anywhere."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from {{ cookiecutter.package_name }} import (
    utils,
)
from {{ cookiecutter.package_name }}.server import (
    mcp,
)

PROJECT = Path(__file__).parents[2]
FOUNDATIONS = {"database", "redis_client", "runtime", "settings"}

# Imports utils before anything else of the package, forgets it, and loads server.py as a host does.
PROBE = """
import asyncio, importlib, importlib.util, json, sys

utils, path = sys.argv[1:]
package = utils.split(".")[0]
importlib.import_module(utils)
loaded = [name for name in sys.modules if name.split(".")[0] == package]
for name in loaded:
    del sys.modules[name]

spec = importlib.util.spec_from_file_location("any_name", path)
server = importlib.util.module_from_spec(spec)
spec.loader.exec_module(server)
tools = [tool.name for tool in asyncio.run(server.mcp.list_tools())]
print(json.dumps({"loaded with utils": loaded, "tools": tools}))
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process sees that starts in another directory."""
    probe = subprocess.run(
        [sys.executable, "-c", PROBE, utils.__name__, str(PROJECT / "server.py")],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert probe.returncode == 0, probe.stderr
    seen: dict[str, Any] = json.loads(probe.stdout)
    return seen


async def test_the_server_loads_by_its_path_from_another_directory(
    elsewhere: dict[str, Any],
) -> None:
    assert elsewhere["tools"] == [tool.name for tool in await mcp.list_tools()]


def test_the_file_can_be_imported_first_and_brings_no_tool(elsewhere: dict[str, Any]) -> None:
    package = utils.__name__.split(".")[0]
    below = {name.split(".")[1] for name in elsewhere["loaded with utils"] if name != package}
    assert "utils" in below
    assert below <= {"utils", *FOUNDATIONS}
