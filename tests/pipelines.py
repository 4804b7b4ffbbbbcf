"""Runs the jobs of a project's CI on this machine: each command as written, in a clean copy of the project.

Actions, and programs that publish or need a daemon, are replaced. An unknown action is an error.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from uv import find_uv_bin

THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
NOT_COMMITTED = shutil.ignore_patterns(".git", ".venv", "dist", "__pycache__", ".*_cache")
# A fake program that appends its name, arguments and password from stdin to the file CALLS.
RECORDER = """\
#!{python}
import json, os, pathlib, sys
name = pathlib.Path(sys.argv[0]).name
stdin = sys.stdin.read() if "--password-stdin" in sys.argv else ""
if name == "glab" and os.environ.get("GLAB_ENABLE_CI_AUTOLOGIN") != "true":
    sys.exit("glab is not logged in")
with open(os.environ["CALLS"], "a", encoding="utf-8") as calls:
    calls.write(json.dumps([name, *sys.argv[1:], *filter(None, [stdin.strip()])]) + "\\n")
if "--output" in sys.argv:
    pathlib.Path(sys.argv[sys.argv.index("--output") + 1]).write_bytes(pathlib.Path(os.environ["ARCHIVE"]).read_bytes())
"""
# The real uv, except for commands that access the network: `publish` is recorded, and `audit` uses a local service.
UV = """\
#!/bin/sh
case "$1" in
    publish) exec "$RECORDER/publish" "$@" ;;
    audit) exec {uv} "$@" --service-url "$ADVISORIES" ;;
esac
exec {uv} "$@"
"""


class JobFailedError(Exception):
    """A command of a job failed."""


def load(path: Path) -> dict[str, Any]:
    return normalized(yaml.safe_load(path.read_text(encoding="utf-8")))


def normalized(content: dict[Any, Any]) -> dict[str, Any]:
    """Restore the key `on`, which YAML 1.1 parses as true."""
    return {"on" if key is True else key: value for key, value in content.items()}


def write_program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


@dataclass
class Machine:
    """The environment of every job: programs, variables, artifacts, and the URL of the vulnerability service."""

    folder: Path
    project: Path
    variables: Mapping[str, str]
    advisories: str
    artifacts: Path = field(init=False)
    printed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.artifacts = self.folder / "artifacts"
        self.artifacts.mkdir(parents=True)
        for name in ("bin", "uv"):
            (self.folder / name).mkdir()
        recorder = RECORDER.format(python=sys.executable)
        for name in ("docker", "gh", "glab", "curl", "publish"):
            write_program(self.folder / "bin" / name, recorder)
        write_program(self.folder / "uv" / "uv", UV.format(uv=find_uv_bin()))
        write_program(self.folder / "uv" / "uvx", recorder)
        publisher = self.folder / "mcp-publisher"
        write_program(publisher, recorder)
        with tarfile.open(self.archive, "w:gz") as archive:
            archive.add(publisher, "mcp-publisher")

    @property
    def archive(self) -> Path:
        return self.folder / "mcp-publisher.tar.gz"

    def environment(self, *, with_uv: bool) -> dict[str, str]:
        programs = [*(["uv"] if with_uv else []), "bin"]
        python = str(Path(sys.base_prefix, "bin"))
        path = [*(str(self.folder / name) for name in programs), python, "/usr/bin", "/bin"]
        return {
            **{name: value for name, value in self.variables.items() if name != "PATH"},
            "PATH": os.pathsep.join(path),
            "RECORDER": str(self.folder / "bin"),
            "CALLS": str(self.folder / "calls"),
            "ARCHIVE": str(self.archive),
            "ADVISORIES": self.advisories,
            "UV_PYTHON": sys.executable,
            "CI": "true",
        }

    def checkout(self, folder: Path) -> None:
        shutil.copytree(self.project, folder, ignore=NOT_COMMITTED, dirs_exist_ok=True)

    def run(self, job: str, command: str, folder: Path, environment: Mapping[str, str], shell: str) -> None:
        run = subprocess.run(
            [*shell.split(), command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        self.printed[job] = self.printed.get(job, "") + run.stdout
        if run.returncode:
            raise JobFailedError(f"{job}: {command}\n{run.stdout[-4000:]}")

    def calls(self) -> list[list[str]]:
        """Return the recorded calls of replaced programs, in order."""
        file = self.folder / "calls"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [json.loads(line) for line in lines]


def clean_folder(machine: Machine, job: str) -> Path:
    folder = machine.folder / "jobs" / job
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


# GitHub


@dataclass
class GitHub:
    """Runs GitHub workflows."""

    machine: Machine
    tag: str = ""
    ran: list[str] = field(default_factory=list)
    used: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def run(self, name: str, *only: str, **environment: str) -> None:
        """Run the jobs of a workflow in order. `environment` overrides the variables of the jobs."""
        workflow = load(self.machine.project / ".github" / "workflows" / name)
        for job, content in workflow["jobs"].items():
            if only and job not in only:
                continue
            needed = content.get("needs", [])
            assert only or set(needed) <= set(self.ran), f"{job} needs jobs that come later"
            if "uses" in content:
                self.run(content["uses"].removeprefix("$/.github/workflows/"))
            else:
                self.run_job(job, content, environment)
            self.ran.append(job)

    def run_job(self, job: str, content: dict[str, Any], environment: Mapping[str, str]) -> None:
        folder = clean_folder(self.machine, f"github-{job}")
        python = content.get("strategy", {}).get("matrix", {}).get("python", [THIS_PYTHON])
        assert THIS_PYTHON in python or content["strategy"]["fail-fast"] is False
        step = Step(self, job, folder, {**content.get("env", {}), **environment})
        for one in content["steps"]:
            if "uses" in one:
                action, _, _ = one["uses"].partition("@")
                self.used.append((job, action, one.get("with", {})))
                ACTIONS[action](step, **{key.replace("-", "_"): v for key, v in one.get("with", {}).items()})
            else:
                step.run(one["run"], one.get("env", {}))

    def value(self, text: str) -> str:
        """Return a text with its expressions evaluated."""
        known = {
            "matrix.python": THIS_PYTHON,
            "github.token": "the-token",
            "github.repository": "Ada/my-mcp-server",
        }
        return re.sub(r"\$\{\{ (.+?) \}\}", lambda found: known[found[1]], text)


@dataclass
class Step:
    """The state that the steps of a job share."""

    github: GitHub
    job: str
    folder: Path
    variables: dict[str, str]
    with_uv: bool = False

    def run(self, command: str, variables: Mapping[str, str]) -> None:
        given = {name: self.github.value(str(value)) for name, value in variables.items()}
        environment = {
            **self.github.machine.environment(with_uv=self.with_uv),
            "GITHUB_ACTOR": "Ada",
            "GITHUB_REPOSITORY": "Ada/my-mcp-server",
            "GITHUB_REF_NAME": self.github.tag or "main",
            **self.variables,
            **given,
        }
        assert "${{" not in command, "an expression in a command can inject code"
        self.github.machine.run(self.job, command, self.folder, environment, "bash -e -c")

    def checkout(self, *, persist_credentials: bool) -> None:
        assert persist_credentials is False
        self.github.machine.checkout(self.folder)

    def setup_uv(self, *, python_version: str = "", enable_cache: bool | None = None) -> None:
        assert enable_cache in {None, False}
        assert self.github.value(python_version) in {"", THIS_PYTHON}
        self.with_uv = True

    def upload(self, *, name: str, path: str, if_no_files_found: str) -> None:
        assert if_no_files_found == "error"
        source, target = self.folder / path, self.github.machine.artifacts / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            target.mkdir()
            shutil.copy(source, target)

    def download(self, *, name: str, path: str = ".") -> None:
        shutil.copytree(self.github.machine.artifacts / name, self.folder / path, dirs_exist_ok=True)

    def attest(self, *, subject_path: str, sbom_path: str = "") -> None:
        assert [*self.folder.glob(subject_path)]
        if sbom_path:
            assert json.loads((self.folder / sbom_path).read_text(encoding="utf-8"))["bomFormat"]

    def publish(self) -> None:
        assert distributions(self.folder / "dist") == [".gz", ".whl"]


ACTIONS: dict[str, Callable[..., None]] = {
    "actions/checkout": Step.checkout,
    "astral-sh/setup-uv": Step.setup_uv,
    "actions/upload-artifact": Step.upload,
    "actions/download-artifact": Step.download,
    "actions/attest": Step.attest,
    "pypa/gh-action-pypi-publish": Step.publish,
}


def distributions(folder: Path) -> list[str]:
    """Return the suffixes of the files that would be published."""
    return sorted(path.suffix for path in folder.iterdir() if path.name != ".gitignore")


# GitLab

PIPELINES: dict[str, dict[str, str]] = {
    "merge request": {"CI_PIPELINE_SOURCE": "merge_request_event"},
    "default branch": {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_BRANCH": "main"},
    "other branch": {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_BRANCH": "idea"},
    "tag": {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_TAG": "v0.1.0"},
    "other tag": {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_TAG": "try"},
    "schedule": {"CI_PIPELINE_SOURCE": "schedule", "CI_COMMIT_BRANCH": "main"},
}
GLOBAL = {"default", "variables", "workflow", "stages"}


@dataclass
class GitLab:
    """Runs a GitLab pipeline."""

    machine: Machine
    pipeline: str
    ran: list[str] = field(default_factory=list)

    @property
    def content(self) -> dict[str, Any]:
        return load(self.machine.project / ".gitlab-ci.yml")

    @property
    def variables(self) -> dict[str, str]:
        return {
            "CI_COMMIT_BRANCH": "",
            "CI_COMMIT_TAG": "",
            "CI_COMMIT_SHA": "0" * 40,
            "CI_DEFAULT_BRANCH": "main",
            "CI_REGISTRY": "registry.example.com",
            "CI_REGISTRY_USER": "ada",
            "CI_REGISTRY_PASSWORD": "the-token",
            "CI_REGISTRY_IMAGE": "registry.example.com/ada/my-mcp-server",
            **PIPELINES[self.pipeline],
        }

    def jobs(self) -> dict[str, dict[str, Any]]:
        """Return the jobs of this pipeline in the order of their stages."""
        content = self.content
        if not self.matches(content["workflow"]["rules"]):
            return {}
        names = [name for name in content if name not in GLOBAL and not name.startswith(".")]
        jobs = {name: {**content["default"], **extended(content, name)} for name in names}
        chosen = {name: job for name, job in jobs.items() if self.matches(job["rules"])}
        return dict(sorted(chosen.items(), key=lambda item: content["stages"].index(item[1]["stage"])))

    def matches(self, rules: list[dict[str, str]]) -> bool:
        assert all(rule.keys() == {"if"} for rule in rules)
        return any(self.holds(rule["if"]) for rule in rules)

    def holds(self, condition: str) -> bool:
        left, operator, right = condition.split(" ")
        value = self.variables[left[1:]]
        match operator:
            case "=~":
                return re.search(right.strip("/"), value) is not None
            case "==" | "!=":
                other = self.variables[right[1:]] if right[0] == "$" else right.strip('"')
                return (value == other) == (operator == "==")
        raise ValueError(condition)

    def run(self, *only: str) -> None:
        jobs = self.jobs()
        for name, job in jobs.items():
            if not only or name in only:
                self.run_job(name, job, jobs)
                self.ran.append(name)

    def run_job(self, name: str, job: dict[str, Any], jobs: Mapping[str, Any]) -> None:
        folder = clean_folder(self.machine, f"gitlab-{name}")
        self.machine.checkout(folder)
        stages = self.content["stages"]
        earlier = [
            one for one, other in jobs.items() if stages.index(other["stage"]) < stages.index(job["stage"])
        ]
        for one in job.get("needs", earlier):
            assert one in self.ran, f"{name} needs {one}"
            stored = self.machine.artifacts / one
            if stored.exists():
                shutil.copytree(stored, folder, dirs_exist_ok=True)
        (matrix,) = job.get("parallel", {}).get("matrix", [{}])
        assert THIS_PYTHON in matrix.get("PYTHON", [THIS_PYTHON])
        uses_docker = any("docker " in line for line in job["script"])
        assert uses_docker == job["image"].startswith("docker:")
        assert uses_docker == ("services" in job)
        environment = {
            **{key: str(value) for key, value in self.content["variables"].items()},
            **{key: str(value) for key, value in job.get("variables", {}).items()},
            **self.machine.environment(with_uv="/uv:" in job["image"]),
            **self.variables,
        }
        shell = "sh -e -c" if uses_docker else "bash -eo pipefail -c"
        self.machine.run(name, "\n".join(job["script"]), folder, environment, shell)
        for path in job.get("artifacts", {}).get("paths", []):
            stored = self.machine.artifacts / name
            stored.mkdir(exist_ok=True)
            if (folder / path).is_dir():
                shutil.copytree(folder / path, stored / path)
            else:
                shutil.copy(folder / path, stored / path)


def extended(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a job with its `extends` resolved: mappings are merged, other values are replaced."""
    job = content[name]
    bases = job.get("extends", [])
    result: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        merge(result, extended(content, base))
    merge(result, {key: value for key, value in job.items() if key != "extends"})
    return result


def merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def steps(workflow: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each step of a workflow with the name of its job."""
    for job, content in workflow["jobs"].items():
        for step in content.get("steps", []):
            yield job, step
