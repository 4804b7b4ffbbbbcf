"""Stores each distinct file of thousands of projects once, and writes a project to a folder to run it."""

import hashlib
import itertools
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Self

# A project: the hash of each file's content, by its path with forward slashes.
Tree = dict[str, str]

# Python validates cached bytecode by the size and mtime (in seconds) of the source, so each content gets its own
# mtime.
FIRST_SECOND = 1_000_000_000
CACHED_CONTENTS = 512
BUFFERED_CONTENTS = 64
NUMBERS = itertools.count()


class Place(NamedTuple):
    """Where a content is: a file descriptor, the start and the length."""

    file: int
    start: int
    length: int


class Store:
    """A folder with all distinct contents.

    There are tens of thousands of them, and creating a file takes longer than rendering most of them. So each store appends
    what it adds to a file of its own, and finds what other stores have added to theirs, also in other processes. A second
    file has a line for each content: identity, start and length. In a `with` block of the store, both may be written as
    late as the end of the block.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._places: dict[str, Place] = {}
        # The descriptors of the own files, and the size of the first.
        self._own: tuple[int, int] | None = None
        self._size = 0
        # What is not yet written to them, and the number of open `with` blocks.
        self._contents: list[bytes] = []
        self._lines: list[str] = []
        self._blocks = 0
        # The descriptor of each other file, and how many bytes of its index are known.
        self._others: dict[str, tuple[int, int]] = {}
        self._seconds: dict[str, int] = {}

    def add(self, files: Mapping[str, bytes]) -> Tree:
        """Store the files of a project."""
        tree = {}
        for path, content in files.items():
            identity = sys.intern(hashlib.sha1(content, usedforsecurity=False).hexdigest())
            if identity not in self._places:
                with self._lock:
                    self._append(identity, content)
            tree[sys.intern(path)] = identity
        if not self._blocks:
            self._flush()
        return tree

    def __enter__(self) -> Self:
        self._blocks += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._blocks -= 1
        self._flush()

    def read(self, identity: str) -> bytes:
        return read(self, identity)

    def load(self, identity: str) -> bytes:
        with self._lock:
            if identity not in self._places:
                self._look()
            self._flush()
            place = self._places[identity]
            os.lseek(place.file, place.start, os.SEEK_SET)
            return os.read(place.file, place.length)

    def _append(self, identity: str, content: bytes) -> None:
        if self._own is None:
            name = f"{os.getpid()}-{next(NUMBERS)}"
            flags = os.O_CREAT | os.O_RDWR | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._own = os.open(self.folder / name, flags), os.open(self.folder / f"{name}.index", flags)
        self._places[identity] = Place(self._own[0], self._size, len(content))
        self._contents.append(content)
        self._lines.append(f"{identity} {self._size} {len(content)}\n")
        self._size += len(content)
        if len(self._contents) == BUFFERED_CONTENTS:
            self._flush()

    def _flush(self) -> None:
        """Write what was added: the contents first, since an index must not name what is not written."""
        with self._lock:
            if self._own and self._contents:
                contents, index = self._own
                os.write(contents, b"".join(self._contents))
                os.write(index, "".join(self._lines).encode())
                self._contents.clear()
                self._lines.clear()

    def _look(self) -> None:
        """Find what other stores have added."""
        for index in self.folder.glob("*.index"):
            file, known = self._others.get(index.name, (-1, 0))
            if file < 0:
                file = os.open(index.with_suffix(""), os.O_RDONLY | getattr(os, "O_BINARY", 0))
            text = index.read_bytes()[known:]
            end = text.rfind(b"\n") + 1
            self._others[index.name] = file, known + end
            for line in text[:end].decode().splitlines():
                identity, start, length = line.split()
                self._places.setdefault(sys.intern(identity), Place(file, int(start), int(length)))

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


@lru_cache(CACHED_CONTENTS)  # all contents take gigabytes
def read(store: Store, identity: str) -> bytes:
    return store.load(identity)


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
