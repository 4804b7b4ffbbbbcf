"""Hosts find the server, each module can be imported first, and no import does any work."""

import importlib
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from fastmcp import FastMCP

import {{ cookiecutter.package_name }} as package

from .report import Observe

SOURCE = Path(package.__file__).parent
ROOT_FILE = Path(__file__).parents[2] / "server.py"

# Forgets the package before each import, and refuses what reaches out of the process. Tells what
# has gone wrong, by module.
PROBE = """
import importlib, json, sys, traceback
import fastmcp.server.server, uvicorn
package, files, names = json.loads(sys.argv[1])
refused = {"socket.connect", "socket.bind", "socket.getaddrinfo"}
refused |= {"subprocess.Popen", "sqlite3.connect"}
class WorkAtImport(BaseException):
    pass
def audit(event, arguments):
    if event in refused:
        raise WorkAtImport(event)
sys.addaudithook(audit)
problems = {"cycles": {}, "work": {}}
for name in names:
    for loaded in [module for module in sys.modules if module.split(".")[0] == package]:
        del sys.modules[loaded]
    try:
        importlib.import_module(name)
    except WorkAtImport as work:
        frames = traceback.extract_tb(work.__traceback__)
        last = [frame for frame in frames if frame.filename in files][-1]
        problems["work"][name] = f"{work} in {last.filename}, line {last.lineno}"
    except ImportError as error:
        problems["cycles"][name] = str(error)
print(json.dumps(problems))
"""


@pytest.fixture(scope="module")
def names() -> list[str]:
    return [package.__name__, *sorted(map(module_name, SOURCE.rglob("*.py")))]


@pytest.fixture(scope="module")
def problems(names: list[str]) -> dict[str, dict[str, str]]:
    """Return what is wrong with each module."""
    about = [package.__name__, [str(path) for path in SOURCE.rglob("*.py")], names]
    probe = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(about)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert probe.returncode == 0, probe.stderr
    found: dict[str, dict[str, str]] = json.loads(probe.stdout)
    return found


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


@pytest.mark.checklist("module-level-server")
def test_a_host_that_loads_the_file_finds_the_server_at_module_level(observe: Observe) -> None:
    found = runpy.run_path(str(ROOT_FILE))["mcp"]
    assert isinstance(found, FastMCP)
    assert found is importlib.import_module(f"{package.__name__}.server").mcp
    observe(f"`mcp` of {ROOT_FILE.name} is {found.name}")


@pytest.mark.checklist("no-circular-imports")
def test_every_module_can_be_imported_first(
    names: list[str],
    problems: dict[str, dict[str, str]],
    observe: Observe,
) -> None:
    cycles = problems["cycles"]
    assert not cycles, "; ".join(sorted(set(cycles.values())))
    observe(f"each of {len(names)} modules can be imported first")


@pytest.mark.checklist("no-work-at-import")
def test_importing_a_module_has_no_effect_outside_the_process(
    names: list[str],
    problems: dict[str, dict[str, str]],
    observe: Observe,
) -> None:
    work = problems["work"]
    assert not work, "; ".join(sorted(set(work.values())))
    observe(f"{len(names)} modules open nothing and start nothing")
