"""Records what a run reads of its project, so that a closure which is not complete is found.

Every open and import raises an audit event (PEP 578); Python processes that a test starts are followed, by the
`sitecustomize.py` beside this module. Not seen: whether a file exists, without opening it.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

# Where a followed process writes what it has read, and of which project.
RECORD = "MATRIX_RECORD"
PROJECT = "MATRIX_PROJECT"
FOLLOW = str(Path(__file__).parent / "follow")
CACHES = ("/__pycache__/", "/.pytest_cache/")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def watch(project: str, record: Callable[[str], None]) -> None:
    """Call `record` with each path, relative to `project`, that this process reads from now on.

    A path it writes is recorded with `writes ` before it, a folder it lists with a slash after it, and the
    start of a process that cannot be followed with `starts ` before it. Cannot be undone.
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
                program = os.path.realpath(str(executable or command[0]))
                inherited = environment is None or RECORD in environment
                if not inherited or program != os.path.realpath(sys.executable):
                    record(f"starts {command}")

    sys.addaudithook(audit)


def inside(root: str, path: object, *, itself: bool = False) -> str:
    """Return the path below the root; nothing if it is elsewhere."""
    if not isinstance(path, str | bytes | os.PathLike):
        return "." if itself and path is None else ""
    absolute = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 - links are not followed, as open does not
    if itself and absolute + os.sep == root:
        return "."
    return absolute[len(root) :] if absolute.startswith(root) else ""


def note(relative: str, *, writes: bool, record: Callable[[str], None]) -> None:
    if any(cache in f"/{relative}" for cache in CACHES):
        folder, _, name = relative.rpartition("/__pycache__/")
        if name.endswith(".pyc") and not writes:
            record(f"{folder}/{name.split('.')[0]}.py")
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
    """Is a file of the project what lists a folder, and not the import system looking for a module?"""
    for frame in stack():
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib"):
            return False
        if name.startswith(root):
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
        watch(os.environ[PROJECT], lambda line: void(os.write(target, f"{line}\n".encode())))


def void(_: object) -> None:
    """Drop a result."""
