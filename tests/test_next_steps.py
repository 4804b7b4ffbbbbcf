"""The commands printed after generation work in order, and a failure to print them does not fail the generation."""

import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .combinations import ALL, LINEAR, NONE, TEMPLATE, answers
from .hooks import load_hook
from .project import assert_passed
from .running import serving
from .test_continuing import ODD_FOLDER, words
from .user import User

POST = load_hook("post_gen_project")
# Replaces uv without the network: installs the project next to the libraries that are installed here.
UV = f"""\
#!{sys.executable}
import os, pathlib, sys, sysconfig, tomllib, venv
match sys.argv[1:]:
    case ["sync"]:
        venv.create(".venv")
        (packages,) = pathlib.Path(".venv").glob("lib/*/site-packages")
        paths = [os.path.abspath("src"), sysconfig.get_path("purelib")]
        (packages / "project.pth").write_text("\\n".join(paths), encoding="utf-8")
        scripts = tomllib.loads(pathlib.Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
        for name, entry in ({{"fastmcp": "fastmcp.cli:app", "pytest": "pytest:console_main"}} | scripts).items():
            module, function = entry.split(":")
            script = pathlib.Path(".venv", "bin", name)
            code = f"import sys; from {{module}} import {{function}}; sys.exit({{function}}())"
            script.write_text(f'#!/bin/sh\\nexec "$(dirname "$0")/python" -c "{{code}}" "$@"\\n', encoding="utf-8")
            script.chmod(0o755)
    case ["run", name, *arguments]:
        os.environ["PATH"] = os.path.abspath(".venv/bin") + ":" + os.environ["PATH"]
        os.execvp(name, [name, *arguments])
"""


def generate(user: User, folder: Path, *arguments: str) -> list[str]:
    """Generate a project, and return the printed lines."""
    run = user.run(["cookiecutter", str(TEMPLATE), "--no-input", *arguments], cwd=folder)
    assert_passed(run)
    assert run.stderr == ""
    return run.stdout.splitlines()


def commands(lines: list[str]) -> list[str]:
    return [line.strip() for line in lines if line.startswith("    ")]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a shell command prefix that sets the environment of a user who has uv."""
    programs = tmp_path_factory.mktemp("programs")
    (programs / "uv").write_text(UV, encoding="utf-8")
    (programs / "uv").chmod(0o755)
    # A few of the project's tests are enough to show that the command works. Other tests run the rest.
    options = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTEST_ADDOPTS='-p anyio -p no:cacheprovider -k process_data'"
    return f"export PATH={shlex.quote(str(programs))}:$PATH {options}; "


@pytest.mark.skipif(sys.platform == "win32", reason="the replacement for uv is a shell script")
@pytest.mark.parametrize(
    "given",
    [
        answers(NONE),
        answers(ALL),
        {"project_name": "Wetter 7", "project_slug": "7-wetter", "package_name": "sky"},
    ],
    ids=["none", "all", "named"],
)
def test_the_commands_work_one_after_the_other(
    given: dict[str, object], settings: str, user: User, tmp_path: Path
) -> None:
    folder = tmp_path / ODD_FOLDER
    folder.mkdir()
    *before, serve = commands(generate(user, folder, *words(given)))
    run = user.run(settings + " && ".join(before), cwd=tmp_path)
    assert_passed(run)
    assert [command.split(" ")[0] for command in before] == ["cd", "uv", "uv", "uv"]
    assert re.search(r'"words": *2\b', run.stdout)
    assert re.search(r"\d passed", run.stdout)
    assert serve.endswith(" --transport http --port 8000")
    process = subprocess.Popen(
        f"{settings}{before[0]} && exec {serve.replace('8000', '0')}",
        shell=True,
        cwd=tmp_path,
        env={"HOME": str(user.home), "PATH": os.environ["PATH"]},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with serving(process) as server:
        assert server.port


@pytest.mark.parametrize("name", ["none", "all"])
def test_at_most_eight_plain_lines_are_printed_and_they_match_the_readme(
    name: str, user: User, tmp_path: Path
) -> None:
    lines = generate(user, tmp_path, *words(answers(LINEAR[name])))
    assert len(lines) <= 8
    assert "\x1b" not in "".join(lines)
    readme = (tmp_path / "my-mcp-server" / "README.md").read_text(encoding="utf-8")
    (section,) = re.findall(r'"([^"]+)" in README\.md', lines[-1])
    _, _, below = readme.partition(f"\n## {section}\n")
    connecting = below.partition("\n## ")[0]
    for client in ("Claude Desktop", "Claude Code", "Cursor", "VS Code"):
        assert client in lines[-1]
        assert client in connecting
    assert [command for command in commands(lines)[1:] if command not in readme] == []


def test_the_lines_do_not_depend_on_the_options() -> None:
    """Only names and paths differ. So commands that work without patterns and with all work with any pattern."""
    parameters = inspect.signature(POST.next_steps).parameters
    assert list(parameters) == ["project", "slug"]


@pytest.mark.parametrize("flags", [["-f"], ["-f", "-s"]], ids=" ".join)
def test_regenerating_an_existing_project_prints_nothing_and_removes_the_hook_files(
    flags: list[str], user: User, tmp_path: Path
) -> None:
    generate(user, tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert generate(user, tmp_path, *flags) == []
    assert sorted(tmp_path.rglob("*")) == before


def test_a_project_in_an_existing_empty_folder_is_new(user: User, tmp_path: Path) -> None:
    (tmp_path / "my-mcp-server").mkdir()
    assert commands(generate(user, tmp_path, "-f"))


def test_cruft_prints_the_steps_for_a_new_project_but_not_for_an_update(
    user: User, published: Path, tmp_path: Path
) -> None:
    created = user.run(["cruft", "create", str(published), "--no-input"], cwd=tmp_path)
    assert_passed(created)
    project = tmp_path / "my-mcp-server"
    assert f"    cd {project}\n" in created.stdout
    user.commit(project, "Create")
    updated = user.run(
        ["cruft", "update", "--skip-apply-ask", "--variables-to-update", '{"retry": false}'], cwd=project
    )
    assert_passed(updated)
    assert "uv run" not in updated.stdout + updated.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    "console",
    [">&-", "> /dev/full", "| true", "| exec 1>&- cat"],
    ids=["closed", "full", "gone", "shut"],
)
def test_generation_succeeds_when_the_console_cannot_be_written(
    console: str, user: User, tmp_path: Path
) -> None:
    command = shlex.join(["cookiecutter", str(TEMPLATE), "--no-input"])
    run = user.run(f"( {command}; echo $? > code ) {console}", cwd=tmp_path)
    assert (tmp_path / "code").read_text(encoding="utf-8") == "0\n"
    assert (tmp_path / "my-mcp-server" / "tests" / "__init__.py").read_bytes() == b""
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-16"])
def test_a_console_may_lack_characters_of_the_folder_name(encoding: str, user: User, tmp_path: Path) -> None:
    folder = tmp_path / "\N{ROCKET}"
    folder.mkdir()
    command = (
        f"PYTHONUTF8=0 PYTHONIOENCODING={encoding} {shlex.join(['cookiecutter', str(TEMPLATE)])} --no-input"
    )
    assert_passed(user.run(f"{command} > printed", cwd=folder))
    printed = (folder / "printed").read_bytes().decode(encoding)
    assert ("\N{ROCKET}" if encoding == "utf-16" else "\\U0001f680") in printed


@pytest.mark.parametrize(
    ("folder", "posix", "windows"),
    [
        ("/home/ada/weather", "cd /home/ada/weather", "cd /home/ada/weather"),
        ("C:\\Users\\ada", "cd 'C:\\Users\\ada'", "cd C:\\Users\\ada"),
        ("C:\\My server", "cd 'C:\\My server'", 'cd "C:\\My server"'),
        ("D:\\a[1]", "cd 'D:\\a[1]'", 'cd -LiteralPath "D:\\a[1]"'),
        ("D:\\$x", "cd 'D:\\$x'", "cd 'D:\\$x'"),
    ],
)
def test_the_folder_is_quoted_for_the_shell_of_the_platform(
    folder: str, posix: str, windows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(POST, "WINDOWS", False)
    assert POST.change_folder(folder) == posix
    monkeypatch.setattr(POST, "WINDOWS", True)
    assert POST.change_folder(folder) == windows
