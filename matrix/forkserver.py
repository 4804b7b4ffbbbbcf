"""A process that has imported what the projects need, and runs each job in a fork of itself.

Importing FastMCP and pytest takes longer than most tests; a fork has both, and shares nothing else with the next.
Reads jobs as lines of JSON from stdin, and answers each with a line on stdout. With every job that loads a module
from outside the project, later forks are born with it.
"""

import contextlib
import gc
import importlib
import io
import json
import os
import resource
import runpy
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import audit

ARGUMENTS = ("-q", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=60", "--tb=short", "--color=no")


@dataclass(frozen=True)
class Job:
    """What to do in the project that lies in `project`, whose modules are imported from `path`.

    `tests` are files for pytest; none, and it does not run. `probe` is a function to call, as `file:name`.
    """

    project: str
    path: list[str]
    tests: list[str] = field(default_factory=list)
    probe: str = ""
    package: str = ""
    watched: bool = False
    seconds: float = 300


@dataclass
class Outcome:
    """How a job ended: tests by file, what it has read of the project, and the processor time in seconds."""

    error: str = ""
    passed: dict[str, int] = field(default_factory=dict)
    not_passed: dict[str, str] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    listing: Any = None
    modules: list[str] = field(default_factory=list)
    cpu: float = 0


class Reporter:
    """The pytest plugin that counts."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def pytest_runtest_logreport(self, report: Any) -> None:
        file = report.nodeid.split("::")[0]
        if report.passed:
            self.outcome.passed[file] = self.outcome.passed.get(file, 0) + (report.when == "call")
        else:
            self.outcome.not_passed[report.nodeid] = report.longreprtext[-3000:] or report.outcome

    def pytest_collectreport(self, report: Any) -> None:
        if not report.passed:
            self.outcome.not_passed[report.nodeid] = report.longreprtext[-3000:] or report.outcome


def serve(plugins: list[str]) -> None:
    """Answer jobs until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with Path(os.devnull).open() as nothing:
        # What a project prints, or reads, is not this conversation.
        jobs = os.fdopen(os.dup(0), encoding="utf-8")
        os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
    prepare(["pytest", *plugins])
    for line in jobs:
        outcome = run_in_fork(Job(**json.loads(line)), plugins)
        prepare(outcome.pop("modules"))
        answers.write(json.dumps(outcome) + "\n")
        answers.flush()


def prepare(modules: list[str]) -> None:
    """Import modules now, so that the forks need not."""
    missing = [name for name in modules if name not in sys.modules]
    for name in missing:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    if missing:
        gc.collect()
        gc.freeze()


def run_in_fork(job: Job, plugins: list[str]) -> dict[str, Any]:
    reader, writer = os.pipe()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = os.fork()
    if process == 0:
        os.close(reader)
        os.setsid()
        outcome = run(job, plugins)
        with os.fdopen(writer, "w", encoding="utf-8") as stream:
            json.dump(asdict(outcome), stream)
        os._exit(0)
    os.close(writer)
    text = read_until(reader, time.monotonic() + job.seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer: dict[str, Any] = asdict(Outcome(error=f"The run was ended after {job.seconds:g} s, or crashed."))
    with contextlib.suppress(ValueError):
        answer = json.loads(text)
    answer["cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return answer


def read_until(reader: int, deadline: float) -> str:
    """Read to the end, or to the deadline."""
    import select  # noqa: PLC0415 - not on Windows for pipes, where there is no fork either

    chunks = []
    while (left := deadline - time.monotonic()) > 0:
        if select.select([reader], [], [], left)[0]:
            chunk = os.read(reader, 1 << 20)
            if not chunk:
                break
            chunks.append(chunk)
    os.close(reader)
    return b"".join(chunks).decode()


def run(job: Job, plugins: list[str]) -> Outcome:
    """Do a job in this process, which can do no other after it."""
    outcome = Outcome()
    known = set(sys.modules)
    read: set[str] = set()
    os.chdir(job.project)
    sys.path[:0] = job.path
    os.environ["PYTHONPATH"] = os.pathsep.join([*job.path, audit.FOLLOW])
    with followed(job, read):
        try:
            if job.tests:
                run_tests(job, plugins, outcome)
            if job.probe:
                outcome.listing = call_probe(job.probe, job.package)
        except BaseException as error:  # it is the answer
            outcome.error = f"{type(error).__name__}: {error}"
    outcome.read = sorted(read)
    outcome.modules = sorted(name for name in set(sys.modules) - known if is_outside(name, job.project))
    return outcome


@contextlib.contextmanager
def followed(job: Job, read: set[str]) -> Iterator[None]:
    """Collect what this process and those it starts read of the project."""
    if not job.watched:
        yield
        return
    record = f"{job.project}.record"
    os.environ[audit.RECORD] = record
    os.environ[audit.PROJECT] = job.project
    audit.watch(job.project, read.add)
    yield
    with contextlib.suppress(FileNotFoundError):
        lines = Path(record).read_text(encoding="utf-8").splitlines()
        Path(record).unlink()
        read.update(lines)


def run_tests(job: Job, plugins: list[str], outcome: Outcome) -> None:
    import pytest  # noqa: PLC0415 - loaded by now

    printed = io.StringIO()
    modules = [sys.modules[name] for name in plugins]
    arguments = [*ARGUMENTS, f"--basetemp={job.project}.temporary", *job.tests]
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = pytest.main(arguments, plugins=[*modules, Reporter(outcome)])
    if code and not outcome.not_passed:
        outcome.error = printed.getvalue()[-3000:] or f"pytest ended with {code}"


def call_probe(probe: str, package: str) -> Any:
    file, _, name = probe.rpartition(":")
    return runpy.run_path(file)[name](package)


def is_outside(module: str, project: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and not file.startswith(project)


if __name__ == "__main__":
    serve(sys.argv[1:])
