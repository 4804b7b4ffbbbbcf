"""A server that hosts find, no import cycles, no work at import: each module comes first once."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from fastmcp import FastMCP

import {{ cookiecutter.package_name }} as package

SOURCE = Path(package.__file__).parent
PROJECT = Path(__file__).parents[2]

# Forgets the package before each import, and refuses what reaches out of the process.
PROBE = """
import importlib, json, sys
import fastmcp.server.server, uvicorn
package, *names = json.loads(sys.argv[1])
refused = {"socket.connect", "socket.bind", "socket.getaddrinfo"}
refused |= {"subprocess.Popen", "sqlite3.connect"}
def audit(event, arguments):
    if event in refused:
        raise SystemExit(f"{event} at import")
sys.addaudithook(audit)
for name in names:
    for loaded in [module for module in sys.modules if module.split(".")[0] == package]:
        del sys.modules[loaded]
    importlib.import_module(name)
"""


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


@pytest.mark.checklist("module-level-server")
def test_a_host_that_loads_a_file_finds_the_server_at_its_top() -> None:
    assert isinstance(runpy.run_path(str(PROJECT / "server.py"))["mcp"], FastMCP)


@pytest.mark.checklist("no-circular-imports")
@pytest.mark.checklist("no-work-at-import")
def test_every_module_can_be_imported_first_and_does_nothing_then() -> None:
    names = [package.__name__, *sorted(module_name(path) for path in SOURCE.rglob("*.py"))]
    probe = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(names)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert probe.returncode == 0, probe.stderr
