"""Builds a Dockerfile without Docker: runs its steps in a folder, and starts its entrypoint.

All stages share the folder, and this machine replaces the base images. Copies between stages keep their paths, so the
files are already in place.
"""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from uv import find_uv_bin

from .test_tutorial import FROM_THE_MACHINE

# The folders of the image that the Dockerfile may name.
FOLDERS = re.compile(r"(?<![\w./$}])/(app|data|src)(?![\w.-])")
IGNORED_FLAGS = re.compile(r"--mount=\S+\s+")
# An arbitrary user ID, as OpenShift assigns them, with group 0.
OTHER_USER = 1_000_730_000
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


class BuildError(Exception):
    """A step failed. The message contains its output."""


@dataclass(frozen=True)
class Step:
    """An instruction of a Dockerfile, such as COPY, with its arguments on one line."""

    name: str
    arguments: str


def steps(text: str) -> Iterator[Step]:
    """Parse a Dockerfile without heredocs. Comments may be between the lines of an instruction."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in lines.replace("\\\n", "").splitlines():
        if line.strip():
            name, arguments = line.strip().split(maxsplit=1)
            yield Step(name.upper(), arguments)


def pairs(arguments: str) -> dict[str, str]:
    """Parse the `NAME=value NAME="quoted value"` arguments of ENV and LABEL. Backslashes in quotes escape a character."""
    found = {}
    for name, quoted, plain in re.findall(r'([\w.]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', arguments):
        found[name] = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
    return found


def last(text: str, name: str) -> str:
    """Return the arguments of the last instruction with this name, which takes effect."""
    return [step.arguments for step in steps(text) if step.name == name][-1]


@dataclass
class Image:
    """The image of the last stage, in a folder on this machine."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)
    user: str = "0:0"

    @property
    def ids(self) -> tuple[int, int]:
        user, group = self.user.split(":")
        return int(user), int(group)

    def here(self, text: str) -> str:
        """Replace the image's folders in a text with those on this machine."""
        return FOLDERS.sub(rf"{self.folder}/\1", text)

    def start(
        self, *arguments: str, user: int | None = None, around: Sequence[str] = (), **variables: str
    ) -> "subprocess.Popen[bytes]":
        """Start the server like a container: with the image's user, without the environment of this machine.

        `around` is a command that runs as root and starts the server, as its last arguments.
        """
        command = [self._program(self.entrypoint[0]), *self.entrypoint[1:], *arguments]
        rights = self._as_user(user)
        if around:
            own, group = rights["user"], rights["group"]
            change = ["setpriv", f"--reuid={own}", f"--regid={group}", "--clear-groups"]
            command, rights = [*around, *change, *command], {}
        return subprocess.Popen(
            command,
            cwd="/",
            env={**self.variables, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **rights,
        )

    def is_healthy(self, **variables: str) -> bool:
        """Run the health check with the server's environment, and return whether it succeeds."""
        run = subprocess.run(
            [self._program(self.health[0]), *self.health[1:]],
            cwd="/",
            env={**self.variables, **variables},
            capture_output=True,
            check=False,
            **self._as_user(None),
        )
        return run.returncode == 0

    def writable(self, user: int | None = None) -> list[str]:
        """Return the folders and files of the image that its user can write to, except uv's lock file."""
        script = (
            "import os, sys\n"
            "for folder, folders, files in os.walk(sys.argv[1]):\n"
            "    for name in ['.', *files]:\n"
            "        path = os.path.normpath(os.path.join(folder, name))\n"
            "        if not os.path.islink(path) and os.access(path, os.W_OK):\n"
            "            print(os.path.relpath(path, sys.argv[1]))\n"
        )
        python = self._program("python")
        run = subprocess.run(
            [python, "-c", script, str(self.folder)],
            cwd="/",
            env={},
            capture_output=True,
            text=True,
            check=True,
            **self._as_user(user),
        )
        return [path for path in run.stdout.splitlines() if path != "app/.lock"]

    def _program(self, name: str) -> str:
        """Return the path of a program. It must be in the image, not on this machine's PATH."""
        found = shutil.which(name, path=self.variables["PATH"])
        assert found, name
        assert Path(found).is_relative_to(self.folder), found
        return found

    def _as_user(self, user: int | None) -> dict[str, Any]:
        if not IS_ROOT:
            return {}
        own, group = self.ids
        return {"user": own if user is None else user, "group": group, "extra_groups": []}


def build(context: Path, folder: Path) -> Image:
    """Build the Dockerfile of a project.

    Raises:
        BuildError: a step failed.
    """
    image = Image(folder)
    place = folder
    for step in steps((context / "Dockerfile").read_text(encoding="utf-8")):
        arguments = image.here(step.arguments)
        match step.name:
            case "FROM":
                # A stage does not inherit the settings of the previous one.
                image = Image(folder, {"PATH": os.environ["PATH"]})
            case "WORKDIR":
                place = Path(arguments)
                place.mkdir(exist_ok=True)
            case "COPY" if not arguments.startswith("--from="):
                copy(context, arguments.split(), place)
            case "COPY":
                check_copy(arguments.split(), folder)
            case "RUN":
                run(image, IGNORED_FLAGS.sub("", arguments), place)
            case _:
                describe(image, step, arguments)
    # This folder belongs to an earlier stage, so it is not in the image.
    shutil.rmtree(folder / "src")
    return image


def describe(image: Image, step: Step, arguments: str) -> None:
    """Apply a step that does not change files."""
    match step.name:
        case "ENV":
            for name, value in pairs(arguments).items():
                image.variables[name] = value.replace("$PATH", image.variables["PATH"])
        case "LABEL":
            image.labels = pairs(step.arguments)
        case "VOLUME":
            image.volumes.append(arguments)
        case "USER":
            image.user = arguments
        case "ENTRYPOINT":
            image.entrypoint = json.loads(arguments)
        case "HEALTHCHECK":
            image.health = json.loads(arguments.partition("CMD ")[2])
        case _:
            assert step.name in ("EXPOSE", "STOPSIGNAL"), step


def check_copy(arguments: Sequence[str], folder: Path) -> None:
    """Check that a copy from another stage keeps its path, and that only uv is copied from another image."""
    stage, source, target = arguments
    if stage == "--from=uv":
        assert source == "/uv"
    else:
        assert source == target
        assert Path(source).is_relative_to(folder)


def copy(context: Path, arguments: Sequence[str], place: Path) -> None:
    """Copy files from the build context, except those that .dockerignore excludes.

    Raises:
        BuildError: a name without a wildcard does not exist.
    """
    *patterns, target = arguments
    files = sent(context)
    for pattern in patterns:
        found = [path for path in files if pattern == "." or fnmatch.fnmatchcase(path, pattern)]
        if not found and "*" not in pattern:
            raise BuildError(f"{pattern} is not in the context")
        for path in found:
            copied = place / target / path
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(context / path, copied)


def sent(context: Path) -> list[str]:
    """Return the files of the build context. The last pattern in .dockerignore that matches a path or a parent wins."""
    rules = (context / ".dockerignore").read_text(encoding="utf-8").splitlines()
    files = []
    for path in sorted(file for file in context.rglob("*") if file.is_file()):
        name = path.relative_to(context).as_posix()
        parents = [parent.as_posix() for parent in Path(name).parents][:-1]
        kept = True
        for rule in filter(None, rules):
            if not rule.startswith("#"):
                pattern = rule.removeprefix("!").removeprefix("**/")
                tried = [name, *parents]
                if "**/" in rule:
                    tried += Path(name).parts
                if any(fnmatch.fnmatchcase(one, pattern) for one in tried):
                    kept = rule.startswith("!")
        if kept:
            files.append(name)
    return files


def run(image: Image, command: str, place: Path) -> None:
    """Run a RUN step in a shell, with this machine's uv, cache and package index.

    Raises:
        BuildError: the command failed.
    """
    if not IS_ROOT:
        command = command.replace("-o 65532 -g 0 ", "")
    kept = {name: value for name, value in os.environ.items() if FROM_THE_MACHINE.fullmatch(name)}
    programs = os.pathsep.join([str(Path(find_uv_bin()).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=place,
        env={
            **kept,
            **image.variables,
            "PATH": programs,
            "UV_CACHE_DIR": cache_folder(),
            "UV_PYTHON": interpreter(),
            "HOME": str(image.folder),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{command}\n{done.stdout}{done.stderr}")


@cache
def cache_folder() -> str:
    found = subprocess.run([find_uv_bin(), "cache", "dir"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


@cache
def interpreter() -> str:
    """Return the path of a Python that the image's user can run, or of this one if there is none."""
    own = Path(sys.executable).resolve()
    found = [own, *(Path(name) for folder in ("/usr/bin", "/usr/local/bin") for name in pythons(folder))]
    return str(next(filter(is_usable, found), own))


def pythons(folder: str) -> list[str]:
    """Return the supported Python interpreters in a folder, the version of this one first."""
    minor = sys.version_info.minor
    names = [f"{folder}/python3.{version}" for version in (minor, 11, 12, 13, 14)]
    return [name for name in names if Path(name).exists()]


def is_usable(program: Path) -> bool:
    """Return whether every user can run a program."""
    return all(path.stat().st_mode & 0o005 == 0o005 for path in [program, *program.parents])


def can_change_user() -> bool:
    return IS_ROOT and is_usable(Path(interpreter()))


def new_folder() -> Path:
    """Return a new temporary folder that other users can enter, unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="image-", dir=os.environ.get("TMPDIR", "/tmp")))
    folder.chmod(0o755)
    return folder


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """Replace `${NAME:-default}` and `${NAME:?message}` like Compose. An empty variable counts as unset.

    Raises:
        LookupError: a required variable is missing.
    """

    def value(found: re.Match[str]) -> str:
        name, operator, rest = found.groups()
        if variables.get(name):
            return variables[name]
        if operator == ":?":
            raise LookupError(f"{name}: {rest}")
        return str(rest)

    return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, text)
