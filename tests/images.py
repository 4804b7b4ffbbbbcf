"""Build a Dockerfile without Docker: carry out its steps in a folder, and start what it starts.

All stages share the folder, and images that the file builds on are this machine. So paths of the image keep their meaning:
a copy from one stage to another finds its target. What is checked is the file itself, line by line.
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

# The folders of an image that a Dockerfile may name.
FOLDERS = re.compile(r"(?<![\w./$}])/(app|data|src)(?![\w.-])")
IGNORED_FLAGS = re.compile(r"--mount=\S+\s+")
# Neither the user of the file nor root, as OpenShift chooses it: always with the group 0.
OTHER_USER = 1_000_730_000
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


class BuildError(Exception):
    """A step has failed; the text is its output."""


@dataclass(frozen=True)
class Step:
    """An instruction of a Dockerfile, such as COPY, with its arguments on one line."""

    name: str
    arguments: str


def steps(text: str) -> Iterator[Step]:
    """Read a Dockerfile without heredocs. Comments may be between the lines of an instruction."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in lines.replace("\\\n", "").splitlines():
        if line.strip():
            name, arguments = line.strip().split(maxsplit=1)
            yield Step(name.upper(), arguments)


def pairs(arguments: str) -> dict[str, str]:
    """Read `NAME=value "quoted=value"`, as ENV and LABEL have it. Quoted text keeps `$` and quotes only if escaped."""
    found = {}
    for name, quoted, plain in re.findall(r'([\w.]+)=(?:"((?:[^"\\]|\\.)*)"|(\S*))', arguments):
        found[name] = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain
    return found


def last(text: str, name: str) -> str:
    """Return the arguments of the last such instruction, which is the one that counts."""
    return [step.arguments for step in steps(text) if step.name == name][-1]


@dataclass
class Image:
    """What the last stage describes, in a folder of this machine."""

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
        """Replace the image's folders in a text by those of this machine."""
        return FOLDERS.sub(rf"{self.folder}/\1", text)

    def start(
        self, *arguments: str, user: int | None = None, around: Sequence[str] = (), **variables: str
    ) -> "subprocess.Popen[bytes]":
        """Start the server as the image does: its user, no home, no variables of this machine.

        Root starts the programs `around`, and they start the server.
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
        """Run the health check, with the variables of the server."""
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
        """Return the folders and files of the image in which its user may write, without the lock file of uv."""
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
        """Return the path of a program; it must be on the image's PATH, before that of this machine."""
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
    """Carry out the Dockerfile of a project.

    Raises:
        BuildError: a step has failed.
    """
    image = Image(folder)
    place = folder
    for step in steps((context / "Dockerfile").read_text(encoding="utf-8")):
        arguments = image.here(step.arguments)
        match step.name:
            case "FROM":
                # The next stage has nothing of the one before, but what it copies.
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
    # Of a stage before the last one, so it is not in the image.
    shutil.rmtree(folder / "src")
    return image


def describe(image: Image, step: Step, arguments: str) -> None:
    """Carry out a step that changes no file."""
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
    """A copy from another stage of the file keeps its path; what is copied from another image is uv."""
    stage, source, target = arguments
    if stage == "--from=uv":
        assert source == "/uv"
    else:
        assert source == target
        assert Path(source).is_relative_to(folder)


def copy(context: Path, arguments: Sequence[str], place: Path) -> None:
    """Copy from the context, without what .dockerignore excludes. A pattern may match nothing, a name must exist."""
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
    """Return the files that are sent to the builder: the last pattern that matches a path, or its folder, decides."""
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
    """Run a step in a shell, with the packages that this machine can install."""
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
    """Return a Python that the image's user can run, if there is one, or else this one."""
    own = Path(sys.executable).resolve()
    found = [own, *(Path(name) for folder in ("/usr/bin", "/usr/local/bin") for name in pythons(folder))]
    return str(next(filter(is_usable, found), own))


def pythons(folder: str) -> list[str]:
    """Return the interpreters in a folder that are new enough, the same version as this one first."""
    minor = sys.version_info.minor
    names = [f"{folder}/python3.{version}" for version in (minor, 11, 12, 13, 14)]
    return [name for name in names if Path(name).exists()]


def is_usable(program: Path) -> bool:
    """Return whether every user of this machine may run a program."""
    return all(path.stat().st_mode & 0o005 == 0o005 for path in [program, *program.parents])


def can_change_user() -> bool:
    return IS_ROOT and is_usable(Path(interpreter()))


def new_folder() -> Path:
    """Return a folder that other users may enter, unlike those of pytest."""
    folder = Path(tempfile.mkdtemp(prefix="image-", dir=os.environ.get("TMPDIR", "/tmp")))
    folder.chmod(0o755)
    return folder


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """Replace `${NAME:-default}` and `${NAME:?message}` as Compose does; a blank variable is unset.

    Raises:
        LookupError: a variable is missing that is required.
    """

    def value(found: re.Match[str]) -> str:
        name, operator, rest = found.groups()
        if variables.get(name):
            return variables[name]
        if operator == ":?":
            raise LookupError(f"{name}: {rest}")
        return str(rest)

    return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, text)
