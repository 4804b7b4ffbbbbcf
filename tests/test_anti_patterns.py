"""The checks of a generated project detect each planted anti-pattern."""

import pytest

from .conftest import Bake

BLOCKING = """

import time
import subprocess
import httpx2


async def block(path: str) -> None:
    {statement}
"""
LINTED = {
    "a factory function in __init__.py": (
        "__init__.py",
        "\n\ndef get_api_client() -> object:\n    from .settings import Settings\n\n    return Settings()\n",
        "RUF067",
    ),
    "a sleep": ("tools/process_data.py", BLOCKING.format(statement="time.sleep(5)"), "ASYNC251"),
    "a blocking request": (
        "tools/process_data.py",
        BLOCKING.format(statement='httpx2.get("https://example.com")'),
        "TID251",
    ),
    "a blocking client": ("tools/process_data.py", BLOCKING.format(statement="httpx2.Client()"), "TID251"),
    "a blocking process": (
        "tools/process_data.py",
        BLOCKING.format(statement='subprocess.run(["ls"], check=True)'),
        "ASYNC221",
    ),
    "a blocking file": ("tools/process_data.py", BLOCKING.format(statement="open(path)"), "ASYNC230"),
    "a print": ("tools/process_data.py", '\n\ndef show() -> None:\n    print("hello")\n', "T201"),
    "a global": (
        "tools/process_data.py",
        "\n\nCOUNT = 0\n\n\ndef count() -> None:\n    global COUNT\n    COUNT += 1\n",
        "PLW0603",
    ),
    "a bare except": (
        "tools/process_data.py",
        "\n\ndef swallow() -> None:\n    try:\n        pass\n    except:\n        pass\n",
        "E722",
    ),
}
STATE = (
    "\n\nresults: list[str] = []\n\n\nasync def add_result(item: str) -> None:\n    results.append(item)\n"
)
WORK = '\n\nimport socket\n\nsocket.getaddrinfo("localhost", 80)\n'
CYCLE = "\nfrom .. import server\n"


@pytest.mark.parametrize("case", LINTED)
def test_the_linter_of_the_project_finds(case: str, bake: Bake) -> None:
    place, planted, rule = LINTED[case]
    project = bake()
    path = project.package / place
    path.write_text(path.read_text(encoding="utf-8") + planted, encoding="utf-8")
    report = project.run("-m", "ruff", "check", "--no-cache", "--output-format=json", ".")
    assert report.returncode == 1
    assert f'"code": "{rule}"' in report.stdout


@pytest.mark.parametrize(
    ("planted", "test"),
    [
        (STATE, "tests/test_architecture.py"),
        (WORK, "tests/production/test_imports.py"),
        (CYCLE, "tests/production/test_imports.py"),
    ],
    ids=["mutable state of a module", "work at import", "an import cycle"],
)
def test_the_tests_of_the_project_find(planted: str, test: str, bake: Bake) -> None:
    project = bake()
    path = project.package / "tools" / "process_data.py"
    source = path.read_text(encoding="utf-8")
    # An import cycle only fails at the top of a module, before the module defines its names.
    changed = source.replace('"""\n', f'"""\n{planted}', 1) if planted == CYCLE else source + planted
    path.write_text(changed, encoding="utf-8")
    run = project.run_tests(test)
    assert run.returncode == 1, run.stdout
    assert "1 failed" in run.stdout
