"""Stores each distinct file of thousands of projects once, and writes a project to a folder to run it."""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

# A project: the hash of each file's content, by its path with forward slashes.
Tree = dict[str, str]

# Python validates cached bytecode by the size and mtime (in seconds) of the source, so each content gets its own
# mtime.
FIRST_SECOND = 1_000_000_000
CACHED_CONTENTS = 4096


@dataclass(frozen=True, eq=False)
class Store:
    """A folder with one file for each distinct content."""

    folder: Path
    _known: set[str] = field(default_factory=set)
    _seconds: dict[str, int] = field(default_factory=dict)

    def add(self, files: Mapping[str, bytes]) -> Tree:
        """Store the files of a project. Safe for concurrent processes."""
        tree = {}
        for path, content in files.items():
            identity = sys.intern(hashlib.sha1(content, usedforsecurity=False).hexdigest())
            if identity not in self._known:
                self._known.add(identity)
                target = self.folder / identity
                if not target.exists():
                    partial = target.with_suffix(f".{os.getpid()}")
                    partial.write_bytes(content)
                    partial.replace(target)
            tree[sys.intern(path)] = identity
        return tree

    def read(self, identity: str) -> bytes:
        return read(self.folder, identity)

    def text(self, identity: str) -> str:
        return self.read(identity).decode()

    def second(self, identity: str) -> int:
        """Return the mtime of a content, which is unique."""
        return self._seconds.setdefault(identity, FIRST_SECOND + 2 * len(self._seconds))


@dataclass
class Workspace:
    """A folder for one project at a time. Only files that differ from the previous project are written."""

    folder: Path
    store: Store

    def lay_out(self, tree: Tree) -> None:
        """Make the folder contain exactly this project, whatever a previous run left, changed or deleted."""
        seconds = self.clear(tree)
        for path, identity in tree.items():
            if not path.endswith("/") and seconds.get(path) != self.store.second(identity):
                self.write(self.folder / path, identity)

    def clear(self, tree: Tree) -> dict[str, float]:
        """Delete everything that is not in the project. Return the mtime of each remaining file."""
        seconds = {}
        wanted = {"", *folders(tree)}
        for place, names, files in os.walk(self.folder):
            folder = place[len(str(self.folder)) + 1 :].replace(os.sep, "/")
            if folder not in wanted:
                shutil.rmtree(place)
                names.clear()
                continue
            names[:] = [name for name in names if name != "__pycache__"]
            for name in files:
                path = f"{folder}/{name}" if folder else name
                if path in tree:
                    seconds[path] = Path(place, name).stat().st_mtime
                else:
                    Path(place, name).unlink()
        return seconds

    def write(self, target: Path, identity: str) -> None:
        write_file(target, self.store.read(identity))
        second = self.store.second(identity)
        os.utime(target, (second, second))


@lru_cache(CACHED_CONTENTS)  # all of them take gigabytes
def read(folder: Path, identity: str) -> bytes:
    return (folder / identity).read_bytes()


def memory() -> str | None:
    """Return a folder in memory for temporary files, or None if the system has none."""
    folder = "/dev/shm"
    return folder if os.access(folder, os.W_OK) else None


def write_file(target: Path, content: bytes) -> None:
    """Write a file, and create missing parent folders."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)


def folders(paths: Iterable[str]) -> set[str]:
    """Return every folder that contains one of these files, at any depth."""
    found: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in found:
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return found


def is_test(path: str) -> bool:
    return path.rpartition("/")[2].startswith("test_") and path.endswith(".py")


def variant(path: str, number: int) -> str:
    """Return the path of a numbered variant of a file. Variant 0 keeps its name."""
    stem, dot, ending = path.rpartition(".")
    return f"{stem}__{number}{dot}{ending}" if number else path
