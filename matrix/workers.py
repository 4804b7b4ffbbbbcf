"""Runs jobs in parallel. Each worker has its own fork server and workspace."""

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue

from .forkserver import Job, Outcome
from .trees import Store, Tree, Workspace


@dataclass
class Worker:
    """A fork server and its workspace."""

    server: "subprocess.Popen[str]"
    workspace: Workspace

    def run(self, tree: Tree, job: Job) -> Outcome:
        """Write the project to the workspace, and run the job. If tests fail, run them again to explain failures."""
        self.workspace.lay_out(tree)
        root = str(self.workspace.folder)
        job = replace(job, project=root, path=[f"{root}/{folder}" for folder in job.path])
        outcome = self.ask(job)
        if outcome.not_passed:
            explained = self.ask(replace(job, explain=True, shared=False))
            outcome.not_passed |= explained.not_passed
        return outcome

    def ask(self, job: Job) -> Outcome:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(asdict(job)) + "\n")
        self.server.stdin.flush()
        line = self.server.stdout.readline()
        if not line:
            return Outcome(error="The fork server has ended.")
        return Outcome(**json.loads(line))


Task = tuple[Tree, Job]


@contextmanager
def workers(folder: Path, store: Store, count: int, plugins: Sequence[str]) -> Iterator[list[Worker]]:
    """Start `count` workers. `plugins` are modules with pytest plugins."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # Python uses macOS frameworks to look up proxies, and macOS aborts forks of processes that have used them.
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
        "SSL_CERT_FILE": one_certificate(folder),
        "PYTHONPATH": os.pathsep.join(
            filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])
        ),
    }
    # The audit only sees bytecode inside the project, and without bytecode every run compiles all modules again.
    environment.pop("PYTHONPYCACHEPREFIX", None)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", f"{__package__}.forkserver", *plugins]
    with ExitStack() as stack:
        started = []
        for number in range(count):
            place = folder / f"worker-{number}" / "project"
            place.mkdir(parents=True)
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env=environment,
                cwd=place.parent,
            )
            stack.callback(stop, process)
            started.append(Worker(process, Workspace(place, store)))
        yield started


def one_certificate(folder: Path) -> str:
    """Write a file with one certificate. Loading all of them is a tenth of a suite's time, and no test uses TLS."""
    certificates = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not certificates:
        return ""
    file = folder / "certificate.pem"
    file.write_text(ssl.DER_cert_to_PEM_cert(certificates[0]), encoding="ascii")
    return str(file)


def stop(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):
        process.stdin.close()
    process.stdout.close()
    process.wait()


def run_all(team: Sequence[Worker], tasks: Iterable[Task], done: Callable[[Job], None]) -> list[Outcome]:
    """Run every task, and return the outcomes in the same order.

    The first worker runs all whole suites, after the other jobs. A suite starts many servers, so several suites at once
    would take gigabytes.
    """
    suites: SimpleQueue[tuple[int, Task]] = SimpleQueue()
    others: SimpleQueue[tuple[int, Task]] = SimpleQueue()
    numbered = list(enumerate(tasks))
    for item in numbered:
        (suites if item[1][1].is_suite else others).put(item)
    only_suites = others.empty()
    outcomes: dict[int, Outcome] = {}

    def work(worker: Worker) -> None:
        for queue in (others, suites) if worker is team[0] or only_suites else (others,):
            with suppress(Empty):
                while True:
                    number, (tree, job) = queue.get_nowait()
                    outcomes[number] = worker.run(tree, job)
                    done(job)

    threads = [threading.Thread(target=work, args=[worker]) for worker in team]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [outcomes[number] for number, _ in numbered]
