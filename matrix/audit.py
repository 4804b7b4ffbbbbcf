"""Records which project files a run reads, to detect incomplete closures.

Every open and import raises an audit event (PEP 578). Python processes that a test starts are watched too, through
`follow/sitecustomize.py`. Existence checks raise no event, so `os.stat` is wrapped.
"""

import importlib.metadata
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

# Environment variables for watched child processes: the record file, and the project folder.
RECORD = "MATRIX_RECORD"
PROJECT = "MATRIX_PROJECT"
FOLLOW = str(Path(__file__).parent / "follow")
CACHES = ("/__pycache__/", "/.pytest_cache/")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir"}
# This module lists the folders of sys.path to find installed distributions.
METADATA = importlib.metadata.__file__
# Options that make Python ignore PYTHONPATH or skip sitecustomize.py.
ISOLATING = re.compile(r"-[A-Za-z]*[EIS][A-Za-z]*")


def watch(project: str, record: Callable[[str], None]) -> None:
    """Call `record` with each path, relative to `project`, that this process reads from now on.

    Other accesses are recorded as `writes PATH`, `asks for PATH` (an existence check), `FOLDER/` (a listing) and
    `starts COMMAND` (a process that cannot be watched). Watching cannot be undone.
    """
    root = os.path.realpath(project) + os.sep

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        match event:
            case "open":
                path, mode, flags = arguments
                if relative := inside(root, path):
                    writes = mode is not None and set(mode) & set("wax+")
                    writes = writes or (mode is None and flags & WRITING)
                    note(relative, writes=bool(writes), record=record)
            case "os.listdir" | "os.scandir":
                if (relative := inside(root, arguments[0], itself=True)) and asked_by_project(root):
                    record(relative.rstrip("/") + "/")
            case "subprocess.Popen":
                executable, command, _, environment = arguments
                if not is_followed(str(executable or command[0]), command, environment):
                    record(f"starts {command}")
            case "os.exec" | "os.posix_spawn":
                if not is_followed(*arguments):
                    record(f"starts {arguments[1]}")
            case "os.system":
                record(f"starts {arguments[0]!r}")
            case _ if event in CHANGES and arguments[-1] == -1:  # -1: no dir_fd
                for path in arguments[:2]:
                    if relative := inside(root, path):
                        note(relative, writes=True, record=record)

    sys.addaudithook(audit)
    watch_existence(root, record)


def watch_existence(root: str, record: Callable[[str], None]) -> None:
    """Record the paths whose existence the project checks."""
    stat = os.stat

    def watched(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if (relative := inside(root, path)) and asked_by_project(root):
            record(f"asks for {relative}")
        return stat(path, *arguments, **options)

    for supporting in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks):
        if stat in supporting:
            supporting.add(watched)
    setattr(os, "stat", watched)  # noqa: B010 - mypy knows its overloads


def is_followed(program: str, command: Sequence[str], environment: Mapping[str, str] | None) -> bool:
    """Return whether the command runs this Python, which will load the sitecustomize.py that watches it."""
    variables = os.environ if environment is None else environment
    found = FOLLOW in variables.get("PYTHONPATH", "").split(os.pathsep) and RECORD in variables
    isolated = any(ISOLATING.fullmatch(os.fsdecode(option)) for option in command[1:])
    return found and not isolated and os.path.realpath(program) == os.path.realpath(sys.executable)


def inside(root: str, path: object, *, itself: bool = False) -> str:
    """Return the path relative to `root`, or an empty string if it is outside.

    With `itself`, return `.` for the root.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        return "." if itself and path is None else ""
    absolute = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - links are not followed, as open does not
    if itself and absolute + os.sep == root:
        return "."
    return absolute[len(root) :] if absolute.startswith(root) else ""


def note(relative: str, *, writes: bool, record: Callable[[str], None]) -> None:
    if any(cache in f"/{relative}/" for cache in CACHES):
        folder, _, name = f"/{relative}".rpartition("/__pycache__/")
        if name.endswith(".pyc") and not writes:
            record(f"{folder}/{name.split('.')[0]}.py".removeprefix("/"))
    elif relative == "pyproject.toml" and asked_by_pytest():
        return
    elif writes:
        record(f"writes {relative}")
    else:
        record(relative)


def asked_by_pytest() -> bool:
    """Return whether pytest is looking for its configuration, which is part of every closure."""
    return any(frame.f_code.co_filename.endswith("findpaths.py") for frame in stack())


def asked_by_project(root: str) -> bool:
    """Return whether the project's code asks, rather than an import or a lookup of a distribution."""
    for frame in stack():
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib") or name == METADATA:
            return False
        if name.startswith(root) or name == "<string>":  # the code of `python -c`
            return True
    return False


def stack() -> "list[FrameType]":
    frames = []
    frame: FrameType | None = sys._getframe(1)
    while frame:
        frames.append(frame)
        frame = frame.f_back
    return frames


def follow_from_environment() -> None:
    """Watch this process if its parent process is watched."""
    if RECORD in os.environ and PROJECT in os.environ:
        target = os.open(os.environ[RECORD], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        def record(line: str) -> None:
            os.write(target, f"{line}\n".encode(errors="surrogateescape"))

        watch(os.environ[PROJECT], record)
