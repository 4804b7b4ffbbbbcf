"""A generated project, and what can be done with it."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Project:
    path: Path
    package_name: str

    @property
    def package(self) -> Path:
        return self.path / "src" / self.package_name

    def files(self) -> dict[str, bytes]:
        """Return the content of every file by its path with forward slashes."""
        return {
            path.relative_to(self.path).as_posix(): path.read_bytes()
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }

    def text(self, name: str) -> str:
        return (self.path / name).read_text(encoding="utf-8")

    def run(self, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run Python with `command` in the project, as if it were installed."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.path / "src"),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            **variables,
        }
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    def run_tests(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the project's own tests."""
        return self.run("-m", "pytest", "-q", "-p", "anyio", "-p", "no:cacheprovider", *arguments)

    def lint(self) -> str:
        """Return what ruff's check and format have to say; nothing if all is well."""
        check = self.run("-m", "ruff", "check", "--no-cache", "--quiet", "--output-format=concise", ".")
        form = self.run("-m", "ruff", "format", "--no-cache", "--quiet", "--diff", ".")
        return check.stdout + check.stderr + form.stdout + form.stderr


def assert_passed(run: "subprocess.CompletedProcess[str]") -> None:
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
