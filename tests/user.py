"""Simulates a user at a shell, isolated from the settings of this machine."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from .combinations import TEMPLATE

KEPT = ("SYSTEMROOT", "PATHEXT", "COMSPEC")
IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in (("NAME", "Ada"), ("EMAIL", "ada@example.com"))
}


@dataclass(frozen=True)
class User:
    """A user with a home folder and a name for Git, but no network."""

    home: Path

    def run(
        self, command: str | list[str], *, cwd: Path, typed: str = ""
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command: a list of arguments, or a shell command line."""
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        programs = str(Path(sys.executable).parent)
        return subprocess.run(
            command,
            shell=isinstance(command, str),
            cwd=cwd,
            env={
                **kept,
                **IDENTITY,
                "PWD": str(cwd),  # as a shell sets it
                "PATH": os.pathsep.join([programs, os.environ["PATH"]]),
                "HOME": str(self.home),
                "USERPROFILE": str(self.home),
                "TMPDIR": str(self.home),
                "TEMP": str(self.home),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONUTF8": "1",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_ALLOW_PROTOCOL": "file",
            },
            input=typed,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )

    def git(self, *arguments: str, cwd: Path) -> str:
        """Run Git, which must succeed, and return its output."""
        run = self.run(["git", *arguments], cwd=cwd)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def commit(self, folder: Path, message: str) -> None:
        """Commit everything in `folder`, and initialize a repository if necessary."""
        self.git("init", "--quiet", "--initial-branch", "main", cwd=folder)
        self.git("add", "--all", cwd=folder)
        self.git("commit", "--quiet", "--message", message, cwd=folder)

    def publish_template(self, folder: Path) -> None:
        """Commit the template's working tree to a new repository."""
        listed = self.git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=TEMPLATE)
        for name in filter(None, listed.split("\0")):
            if (TEMPLATE / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(TEMPLATE / name, folder / name)
        self.commit(folder, "Template")
