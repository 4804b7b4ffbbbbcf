"""Mutation testing: plant the faults of `faults.py`, one at a time, and check that the proof finds each.

Run from the repository: `python -m tests.mutations`, or with parts of names: `python -m tests.mutations retry.py`. Writes
`docs/mutations.md`, and exits with code 1 if a fault survived.
"""

import io
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from matrix.progress import Progress
from matrix.proof import Proof, prove
from matrix.template import Combination

from .combinations import DECLARATION, PACKAGE, SKELETON, TEMPLATE
from .faults import FAULTS, Fault

WORKERS = 2
PAGE = TEMPLATE / "docs" / "mutations.md"
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".tools", ".*cache", "node_modules", "__pycache__", "uv.lock"
)
SURVIVED = "nothing: the fault survived"
HEADER = """\
# Planted faults

Each row is a fault that was planted on its own in a copy of the template, and the check that found it. The faults are in
[tests/faults.py](../tests/faults.py). `uv run python -m tests.mutations` plants them all and rewrites this page.

| In | Fault | Found by |
|---|---|---|
"""


def main(parts: list[str]) -> int:
    chosen = [
        (where, fault)
        for where, faults in FAULTS.items()
        for fault in faults
        if not parts or any(part in f"{where}: {fault.what}" for part in parts)
    ]
    # Copy the template first: it may change during the run.
    with copy_of(TEMPLATE) as template:
        for where, fault in chosen:
            planted(template, where, fault)
        if problem := problem_without_fault(template, chosen):
            print(f"The template fails without any fault: {problem}")
            return 2
        found: dict[tuple[str, str], str] = {}
        with ThreadPoolExecutor(WORKERS) as pool:
            findings = pool.map(partial(find, template), chosen)
            for (where, fault), finding in zip(chosen, findings, strict=True):
                found[where, fault.what] = finding
                print(f"{where}: {fault.what}\n    {finding}", flush=True)
                write_page(found)
    survived = [f"{where}: {what}" for (where, what), finding in found.items() if finding == SURVIVED]
    print(f"{len(found) - len(survived)} of {len(found)} faults were found.", *survived, sep="\n")
    return 1 if survived else 0


@contextmanager
def copy_of(template: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(template, Path(folder, "template"), ignore=NOT_COPIED))


def problem_without_fault(template: Path, chosen: Iterable[tuple[str, Fault]]) -> str:
    """Return the first problem without any fault. There must be none, so that findings come from planted faults."""
    asked: dict[bool, set[Combination]] = {True: set(), False: set()}
    for where, fault in chosen:
        if not fault.tests:
            asked[fault.processes].update(fault.proven_in(where))
    proofs = (prove_quietly(template, every, processes) for processes, every in asked.items() if every)
    return next(filter(None, map(first_problem, proofs)), "")


def prove_quietly(template: Path, combinations: Iterable[Combination], processes: bool) -> Proof:
    with tempfile.TemporaryDirectory() as folder:
        return prove(
            replace(DECLARATION, template=template),
            # The proof of a combination includes its variations.
            list(dict.fromkeys(map(DECLARATION.core, combinations))),
            Path(folder),
            progress=Progress(io.StringIO()),
            processes=processes,
            count=1,
        )


def find(template: Path, chosen: tuple[str, Fault]) -> str:
    """Plant a fault in a copy of the template. Return the check that found it, or `SURVIVED`."""
    where, fault = chosen
    with copy_of(template) as copy:
        file_of(copy, where).write_text(planted(copy, where, fault), encoding="utf-8", newline="\n")
        if fault.tests:
            return run_own_tests(copy, fault.tests) or SURVIVED
        return first_problem(prove_quietly(copy, fault.proven_in(where), fault.processes)) or SURVIVED


def file_of(template: Path, where: str) -> Path:
    skeleton = template / SKELETON.name
    return next(
        folder / where for folder in (skeleton / PACKAGE, skeleton, template) if (folder / where).exists()
    )


def planted(template: Path, where: str, fault: Fault) -> str:
    """Return the text of a file with the fault.

    Raises:
        ValueError: the text that the fault replaces does not occur exactly once in the file.
    """
    text = file_of(template, where).read_text(encoding="utf-8")
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.old!r} must occur once in {where}, not {text.count(fault.old)} times")
    return text.replace(fault.old, fault.new)


def run_own_tests(copy: Path, tests: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *shlex.split(tests)],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
    )
    failed = re.search(r"^FAILED (tests/[^\s:]+::\w+)", run.stdout, flags=re.MULTILINE)
    if run.returncode != (1 if failed else 0):
        raise RuntimeError(run.stdout[-3000:] + run.stderr[-3000:])
    return f"`{failed[1]}` (of the template)" if failed else ""


def first_problem(proof: Proof) -> str:
    """Return the check that found a fault, preferably a test, or an empty string."""
    texts = {problem.text for problems in proof.problems.values() for problem in problems}
    tests = sorted({found[0] for text in texts if (found := re.match(r"tests/[^\s:]+::\w+", text))})
    lines = (text.splitlines()[0].replace("`", "'").replace("|", "/") for text in texts)
    others = sorted(lines, key=lambda line: (line[0].isupper(), line))
    if tests:
        return f"`{tests[0]}`" + (f" and {len(tests) - 1} more" if tests[1:] else "")
    return f"`{others[0][:110]}`" if others else ""


def write_page(found: dict[tuple[str, str], str]) -> None:
    """Write a row for each fault. Faults that were not planted in this run keep their rows."""
    rows = {}
    if PAGE.exists():
        for line in PAGE.read_text(encoding="utf-8").splitlines():
            if cells := re.fullmatch(r"\| `(.+?)` \| (.+?) \| (.+) \|", line):
                rows[cells[1], cells[2]] = cells[3]
    rows |= found
    lines = [
        f"| `{where}` | {fault.what} | {rows[where, fault.what]} |"
        for where, faults in FAULTS.items()
        for fault in faults
        if (where, fault.what) in rows
    ]
    PAGE.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
