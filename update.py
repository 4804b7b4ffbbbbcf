# /// script
# requires-python = ">=3.11"
# dependencies = ["cookiecutter>=2.7,<3"]
# ///
"""Update a generated project: add or remove a pattern, take a newer template, or both. Your edits stay.

Run it with uv in the project, as docs/patterns-later.md shows. It renders the template twice, with the commit and answers in
`.cruft.json` and with the new ones, and applies the difference to the project. It writes that file as cruft does.

`cruft update` leaves the merge to git, which reports a conflict if changed lines are only next to each other, and needs
the unedited files in the history of the project.
"""

import argparse
import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any, NamedTuple

from cookiecutter.exceptions import CookiecutterException, FailedHookException
from cookiecutter.generate import apply_overwrites_to_context, generate_context, generate_files
from cookiecutter.prompt import render_variable
from cookiecutter.utils import create_env_with_context

RECORD = ".cruft.json"
# These answers name folders, which an update does not move.
FIXED = ("project_slug", "package_name")

Answers = dict[str, Any]
Lines = list[bytes]


class UpdateError(Exception):
    """The project cannot be updated. Nothing has been changed."""


class Change(NamedTuple):
    """Lines `start` to `end` of a text, excluding `end`, become `lines`."""

    start: int
    end: int
    lines: tuple[bytes, ...]


@dataclass
class Result:
    """What happened to the files, by their paths with forward slashes."""

    written: dict[str, bytes] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Update a generated project: run this in the project.")
    parser.add_argument("answers", nargs="*", metavar="NAME=VALUE", help="a new answer, such as caching=no")
    parser.add_argument("--checkout", metavar="REF", help="a tag, branch or commit instead of the newest")
    parser.add_argument("--template", metavar="ADDRESS", help="the template, if it has moved")
    given = parser.parse_args(words)
    logging.getLogger("cookiecutter").addHandler(logging.NullHandler())  # otherwise it prints a traceback
    try:
        return update(Path.cwd(), changes_in(given.answers), given.checkout, given.template)
    except UpdateError as error:
        print(error, file=sys.stderr)
        return 1


def update(project: Path, changes: dict[str, str], checkout: str | None, moved: str | None) -> int:
    """Update a project, and print what happened.

    Raises:
        UpdateError: the project cannot be updated.
    """
    state = read_record(project)
    check_committed(project)
    with TemporaryDirectory() as folder:
        address = moved or state["template"]
        if moved and (project / moved).exists():
            address = str((project / moved).resolve())
        template = cloned(address, Path(folder, "template"))
        newest = check_out(template, checkout or "HEAD")
        check_out(template, state["commit"])
        context = context_of(template, state["context"]["cookiecutter"], {}, address, state["commit"])
        before = rendered(template, context, Path(folder))
        check_out(template, newest)
        context = context_of(template, state["context"]["cookiecutter"], changes, address, newest)
        after = rendered(template, context, Path(folder))
        result = compare(project, before, after, state.get("skip", []))
        apply(project, result, after)
    added = [name for name in context if name[0] != "_" and name not in state["context"]["cookiecutter"]]
    state |= {"template": address, "commit": newest, "checkout": checkout}
    state["context"] = {"cookiecutter": context}
    # cruft decodes the file as the system does, which is not UTF-8 on Windows.
    text = json.dumps(state, ensure_ascii=sys.platform == "win32", indent=2)
    (project / RECORD).write_text(f"{text}\n", encoding="utf-8", newline="\n")
    print(*report(result, {name: context[name] for name in added}), sep="\n")
    return 1 if result.conflicts else 0


def changes_in(words: Iterable[str]) -> dict[str, str]:
    """Return the new answers from the command line."""
    for word in words:
        if "=" not in word:
            raise UpdateError(f"{word!r} is not an answer. Write one as NAME=VALUE, such as caching=no.")
    return dict(word.split("=", 1) for word in words)


def read_record(project: Path) -> dict[str, Any]:
    """Return the record: the address and commit of the template, and the answers."""
    try:
        state: dict[str, Any] = json.loads((project / RECORD).read_bytes())
        commit = state["commit"]
        _ = state["template"], state["context"]["cookiecutter"]["project_slug"]
    except FileNotFoundError:
        raise UpdateError(
            f"There is no {RECORD} in {project}. Run this in the folder of the project."
        ) from None
    except (ValueError, LookupError, TypeError) as error:
        raise UpdateError(f"{RECORD} is not valid: {error!r}. Restore it with git.") from error
    if not commit:
        raise UpdateError(
            f"{RECORD} does not name the template's commit, because the template was not in a git repository."
            " Write the address of its repository as `template`, and the commit as `commit`."
        )
    return state


def check_committed(project: Path) -> None:
    """Check that git can undo the update."""
    status = git(project, "status", "--porcelain", "--", ".")
    if status.returncode:
        raise UpdateError(
            f"{project} is not in a git repository. Commit it to one, so that you can undo the update."
        )
    if status.stdout:
        raise UpdateError(
            "The project has uncommitted changes. Commit them, so that you can undo the update."
        )


def git(folder: Path, *words: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, check=False)


def cloned(address: str, folder: Path) -> Path:
    run = git(folder.parent, "clone", "--quiet", "--no-checkout", "--", address, str(folder))
    if run.returncode:
        raise UpdateError(
            f"git cannot clone the template: {error_of(run)}\nIf it has moved, add --template and its address."
        )
    return folder


def check_out(template: Path, name: str) -> str:
    """Check out a commit, and return its full name."""
    run = git(template, "checkout", "--quiet", "--force", name, "--")
    if run.returncode:
        raise UpdateError(f"The template has no commit {name}: {error_of(run)}")
    return git(template, "rev-parse", "HEAD").stdout.decode().strip()


def error_of(run: "subprocess.CompletedProcess[bytes]") -> str:
    return run.stderr.decode(errors="replace").strip()


def context_of(template: Path, known: Answers, changes: dict[str, str], address: str, commit: str) -> Answers:
    """Return the answers for a commit of the template: the changes, then the known ones, then the defaults."""
    shape = generate_context(str(template / "cookiecutter.json"))["cookiecutter"]
    prompts = [name for name in shape if name[0] != "_"]
    for name in changes:
        if name in FIXED or name not in prompts:
            problem = (
                "cannot be changed by an update" if name in FIXED else "is not a question of this template"
            )
            others = [each for each in prompts if each not in FIXED]
            raise UpdateError(f"{name} {problem}. Choose from: {', '.join(others)}.")
    texts = {name: value for name, value in changes.items() if isinstance(shape[name], str)}
    try:
        apply_overwrites_to_context(shape, {name: changes[name] for name in changes.keys() - texts.keys()})
    except ValueError as error:
        raise UpdateError(str(error)) from error
    environment = create_env_with_context({"cookiecutter": shape})
    context: Answers = {}
    for name, default in shape.items():
        if name in texts:
            context[name] = texts[name]
        elif name in known and name in prompts and name not in changes:
            context[name] = known[name]
        elif name in prompts:
            first = default[0] if isinstance(default, list) else default
            context[name] = render_variable(environment, first, context) if isinstance(first, str) else first
        elif name != "__prompts__":
            context[name] = default
    return {**context, "_template": address, "_commit": commit}


def rendered(template: Path, context: Answers, folder: Path) -> dict[str, Path]:
    """Render a project, and return its files. The name of the folder shows the hooks that it is temporary."""
    try:
        made = generate_files(str(template), {"cookiecutter": context}, output_dir=mkdtemp(dir=folder))
    except FailedHookException:
        raise UpdateError("The template does not accept the answers. Nothing has been changed.") from None
    except CookiecutterException as error:
        raise UpdateError(f"The template cannot be rendered: {error}") from error
    root = Path(made)
    return {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}


def compare(project: Path, before: dict[str, Path], after: dict[str, Path], skipped: list[str]) -> Result:
    """Decide what happens to each file of the template."""
    result = Result()
    for path in sorted(before.keys() | after.keys()):
        old, new = (tree[path].read_bytes() if path in tree else None for tree in (before, after))
        place = project / path
        if old == new or any(fnmatch(path, pattern) for pattern in skipped):
            continue
        mine = place.read_bytes() if place.is_file() else None
        crlf = mine is not None and b"\r\n" in mine
        if mine is not None and crlf:
            mine = mine.replace(b"\r\n", b"\n")
        if mine == new or (mine is None and old is not None):
            continue  # the user has made the same change, or deleted the file
        if mine is None or old is None or new is None:
            if mine != old:
                result.kept.append(path)
            elif new is None:
                result.deleted.append(path)
            else:
                result.written[path] = new
            continue
        merged, is_clean = merge(old, mine, new)
        result.written[path] = merged.replace(b"\n", b"\r\n") if crlf else merged
        if not is_clean:
            result.conflicts.append(path)
    for path in [path for path in result.deleted if path.endswith("/__init__.py")]:
        modules = {other.relative_to(project).as_posix() for other in (project / path).parent.rglob("*.py")}
        if modules - set(result.deleted):  # the user's own or edited modules
            result.deleted.remove(path)
            result.kept.append(path)
    return result


def apply(project: Path, result: Result, after: dict[str, Path]) -> None:
    for path in result.deleted:
        (project / path).unlink()
        folder = (project / path).parent
        while folder != project and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
    for path, content in result.written.items():
        is_new = not (project / path).exists()
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_bytes(content)
        if is_new:
            shutil.copymode(after[path], project / path)


def merge(base: bytes, ours: bytes, theirs: bytes) -> tuple[bytes, bool]:
    """Apply the changes of both sides to a text. Return the result, and whether there is no conflict.

    Unlike in git, changes of adjacent lines do not conflict: the imports and tools of a server are adjacent.
    """
    lines = split(base)
    mine, new = changes_of(base, ours), changes_of(base, theirs)
    spans = conflicts_between(mine, new)
    free = [[change for change in side if not is_inside(change, spans)] for side in (new, mine)]
    merged: Lines = []
    position = 0
    for start, end in spans:
        merged += combined(lines, free, position, start)
        held = [[change for change in side if is_inside(change, [(start, end)])] for side in (mine, new)]
        merged += marked(*(combined(lines, [side], start, end) for side in held))
        position = end
    merged += combined(lines, free, position, len(lines))
    return b"".join(merged), not spans


def split(text: bytes) -> Lines:
    """Return the lines of a text with their line endings. Only a line feed ends a line."""
    return re.findall(rb"[^\n]*\n|[^\n]+", text)


def changes_of(base: bytes, side: bytes) -> list[Change]:
    """Return the changes that git finds, each as far down as possible, so that both sides treat repeated lines alike."""
    with TemporaryDirectory() as folder:
        names = ("base", "side")
        for name, text in zip(names, (base, side), strict=True):
            Path(folder, name).write_bytes(text)
        options = ("--no-index", "--no-ext-diff", "--no-color", "--no-textconv", "--text", "--unified=0")
        run = git(Path(folder), "diff", *options, "--no-indent-heuristic", "--histogram", *names)
    lines = split(side)
    found = []
    for match in re.finditer(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", run.stdout, flags=re.MULTILINE):
        (first, count), (added, length) = (
            (int(match[number]), 1 if match[number + 1] is None else int(match[number + 1]))
            for number in (1, 3)
        )
        start = first - 1 if count else first
        begin = added - 1 if length else added
        found += in_parts(split(base), Change(start, start + count, tuple(lines[begin : begin + length])))
    return found


def in_parts(base: Lines, change: Change) -> list[Change]:
    """Split a change into a deletion and an addition if no added line is similar to a deleted one."""
    deleted = base[change.start : change.end]
    if not deleted or not change.lines or any(alike(old, new) for old in deleted for new in change.lines):
        return [change]
    return [Change(change.start, change.end, ()), Change(change.end, change.end, change.lines)]


def alike(old: bytes, new: bytes) -> bool:
    """Return whether two lines share at least half of their distinct words."""
    first, second = (set(re.findall(rb"[^\W\d]\w*", line)) for line in (old, new))
    return len(first & second) * 2 >= len(first | second)


def conflicts_between(ours: list[Change], theirs: list[Change]) -> list[tuple[int, int]]:
    """Return the sorted, disjoint spans of the base in which both sides change the same lines."""
    spans = {(min(a.start, b.start), max(a.end, b.end)) for a in ours for b in theirs if overlap(a, b)}
    for change in 2 * sorted({*ours, *theirs}):  # twice, since spans grow in the first round
        touched = {span for span in spans if change.start < span[1] and span[0] < change.end}
        if touched:
            every = [*touched, (change.start, change.end)]
            spans = spans - touched | {(min(start for start, _ in every), max(end for _, end in every))}
    return sorted(spans)


def overlap(one: Change, other: Change) -> bool:
    if one == other or not (one.lines or other.lines):
        return False  # the same change, or two deletions
    if one.start == one.end and other.start == other.end:
        return one.start == other.start and bool(
            {*map(bytes.strip, one.lines)} & {*map(bytes.strip, other.lines)} - {b""}
        )
    return max(one.start, other.start) < min(one.end, other.end) or any(
        a.start == a.end and b.start < a.start < b.end for a, b in ((one, other), (other, one))
    )


def is_inside(change: Change, spans: list[tuple[int, int]]) -> bool:
    """Return whether a change is in one of the spans. An addition at the border of a span is not."""
    is_added = change.start == change.end
    return any(
        start <= change.start and change.end <= end and not (is_added and change.start in (start, end))
        for start, end in spans
    )


def combined(base: Lines, sides: Iterable[list[Change]], start: int, end: int) -> Iterator[bytes]:
    """Yield a part of the base with the changes applied. Lines added at the same place are in the order of `sides`."""
    changes = [change for side in sides for change in side]
    deleted = {number for change in changes for number in range(change.start, change.end)}
    for number in range(start, end + 1):
        here = {change: None for change in changes if change.start == number and change.lines}
        added = [change.lines for change in here if change.end == number]
        replaced = [change.lines for change in here if number < change.end and number < end]
        for lines in (*added, *replaced):
            yield from lines
        if number < end and number not in deleted:
            yield base[number]


def marked(ours: Iterable[bytes], theirs: Iterable[bytes]) -> Lines:
    """Return both sides of a conflict with conflict markers."""
    sides = ([line if line.endswith(b"\n") else line + b"\n" for line in side] for side in (ours, theirs))
    mine, new = sides
    return [b"<<<<<<< yours\n", *mine, b"=======\n", *new, b">>>>>>> template\n"]


def report(result: Result, added: Answers) -> Iterator[str]:
    """Yield the lines to print: what happened, and what is left to do."""
    yield f"Updated: {len(result.written)} files written, {len(result.deleted)} deleted. To undo: git checkout . && git clean -fd"
    for name, value in added.items():
        yield f"New question, answered with its default: {name}={json.dumps(value)}. To change it, run this again."
    for path in result.kept:
        yield f"Kept, because it is yours or you have edited it: {path}"
    for path in result.conflicts:
        yield f"CONFLICT: you and the template have changed the same lines, between <<<<<<< and >>>>>>>: {path}"


if __name__ == "__main__":
    raise SystemExit(main())
