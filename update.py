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
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile, mkdtemp
from typing import Any, NamedTuple

from cookiecutter.exceptions import CookiecutterException, FailedHookException
from cookiecutter.generate import apply_overwrites_to_context, generate_context, generate_files
from cookiecutter.prompt import render_variable
from cookiecutter.utils import create_env_with_context

RECORD = ".cruft.json"
# These answers name folders, which an update does not move.
FIXED = ("project_slug", "package_name")
UNDO = "git checkout . && git clean -fd"
BOM = b"\xef\xbb\xbf"

Answers = dict[str, Any]
Lines = list[bytes]


class UpdateError(Exception):
    """The project cannot be updated. Nothing has been changed."""


class AnswerError(UpdateError):
    """An answer is not accepted."""


class UnfinishedError(Exception):
    """A file could not be written, after others have been."""


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
        lines = [str(error), "Nothing has been changed."]
        if isinstance(error, AnswerError):
            lines.append("Run the update again with other answers. Those of the project are in .cruft.json.")
        print(*lines, sep="\n", file=sys.stderr)
    except UnfinishedError as error:
        print(error, file=sys.stderr)
    return 1


def update(project: Path, changes: dict[str, str], checkout: str | None, moved: str | None) -> int:
    """Update a project, and print what happened.

    Raises:
        UpdateError: the project cannot be updated.
    """
    state = read_record(project)
    check_committed(project)
    known = state["context"]["cookiecutter"]
    try:
        # On Windows, a virus scanner can lock a file. That must not stop an update halfway.
        with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            address = moved or state["template"]
            if moved and (project / moved).exists():
                address = str((project / moved).resolve())
            template = cloned(address, Path(folder, "template"))
            newest = check_out(template, checkout or "HEAD")
            context = context_of(template, known, changes, address, newest)
            after = rendered(template, context, Path(folder))
            check_out(template, state["commit"])
            old_context = context_of(template, known, {}, address, state["commit"])
            before = rendered(template, old_context, Path(folder))
            result = compare(project, before, after, state.get("skip", []))
            state |= {"template": address, "commit": newest, "checkout": checkout}
            state["context"] = {"cookiecutter": context}
            result.written[RECORD] = in_form_of((project / RECORD).read_bytes(), record_of(state))
            modes = {path: file.stat().st_mode for path, file in after.items()}
        check_writable(project, result)
    except OSError as error:
        raise UpdateError(f"The update cannot be prepared: {error}.") from error
    apply(project, result, modes)
    added = [name for name in context if name[0] != "_" and name not in known]
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
        state = json.loads((project / RECORD).read_bytes())
    except FileNotFoundError:
        raise UpdateError(f"There is no {RECORD} in {project}. {how_to_find_record(project)}") from None
    except OSError as error:
        raise UpdateError(f"{RECORD} cannot be read: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise UpdateError(f"{RECORD} is not valid JSON: {error}. Restore it with git.") from error
    if problem := record_problem(state):
        raise UpdateError(f"{RECORD} is not valid: {problem}. Correct it, or restore it with git.")
    if state["commit"] is None:
        raise UpdateError(
            f"{RECORD} does not name the template's commit, because the template was not in a git repository."
            " Write the address of its repository as `template`, and the commit as `commit`."
        )
    valid: dict[str, Any] = state
    return valid


def how_to_find_record(project: Path) -> str:
    """Return how to restore the record if git knows it, or else where to run the update."""
    last = git(project, "rev-list", "--max-count=1", "HEAD", "--", RECORD).stdout.decode().strip()
    if not last:
        return "Run this in the folder of the project."
    was_deleted = git(project, "cat-file", "-e", f"{last}:./{RECORD}").returncode
    commit = f"{last[:12]}~" if was_deleted else "HEAD"
    return f"Restore it: git checkout {commit} -- {RECORD}"


def record_problem(state: Any) -> str | None:
    """Return what is wrong with the content of the record, or None."""
    if not isinstance(state, dict):
        return "it must be an object"
    context = state.get("context")
    answers = context.get("cookiecutter") if isinstance(context, dict) else None
    skipped = state.get("skip", [])
    problems = {
        "`template` must be the address of the template": not is_text(state.get("template")),
        "`commit` must be a commit of the template": not (
            state.get("commit", "") is None or is_text(state.get("commit"))
        ),
        "`context` must contain `cookiecutter` with the answers": not isinstance(answers, dict),
        '`skip` must be a list of patterns, such as ["README.md"]': not (
            isinstance(skipped, list) and all(is_text(pattern) for pattern in skipped)
        ),
    }
    if isinstance(answers, dict):
        problems |= {f"the answer `{name}` is missing": not is_text(answers.get(name)) for name in FIXED}
    return next((problem for problem, found in problems.items() if found), None)


def is_text(value: object) -> bool:
    return isinstance(value, str) and value.strip() != ""


def record_of(state: dict[str, Any]) -> bytes:
    """Return the content of the record."""
    # cruft decodes the file as the system does, which is not UTF-8 on Windows.
    text = json.dumps(state, ensure_ascii=sys.platform == "win32", indent=2)
    return f"{text}\n".encode()


def check_committed(project: Path) -> None:
    """Check that git can undo the update."""
    status = git(project, "status", "--porcelain", "--", ".")
    if b"not a git repository" in status.stderr:
        raise UpdateError(
            f"{project} is not in a git repository. Commit it to one, so that you can undo the update."
        )
    if status.returncode:
        raise UpdateError(f"git cannot read the project: {error_of(status)}")
    if status.stdout:
        raise UpdateError(
            "The project has uncommitted changes. Commit them, so that you can undo the update."
        )


def git(folder: Path, *words: str) -> "subprocess.CompletedProcess[bytes]":
    environment = {**os.environ, "LC_ALL": "C"}  # messages in English
    try:
        return subprocess.run(["git", *words], cwd=folder, env=environment, capture_output=True, check=False)
    except OSError as error:
        raise UpdateError(
            f"git cannot be started: {error.strerror}. Install it, and add it to PATH: https://git-scm.com"
        ) from error


def cloned(address: str, folder: Path) -> Path:
    run = git(folder.parent, "clone", "--quiet", "--no-checkout", "--", address, str(folder))
    if run.returncode:
        raise UpdateError(
            f"git cannot clone the template ({error_of(run)}). If it has moved, add --template and its address."
        )
    # Ignore the user's git settings for line endings. A shell hook with Windows line endings would fail.
    attributes = folder / ".git" / "info" / "attributes"
    attributes.parent.mkdir(exist_ok=True)
    attributes.write_text("* -text\n", encoding="utf-8")
    return folder


def check_out(template: Path, name: str) -> str:
    """Check out a commit, and return its full name."""
    run = git(template, "checkout", "--quiet", "--force", name, "--")
    if run.returncode:
        raise UpdateError(f"The template has no commit {name}: {error_of(run)}")
    return git(template, "rev-parse", "HEAD").stdout.decode().strip()


def error_of(run: "subprocess.CompletedProcess[bytes]") -> str:
    return " ".join(run.stderr.decode(errors="replace").split())


def context_of(template: Path, known: Answers, changes: dict[str, str], address: str, commit: str) -> Answers:
    """Return the answers for a commit of the template: the changes, then the known ones, then the defaults."""
    try:
        shape = generate_context(str(template / "cookiecutter.json"))["cookiecutter"]
    except (OSError, CookiecutterException) as error:
        raise UpdateError(f"{address} has no valid cookiecutter.json in commit {commit}.") from error
    prompts = [name for name in shape if name[0] != "_"]
    given = {name: answer_in(name, text, shape) for name, text in changes.items()}
    environment = create_env_with_context({"cookiecutter": shape})
    context: Answers = {}
    for name, default in shape.items():
        if name in given:
            context[name] = given[name]
        elif name in known and name in prompts:
            context[name] = recorded(name, known[name], default)
        elif name in prompts:
            first = default[0] if isinstance(default, list) else default
            context[name] = render_variable(environment, first, context) if isinstance(first, str) else first
        elif name != "__prompts__":
            context[name] = default
    return {**context, "_template": address, "_commit": commit}


def answer_in(name: str, text: str, shape: Answers) -> Any:
    """Return the value of an answer from the command line."""
    names = [name for name in shape if name[0] != "_" and name not in FIXED]
    if name in FIXED:
        raise AnswerError(f"{name} cannot be changed by an update. Choose from: {', '.join(names)}.")
    if name not in names:
        raise AnswerError(
            f"{name} is not a question of this template.{nearest(name, names)} Choose from: {', '.join(names)}."
        )
    default = shape[name]
    if isinstance(default, str):
        return text
    choices = ["yes", "no"] if isinstance(default, bool) else list(default)
    context = {name: default}
    try:
        apply_overwrites_to_context(context, {name: text})
    except ValueError:
        raise AnswerError(
            f"{name} cannot be {text!r}.{nearest(text, choices)} Choose from: {', '.join(choices)}."
            " Separate several answers with spaces."
        ) from None
    return text if isinstance(default, list) else context[name]


def nearest(word: str, names: Iterable[str]) -> str:
    """Return a question that names the most similar name, or an empty text."""
    by_small = {name.lower(): name for name in names}
    found = get_close_matches(word.lower(), by_small, n=1)
    return f" Did you mean {by_small[found[0]]}?" if found else ""


def recorded(name: str, value: Any, default: Any) -> Any:
    """Return an answer of the record if it has the type that the template needs."""
    if not isinstance(value, str if isinstance(default, list) else type(default)):
        kind = "true or false" if isinstance(default, bool) else "a text"
        raise UpdateError(f"{RECORD} is not valid: the answer `{name}` must be {kind}, not {value!r}.")
    return value


def rendered(template: Path, context: Answers, folder: Path) -> dict[str, Path]:
    """Render a project, and return its files. The name of the folder shows the hooks that it is temporary."""
    with TemporaryFile("w+", errors="replace") as printed:
        try:
            with errors_in(printed.fileno()):
                made = generate_files(
                    str(template), {"cookiecutter": context}, output_dir=mkdtemp(dir=folder)
                )
        except FailedHookException:
            printed.seek(0)
            # The problems come first, then how to continue.
            problems = printed.read().strip().split("\n\n")[0]
            raise AnswerError(problems or "The template does not accept the answers.") from None
        except CookiecutterException as error:
            raise UpdateError(f"The template cannot be rendered: {error}") from error
    root = Path(made)
    return {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}


@contextmanager
def errors_in(file: int) -> Iterator[None]:
    """Write what hooks print to stderr to a file instead."""
    sys.stderr.flush()
    kept = os.dup(2)
    os.dup2(file, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def compare(project: Path, before: dict[str, Path], after: dict[str, Path], skipped: list[str]) -> Result:
    """Decide what happens to each file of the template. Line endings and a byte order mark do not count as changes."""
    result = Result()
    mines = {path: read_plain(project, path) for path in before.keys() | after.keys()}
    windows = [b"\r\n" in mine for mine in mines.values() if mine]
    new_line = b"\r\n" if sum(windows) * 2 > len(windows) else b"\n"
    for path in sorted(mines):
        old, new = (unified(tree[path].read_bytes()) if path in tree else None for tree in (before, after))
        if old == new or any(fnmatch(path, pattern) for pattern in skipped):
            continue
        if is_in_the_way(project, path):
            result.kept.append(path)
            continue
        text = mines[path]
        mine = None if text is None else unified(text)
        if mine == new or (mine is None and old is not None):
            continue  # the user has made the same change, or deleted the file
        if text is None or mine is None or old is None or new is None:
            if mine != old:
                result.kept.append(path)
            elif new is None:
                result.deleted.append(path)
            else:
                result.written[path] = new if is_binary(new) else new.replace(b"\n", new_line)
            continue
        if mine != old and any(map(is_binary, (old, mine, new))):
            result.kept.append(path)
            continue
        merged, is_clean = (new, True) if mine == old else merge(old, mine, new)
        result.written[path] = in_form_of(text, merged)
        if not is_clean:
            result.conflicts.append(path)
    for path in [path for path in result.deleted if path.endswith("/__init__.py")]:
        modules = {other.relative_to(project).as_posix() for other in (project / path).parent.rglob("*.py")}
        if modules - set(result.deleted):  # the user's own or edited modules
            result.deleted.remove(path)
            result.kept.append(path)
    return result


def read_plain(project: Path, path: str) -> bytes | None:
    """Return the content of a file of the project, or None if there is no plain file at this path."""
    place = project / path
    return place.read_bytes() if place.is_file() and not is_in_the_way(project, path) else None


def is_in_the_way(project: Path, path: str) -> bool:
    """Return whether the user has something else than a file at a path, or than folders above it.

    A symbolic link is the user's too: what is behind it may be outside of the project.
    """
    place = project / path
    if place.is_symlink() or (place.exists() and not place.is_file()):
        return True
    folders = place.parents[: path.count("/")]
    return any(folder.is_symlink() or folder.is_file() for folder in folders)


def is_binary(content: bytes) -> bool:
    return b"\0" in content


def unified(content: bytes) -> bytes:
    """Return a text with Unix line endings and without a byte order mark. Binary content is unchanged."""
    return content if is_binary(content) else content.removeprefix(BOM).replace(b"\r\n", b"\n")


def in_form_of(mine: bytes, text: bytes) -> bytes:
    """Return a text with the byte order mark and the line endings of the user's file, which may be mixed.

    New lines have the most frequent line ending.
    """
    if is_binary(mine) or not (mine.startswith(BOM) or b"\r\n" in mine):
        return text
    lines = split(mine.removeprefix(BOM))
    changes = changes_of(unified(mine), text)
    if mine.count(b"\r\n") * 2 >= len(lines):
        changes = [
            change._replace(lines=tuple(line.replace(b"\n", b"\r\n") for line in change.lines))
            for change in changes
        ]
    mark = BOM if mine.startswith(BOM) else b""
    return mark + b"".join(combined(lines, [changes], 0, len(lines)))


def check_writable(project: Path, result: Result) -> None:
    """Check that files can be written and deleted, before any is."""
    for path in (*result.deleted, *result.written):
        place = project / path
        folder = next(folder for folder in place.parents if folder.exists())
        if not os.access(folder, os.W_OK) or (place.exists() and not os.access(place, os.W_OK)):
            raise UpdateError(f"{path} is read-only, or its folder is. Make it writable, and run this again.")


def apply(project: Path, result: Result, modes: dict[str, int]) -> None:
    """Delete and write the files, the record last."""
    path = ""
    try:
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
                (project / path).chmod(stat.S_IMODE(modes[path]))
    except OSError as error:
        raise UnfinishedError(
            f"{path} cannot be written: {error.strerror}. The update is not finished. To undo it: {UNDO}"
        ) from error


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
        settings = ("-c", "core.autocrlf=false", "-c", f"core.attributesFile={os.devnull}")
        options = ["--no-index", "--no-ext-diff", "--no-color", "--no-textconv", "--text", "--unified=0"]
        options += ["--inter-hunk-context=0", "--no-indent-heuristic", "--histogram"]
        run = git(Path(folder), *settings, "diff", *options, *names)
    if run.returncode not in (0, 1):
        raise UpdateError(f"git cannot compare two texts: {error_of(run)}")
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
    yield f"Updated: {len(result.written)} files written, {len(result.deleted)} deleted. To undo: {UNDO}"
    for name, value in added.items():
        yield f"New question, answered with its default: {name}={json.dumps(value)}. To change it, run this again."
    for path in result.kept:
        yield f"Kept, because it is yours or you have edited it: {path}"
    for path in result.conflicts:
        yield f"CONFLICT: you and the template have changed the same lines, between <<<<<<< and >>>>>>>: {path}"


if __name__ == "__main__":
    raise SystemExit(main())
