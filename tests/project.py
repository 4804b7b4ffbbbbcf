"""A generated project and its commands."""

import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path

RECORD = ".cruft.json"
PLUGIN = "anyio.pytest_plugin"
LIBRARIES = ["pytest", PLUGIN, "fastmcp.server.server", "fastmcp.utilities.tests", "mcp.server", "uvicorn"]


@dataclass(frozen=True)
class Project:
    path: Path
    package_name: str
    python: str = sys.executable  # with the project's dependencies

    @property
    def package(self) -> Path:
        return self.path / "src" / self.package_name

    def files(self) -> dict[str, bytes]:
        """Return the content of every file, by its path with forward slashes.

        The record of the template's location and commit is left out, since it differs between generations.
        """
        return {
            path.relative_to(self.path).as_posix(): path.read_bytes()
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts and path != self.path / RECORD
        }

    def text(self, name: str) -> str:
        return (self.path / name).read_text(encoding="utf-8")

    def run(self, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run Python with `command` in the project, as if it were installed."""
        return subprocess.run(
            [self.python, *command],
            cwd=self.path,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    def environment(self, **variables: str) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(self.path / "src"),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "MYPY_CACHE_DIR": types(),
            **variables,
        }

    def run_tests(self, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run the project's own tests. On Linux, run them in a fork that has already imported the libraries."""
        arguments = ("-q", "-p", "no:cacheprovider", *arguments)
        if sys.platform != "linux":  # on macOS, a process that has looked up proxies must not fork
            return self.run("-m", "pytest", "-p", "anyio", *arguments, **variables)
        with tempfile.TemporaryDirectory() as folder:
            printed = [Path(folder, name) for name in ("stdout", "stderr")]
            cpu = Path(folder, "cpu")
            process = forks().Process(
                target=run_pytest, args=(self.path, arguments, self.environment(**variables), printed, cpu)
            )
            process.start()
            process.join()
            assert process.exitcode is not None
            stdout, stderr = (path.read_text(encoding="utf-8") for path in printed)
            SUITES.append(float(cpu.read_text(encoding="ascii")) if cpu.exists() else 0)
        return subprocess.CompletedProcess(arguments, process.exitcode, stdout, stderr)

    def lint(self) -> str:
        """Return the output of ruff check and ruff format, which is empty without findings."""
        check = self.run("-m", "ruff", "check", "--no-cache", "--quiet", "--output-format=concise", ".")
        form = self.run("-m", "ruff", "format", "--no-cache", "--quiet", "--diff", ".")
        return check.stdout + check.stderr + form.stdout + form.stderr


@functools.cache
def types() -> str:
    """Return a cache folder of mypy for all projects of this process: nearly all of its time is for the libraries."""
    folder = tempfile.mkdtemp(prefix="types-")
    atexit.register(shutil.rmtree, folder)
    return folder


# The CPU time in seconds of each suite that ran in a fork. A fork is not a child of this process.
SUITES: list[float] = []


def suites_cpu_seconds() -> float:
    return sum(SUITES)


@functools.cache
def forks() -> ForkServerContext:
    """Return a fork server that has imported the libraries: the imports take longer than most tests."""
    context = get_context("forkserver")
    context.set_forkserver_preload(LIBRARIES)
    return context


def run_pytest(
    project: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    printed: Sequence[Path],
    cpu: Path,
) -> None:
    """Run pytest in this process like `python -m pytest` in the folder of a project, and exit.

    The output goes to the files `printed` (stdout and stderr), and the CPU time to `cpu`.
    """
    for number, path in enumerate(printed, start=1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    os.chdir(project)
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = False
    template = Path(__file__).parents[1]
    kept = [folder for folder in sys.path if Path(folder).resolve() != template]
    sys.path[:] = [str(project), environment["PYTHONPATH"], *kept]
    for name in [name for name in sys.modules if name.partition(".")[0] == __package__]:
        del sys.modules[name]
    import pytest  # noqa: PLC0415 - already loaded

    code = pytest.main(list(arguments), plugins=[sys.modules[PLUGIN]])
    cpu.write_text(str(sum(os.times()[:4])), encoding="ascii")
    sys.exit(code)


def assert_passed(run: "subprocess.CompletedProcess[str]") -> None:
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
