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
    With `explain` a failed assertion shows the values in it, which costs time for every test file.
    """

    project: str
    path: list[str]
    tests: list[str] = field(default_factory=list)
    probe: str = ""
    package: str = ""
    watched: bool = False
    explain: bool = False
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

    def __init__(self, job: Job, outcome: Outcome) -> None:
        self.running = running(job)
        self.outcome = outcome

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running.write_text(nodeid, encoding="utf-8")

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
    # A project must not find the modules of the repository that proves it.
    own = (Path(__file__).resolve().parents[1], Path.cwd().resolve())
    sys.path[:] = [path for path in sys.path if Path(path).resolve() not in own]
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
    before = os.times()
    process = os.fork()
    if process == 0:
        os.close(reader)
        os.setsid()
        try:
            outcome = run(job, plugins)
            with os.fdopen(writer, "w", encoding="utf-8") as stream:
                json.dump(asdict(outcome), stream, default=repr)
        finally:
            os._exit(0)
    os.close(writer)
    deadline = time.monotonic() + job.seconds
    text = read_until(reader, deadline)
    ending = f"was still running after {job.seconds:g} s" if time.monotonic() >= deadline else "ended the run"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    after = os.times()
    answer: dict[str, Any] = asdict(Outcome(error=f"{last_test(job)} {ending}"))
    with contextlib.suppress(ValueError):
        answer = json.loads(text)
    answer["cpu"] = sum(after[2:4]) - sum(before[2:4])  # of the children: in user code, in the system
    return answer


def last_test(job: Job) -> str:
    """Return the test that a run was at when it ended."""
    with contextlib.suppress(FileNotFoundError):
        return running(job).read_text(encoding="utf-8")
    return "The project"


def running(job: Job) -> Path:
    """The file with the name of the test that runs."""
    return Path(f"{job.project}.running")


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
    running(job).unlink(missing_ok=True)
    known = set(sys.modules)
    # A pause of the collector is long where so much is loaded, and the process is short.
    gc.disable()
    os.chdir(job.project)
    sys.path = [*job.path, *sys.path, audit.FOLLOW]
    os.environ["PYTHONPATH"] = os.pathsep.join([*job.path, audit.FOLLOW])
    with followed(job, outcome):
        try:
            if job.tests:
                run_tests(job, plugins, outcome)
            if job.probe:
                outcome.listing = call_probe(job.probe, job.package)
        except BaseException as error:  # it is the answer
            outcome.error = f"{type(error).__name__}: {error}"
    outcome.modules = sorted(name for name in set(sys.modules) - known if is_outside(name, job.project))
    return outcome


@contextlib.contextmanager
def followed(job: Job, outcome: Outcome) -> Iterator[None]:
    """Collect what this process and those it starts read of the project."""
    if not job.watched:
        yield
        return
    record = Path(f"{job.project}.record")
    # A run that was ended before may have left it.
    record.write_bytes(b"")
    os.environ[audit.RECORD] = str(record)
    os.environ[audit.PROJECT] = job.project
    audit.follow_from_environment()
    yield
    outcome.read = sorted(set(record.read_text(encoding="utf-8").split("\n")) - {""})


def run_tests(job: Job, plugins: list[str], outcome: Outcome) -> None:
    import pytest  # noqa: PLC0415 - loaded by now

    printed = io.StringIO()
    modules = [sys.modules[name] for name in plugins]
    style = "rewrite" if job.explain else "plain"
    arguments = [*ARGUMENTS, f"--assert={style}", f"--basetemp={job.project}.temporary", *job.tests]
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = pytest.main(arguments, plugins=[*modules, Reporter(job, outcome)])
    running(job).unlink(missing_ok=True)
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
