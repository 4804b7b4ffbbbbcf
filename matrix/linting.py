"""Lints every distinct file of all projects, with one run of each ruff command.

Ruff's result depends on a file's bytes, its folder, the configuration, and whether the modules that it imports exist.
So a file that many projects have under the same configuration is checked once. All variants of a file are in one
project, under different names.
"""

import hashlib
import sys
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from .closures import configuration
from .commands import run
from .trees import Store, Tree, variant, write_file

# The messages of ruff, by path and identity.
Findings = dict[tuple[str, str], list[str]]

COMMANDS = {
    "ruff check": ["check", "--no-cache", "--quiet", "--output-format=concise", "."],
    "ruff format": ["format", "--no-cache", "--quiet", "--check", "--output-format=concise", "."],
}


def lint(place: Path, store: Store, trees: Iterable[Tree]) -> tuple[Findings, float]:
    """Return the findings of ruff, without clean files, and its CPU time in seconds.

    Raises:
        RuntimeError: ruff itself failed.
    """
    place.mkdir(parents=True)
    placed = lay_out_variants(place, store, trees)
    findings: Findings = defaultdict(list)
    cpu = 0.0
    for name, arguments in COMMANDS.items():
        ended = run([sys.executable, "-m", "ruff", *arguments], place)
        cpu += ended.cpu
        if ended.code not in (0, 1):
            raise RuntimeError(ended.stderr)
        for line in ended.stdout.splitlines():
            file, _, rest = line.partition(":")
            folder, _, variant_name = file.replace("\\", "/").partition("/")
            path, identity = placed[folder, variant_name]
            findings[path, identity].append(f"{name}: {path}:{rest}")
    return dict(findings), cpu


def lay_out_variants(
    place: Path, store: Store, trees: Iterable[Tree]
) -> dict[tuple[str, str], tuple[str, str]]:
    """Write each distinct file once for each configuration. Return the path and identity of each written file."""
    folders: dict[str, str] = {}
    counts: dict[tuple[str, str], int] = defaultdict(int)
    seen: set[tuple[str, str, str]] = set()
    placed: dict[tuple[str, str], tuple[str, str]] = {}
    for tree in trees:
        project = tree.get("pyproject.toml", "")
        if project not in folders:
            folders[project] = rules(store, project)
            configured = place / folders[project] / "pyproject.toml"
            if project and not configured.exists():
                write_file(configured, store.read(project))
        folder = folders[project]
        for path, identity in tree.items():
            if path.endswith(".py") and (folder, path, identity) not in seen:
                seen.add((folder, path, identity))
                name = variant(path, counts[folder, path])
                counts[folder, path] += 1
                placed[folder, name] = (path, identity)
                write_file(place / folder / name, store.read(identity))
    return placed


@cache
def rules(store: Store, project: str) -> str:
    """Return a hash of ruff's configuration in the pyproject.toml with the identity `project`."""
    tree = {"pyproject.toml": project} if project else {}
    return hashlib.sha1(repr(configuration(store, tree, "ruff")).encode()).hexdigest()
