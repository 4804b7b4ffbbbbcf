"""A fork server: imports the libraries that the projects need, and runs each job in a fork.

Importing FastMCP and pytest takes longer than most tests. The server reads jobs as JSON lines from stdin, and writes
one line for each to stdout. When a job loads a module from outside its project, the server imports it for later
forks. Jobs whose projects share identical modules run in forks of a fork that has imported these and parsed every
module. So each job starts with clean state.
"""

import ast
import contextlib
import faulthandler
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
from typing import Any, TextIO

from . import audit

ARGUMENTS = ("-q", "-p", "no:cacheprovider", "--tb=short", "--color=no")
# The exit code of a fork that has written its answer. Any other code means that a test ended the process.
ANSWERED = 77
# The fraction of a job's time limit after which the stacks of all threads are written.
LATE = 0.9


@dataclass(frozen=True)
class Job:
    """What to run in the folder `project`, whose modules are imported from `path`.

    `tests` are test files; without any, pytest does not run. `probe` is a function to call, as `file:name`. With
    `explain`, failed assertions show their values, which slows down every test file. A `shared` job may start with
    the modules `preload` imported. Jobs with the same `stamp` have identical versions of these modules and everything
    they load.
    """

    project: str
    path: list[str]
    tests: list[str] = field(default_factory=list)
    probe: str = ""
    package: str = ""
    watched: bool = False
    explain: bool = False
    shared: bool = False
    preload: list[str] = field(default_factory=list)
    stamp: str = ""
    seconds: float = 300

    @property
    def is_suite(self) -> bool:
        """Whether the job runs the whole suite of a project, or tests that start server processes."""
        return not (self.watched or self.shared)


@dataclass
class Outcome:
    """The result of a job: test results, the project files that it read, and the CPU time in seconds."""

    error: str = ""
    passed: dict[str, int] = field(default_factory=dict)
    not_passed: dict[str, str] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)
    listing: Any = None
    modules: list[str] = field(default_factory=list)
    schemas: list[str] = field(default_factory=list)
    cpu: float = 0


class Reporter:
    """A pytest plugin that records the results, and the name of the running test."""

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
    """Run jobs until stdin is closed."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with Path(os.devnull).open() as nothing:
        # Keep the projects away from the pipes of the protocol.
        jobs = os.fdopen(os.dup(0), encoding="utf-8")
        os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)
    # A project must not import modules of the template's repository.
    own = (Path(__file__).resolve().parents[1], Path.cwd().resolve())
    sys.path[:] = [path for path in sys.path if Path(path).resolve() not in own]
    prepare(["pytest", *plugins])
    check_schemas_once()
    fork = None
    for line in jobs:
        job = Job(**json.loads(line))
        if fork and not (job.shared and fork.stamp == job.stamp):
            fork.end()
            fork = None
        fork = fork or Fork(plugins, job.stamp)
        outcome = fork.do(job)
        modules, schemas = outcome.pop("modules"), outcome.pop("schemas")
        if not job.shared or modules or schemas or outcome["error"]:
            fork.end()
            fork = None
        prepare(modules)
        VALID_SCHEMAS.update(schemas)
        answers.write(json.dumps(outcome) + "\n")
        answers.flush()
    if fork:
        fork.end()


def prepare(modules: list[str]) -> None:
    """Import modules before forking."""
    missing = [name for name in modules if name not in sys.modules]
    for name in missing:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    if missing:
        gc.collect()
        gc.freeze()


class Fork:
    """A fork of this process that runs one job itself, or several shared jobs in its own forks."""

    def __init__(self, plugins: list[str], stamp: str) -> None:
        self.stamp = stamp
        theirs, mine = os.pipe()
        self._answers, answers = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            os.close(mine)
            os.close(self._answers)
            os.setsid()
            try:
                with (
                    os.fdopen(theirs, encoding="utf-8") as jobs,
                    os.fdopen(answers, "w", encoding="utf-8") as out,
                ):
                    work(jobs, out, plugins)
            finally:
                os._exit(0)
        os.close(theirs)
        os.close(answers)
        self._jobs = os.fdopen(mine, "w", encoding="utf-8")

    def do(self, job: Job) -> dict[str, Any]:
        """Run a job and return its outcome. A crash or a timeout is an outcome with an error."""
        deadline = time.monotonic() + job.seconds
        stacks(job).unlink(missing_ok=True)
        with contextlib.suppress(BrokenPipeError):
            self._jobs.write(json.dumps(asdict(job)) + "\n")
            self._jobs.flush()
        line = read_line(self._answers, deadline)
        with contextlib.suppress(ValueError):
            answer: dict[str, Any] = json.loads(line)
            return answer
        ending = "ended the run"
        if time.monotonic() >= deadline:
            where = text_of(stacks(job), "It had not begun.")
            ending = f"was still running after {job.seconds:g} s\n{where}"
        # Name the test that was running.
        return asdict(Outcome(error=f"{text_of(running(job), 'The project')} {ending}"))

    def end(self) -> None:
        """Kill the fork's process group, and wait for the fork."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGKILL)
        os.waitpid(self._process, 0)
        os.close(self._answers)
        with contextlib.suppress(BrokenPipeError):
            self._jobs.close()


def running(job: Job) -> Path:
    """The file with the name of the running test."""
    return Path(f"{job.project}.running")


def stacks(job: Job) -> Path:
    """The file with the stacks of all threads, written shortly before the time limit."""
    return Path(f"{job.project}.stacks")


def text_of(path: Path, otherwise: str) -> str:
    """Return the content of a file, or `otherwise` if it does not exist."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8")
    return otherwise


def read_line(reader: int, deadline: float) -> str:
    """Read until the end of a line, the end of the pipe, or the deadline."""
    import select  # noqa: PLC0415 - not on Windows for pipes, where there is no fork either

    chunks = []
    while (left := deadline - time.monotonic()) > 0:
        if select.select([reader], [], [], left)[0]:
            chunk = os.read(reader, 1 << 20)
            chunks.append(chunk)
            if not chunk or chunk.endswith(b"\n"):
                break
    return b"".join(chunks).decode()


def work(jobs: TextIO, answers: TextIO, plugins: list[str]) -> None:
    """Run a job in this process, which must not be reused afterwards, or shared jobs in its forks."""
    # Garbage collection is slow with so many loaded modules, and the process is short-lived.
    gc.disable()
    parser: Parser | None = None
    for line in jobs:
        job = Job(**json.loads(line))
        if job.shared:
            if parser is None:
                preload(job)
                parser = Parser()
            parser.read(job.project)
        child = os.fork() if job.shared else 0
        if child == 0:
            before = sum(os.times()[:4])
            gc.freeze()  # pytest runs a collection at the end: limit it to objects of this job
            outcome = run(job, plugins)
            outcome.cpu = sum(os.times()[:4]) - before
            answers.write(json.dumps(asdict(outcome), default=repr) + "\n")
            answers.flush()
            if job.shared:
                os._exit(ANSWERED)
        elif os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != ANSWERED:
            answers.write("\n")
            answers.flush()


# The JSON texts of schemas that were found to be valid.
VALID_SCHEMAS: set[str] = set()


def check_schemas_once() -> None:
    """Cache the validation of JSON Schemas. A client validates each tool's schema in each session, which is slow."""
    with contextlib.suppress(ImportError):
        validator = importlib.import_module("jsonschema").Draft202012Validator
        check = validator.check_schema

        def check_once(schema: Any, *arguments: Any, **options: Any) -> None:
            try:
                key = json.dumps(schema)
            except TypeError:
                key = ""
            if arguments or options or not key:
                check(schema, *arguments, **options)
            elif key not in VALID_SCHEMAS:
                check(schema)
                VALID_SCHEMAS.add(key)

        validator.check_schema = check_once


def preload(job: Job) -> None:
    """Import the modules that a project shares with others."""
    path = list(sys.path)
    sys.path[:] = [*job.path, *path]
    for name in job.preload:
        with contextlib.suppress(Exception):  # the test that imports it reports the error
            importlib.import_module(name)
    sys.path[:] = path


class Parser:
    """Replaces `ast.parse` and `ast.walk` with cached versions, in this process and its forks.

    A fork that changes a tree changes only its own copy.
    """

    def __init__(self) -> None:
        self.parse, self.walk = ast.parse, ast.walk
        self.trees: dict[str, ast.AST] = {}
        self.nodes: dict[int, list[ast.AST]] = {}
        self.files: set[tuple[str, float]] = set()
        setattr(ast, "parse", self.parse_once)  # noqa: B010 - mypy knows its overloads
        setattr(ast, "walk", self.walk_once)  # noqa: B010

    def parse_once(self, source: Any, *arguments: Any, **options: Any) -> Any:
        if not isinstance(source, str) or options or len(arguments) > 1:
            return self.parse(source, *arguments, **options)
        if source not in self.trees:
            self.trees[source] = self.parse(source, *arguments)
        return self.trees[source]

    def walk_once(self, node: ast.AST) -> Iterator[ast.AST]:
        nodes = self.nodes.get(id(node))
        return self.walk(node) if nodes is None else iter(nodes)

    def read(self, project: str) -> None:
        """Parse the modules of a project, except files already parsed. The workspace gives each content its own mtime."""
        for folder, _, names in os.walk(project):
            for name in names:
                path = os.path.join(folder, name)  # noqa: PTH118 - faster, for each file of each project
                if name.endswith(".py") and (file := (path, os.stat(path).st_mtime)) not in self.files:  # noqa: PTH116
                    self.files.add(file)
                    with contextlib.suppress(SyntaxError):
                        self.learn(ast.parse(Path(path).read_text(encoding="utf-8")))

    def learn(self, tree: ast.AST) -> None:
        for node in self.walk(tree):
            if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef):
                self.nodes.setdefault(id(node), list(self.walk(node)))


def run(job: Job, plugins: list[str]) -> Outcome:
    """Run a job in this process."""
    outcome = Outcome()
    running(job).unlink(missing_ok=True)
    known, valid = set(sys.modules), set(VALID_SCHEMAS)
    importlib.invalidate_caches()
    os.chdir(job.project)
    sys.path = [*job.path, *sys.path, audit.FOLLOW]
    os.environ["PYTHONPATH"] = os.pathsep.join([*job.path, audit.FOLLOW])
    with followed(job, outcome), stacks(job).open("w") as late:
        faulthandler.dump_traceback_later(LATE * job.seconds, file=late)
        try:
            if job.tests:
                run_tests(job, plugins, outcome)
            if job.probe:
                outcome.listing = call_probe(job.probe, job.package)
        except BaseException as error:  # reported as the outcome
            outcome.error = f"{type(error).__name__}: {error}"
        finally:
            faulthandler.cancel_dump_traceback_later()
    loaded = set(sys.modules) - known
    outcome.modules = sorted(name for name in loaded if has_file(name) and is_outside(name, job.project))
    outcome.schemas = sorted(VALID_SCHEMAS - valid)
    return outcome


@contextlib.contextmanager
def followed(job: Job, outcome: Outcome) -> Iterator[None]:
    """Record the project files that this process and its children read, if the job is watched."""
    if not job.watched:
        yield
        return
    record = Path(f"{job.project}.record")
    # A killed run may have left a record.
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


def has_file(module: str) -> bool:
    return getattr(sys.modules[module], "__file__", None) is not None


def is_outside(module: str, project: str) -> bool:
    loaded = sys.modules[module]
    places = [getattr(loaded, "__file__", None), *getattr(loaded, "__path__", [])]
    return not any(str(place).startswith(f"{project}{os.sep}") for place in places)


if __name__ == "__main__":
    serve(sys.argv[1:])
