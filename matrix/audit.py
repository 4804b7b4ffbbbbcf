"""Records what a run reads of its project, so that an incomplete closure is found.

Every open and import raises an audit event (PEP 578); Python processes that a test starts are followed, by the
`sitecustomize.py` in `follow`. Asking whether a file exists raises no event, so `os.stat` is wrapped.
"""

import importlib.metadata
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

# Where a followed process writes what it has read, and of which project.
RECORD = "MATRIX_RECORD"
PROJECT = "MATRIX_PROJECT"
FOLLOW = str(Path(__file__).parent / "follow")
CACHES = ("/__pycache__/", "/.pytest_cache/")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {"os.mkdir", "os.remove", "os.rename", "os.rmdir"}
# Lists the folders of sys.path to find installed distributions.
METADATA = importlib.metadata.__file__
# Options with which Python does not look at PYTHONPATH, or not for sitecustomize.py.
ISOLATING = re.compile(r"-[A-Za-z]*[EIS][A-Za-z]*")


def watch(project: str, record: Callable[[str], None]) -> None:
    """Call `record` with each path, relative to `project`, that this process reads from now on.

    A path it changes is recorded with `writes ` before it, one of which it asks whether it is there with
    `asks for `, a folder it lists with a slash after it, and the start of a process that cannot be followed
    with `starts `. Cannot be undone.
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
            case _ if event in CHANGES and arguments[-1] == -1:  # -1: relative to no other folder
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
    """Return whether it is Python, and will load the sitecustomize.py that watches it."""
    variables = os.environ if environment is None else environment
    found = FOLLOW in variables.get("PYTHONPATH", "").split(os.pathsep) and RECORD in variables
    isolated = any(ISOLATING.fullmatch(os.fsdecode(option)) for option in command[1:])
    return found and not isolated and os.path.realpath(program) == os.path.realpath(sys.executable)


def inside(root: str, path: object, *, itself: bool = False) -> str:
    """Return the path below the root; nothing if it is elsewhere."""
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
    """Pytest reads its configuration there, which is part of every closure."""
    return any(frame.f_code.co_filename.endswith("findpaths.py") for frame in stack())


def asked_by_project(root: str) -> bool:
    """Return whether the project asks, and not the import system that looks for a module or a distribution."""
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
    """Watch this process too, if the one that has started it was watched."""
    if RECORD in os.environ and PROJECT in os.environ:
        target = os.open(os.environ[RECORD], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

        def record(line: str) -> None:
            os.write(target, f"{line}\n".encode(errors="surrogateescape"))

        watch(os.environ[PROJECT], record)
