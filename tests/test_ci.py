"""The CI of a project passes linters and published schemas, has few permissions, and each job works as written."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import product
from pathlib import Path
from threading import Thread
from typing import Any

import jinja2
import pytest
import yaml
from uv import find_uv_bin

from .combinations import SKELETON, TEMPLATE
from .conftest import Bake
from .hooks import load_hook
from .pipelines import (
    PIPELINES,
    THIS_PYTHON,
    GitHub,
    GitLab,
    JobFailedError,
    Machine,
    distributions,
    normalized,
    steps,
)
from .project import assert_passed
from .test_bounds import PYTHONS
from .test_tutorial import FROM_THE_MACHINE

POST = load_hook("post_gen_project")
REPOSITORIES = ["", "https://github.com/Ada/my-mcp-server", "https://gitlab.com/ada/tools/my-mcp-server"]
ON_GITHUB = {"repository": REPOSITORIES[1]}
ON_GITLAB = {"ci": "gitlab", "repository": REPOSITORIES[2]}
PATHS = sorted({path for owner in ("ci", "github", "gitlab") for path in POST.OWNED[owner]})
PIN = r"(\S+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)"
# The permissions of each job beyond reading the repository, with the reason.
RIGHTS = {
    "provenance": {"id-token": "write", "attestations": "write"},
    "pypi": {"id-token": "write"},
    "image": {"contents": "read", "packages": "write"},
    "registry": {"contents": "read", "id-token": "write"},
    "release": {"contents": "write"},
}
CALLED = "process_data, mode {}: {{'words': 2, 'lines': 1, 'characters': 12}}"
FEW_TESTS = "-p no:cacheprovider -k 'process_data or loads_the_file'"


@cache
def rendered(ci: str, *, container: bool, repository: str) -> dict[str, str]:
    """Return the CI files for these answers, by path."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    answers = {"ci": ci, "container": container, "repository": repository, "project_slug": "7-wetter"}
    texts = {path: (SKELETON / path).read_text(encoding="utf-8") for path in PATHS}
    return {
        path: environment.from_string(text).render(cookiecutter=answers)
        for path, text in texts.items()
        if POST.is_chosen(path, answers)
    }


def all_rendered(ci: str) -> Iterator[dict[str, str]]:
    for container, repository in product([True, False], REPOSITORIES):
        yield rendered(ci, container=container, repository=repository)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Write the CI files for each set of answers to a separate repository."""
    found = {}
    for ci in ("github", "gitlab"):
        found[ci] = [tmp_path_factory.mktemp(ci) for _ in all_rendered(ci)]
        for folder, files in zip(found[ci], all_rendered(ci), strict=True):
            for path, text in files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(text, encoding="utf-8")
    return found


def run(*command: object) -> "subprocess.CompletedProcess[str]":
    """Run a program from the test environment."""
    program = shutil.which(str(command[0]), path=str(Path(sys.executable).parent))
    assert program, f"{command[0]} is not installed: run `uv sync`"
    arguments = [str(argument) for argument in command[1:]]
    return subprocess.run([program, *arguments], capture_output=True, check=False, encoding="utf-8")


# Files


def test_the_files_are_those_of_a_project(bake_once: Bake) -> None:
    """The other tests render only the CI files, which is faster."""
    for answers in (ON_GITHUB, ON_GITLAB, {"container": False}, {"ci": "none", **ON_GITHUB}):
        files = bake_once(**answers).files()
        expected = rendered(
            answers.get("ci", "github"),
            container=bool(answers.get("container", True)),
            repository=str(answers.get("repository", "")),
        )
        found = {path: files[path].decode("utf-8") for path in PATHS if path in files}
        assert found == {path: text.replace("7-wetter", "my-mcp-server") for path, text in expected.items()}


def test_without_ci_nothing_is_left_of_it(bake_once: Bake) -> None:
    project = bake_once(ci="none", **ON_GITHUB)
    assert not (project.path / ".github").exists()
    assert not (project.path / "scripts").exists()
    assert "canary" not in project.text("README.md")
    assert "Continuous integration" not in project.text("README.md")


@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_what_was_not_chosen_is_not_in_the_files(ci: str) -> None:
    for container, repository in product([True, False], REPOSITORIES):
        files = rendered(ci, container=container, repository=repository)
        text = "\n".join(text for path, text in files.items() if not path.endswith(".py"))
        assert ("docker " in text) == container
        assert ("pypi" in text) == bool(repository)
        assert ("mcp-publisher" in text) == (ci == "github" and repository == REPOSITORIES[1])
        assert not re.search(r"\n\n\n|[ \t]\n|\{%", text)
        assert "secrets." not in text


def test_linters_and_schemas_accept_the_files_for_github(folders: dict[str, list[Path]]) -> None:
    workflows = [path for folder in folders["github"] for path in folder.glob(".github/workflows/*.yml")]
    assert len(workflows) == 6 * 2 + 4
    assert_passed(run("jactionlint", "--shellcheck=", *workflows))
    assert_passed(run("zizmor", "--quiet", "--offline", "--pedantic", *folders["github"]))
    assert_passed(run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows))
    updates = [folder / ".github" / "dependabot.yml" for folder in folders["github"]]
    assert_passed(run("check-jsonschema", "--builtin-schema", "vendor.dependabot", *updates))


def test_the_published_schemas_accept_the_files_for_gitlab(folders: dict[str, list[Path]]) -> None:
    pipelines = [folder / ".gitlab-ci.yml" for folder in folders["gitlab"]]
    schema = ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"]
    assert_passed(run("check-jsonschema", *schema, *pipelines))
    updates = [folder / "renovate.json" for folder in folders["gitlab"]]
    assert_passed(run("check-jsonschema", "--builtin-schema", "vendor.renovate", *updates))


def test_an_action_is_pinned_by_commit_to_the_version_that_the_template_uses_too() -> None:
    own = "\n".join(path.read_text(encoding="utf-8") for path in (TEMPLATE / ".github").rglob("*.yml"))
    pins = {action: pin for action, *pin in re.findall(f"uses: {PIN}", own)}
    for files in all_rendered("github"):
        for text in files.values():
            for used in re.findall(r"uses: (?!\$/)(.+)", text):
                found = re.fullmatch(PIN, used)
                assert found, used
                action, *pin = found.groups()
                assert pins.setdefault(action, pin) == pin


def test_an_image_has_an_exact_version() -> None:
    text = rendered("gitlab", container=True, repository=REPOSITORIES[2])[".gitlab-ci.yml"]
    images = re.findall(r"(?:image|services): \[?([^\]\n]+)", text)
    assert len(images) > 4
    assert not [image for image in images if not re.search(r":v?\d+\.\d+\.\d+(-[\w.$-]+)?$", image)]


def test_a_workflow_has_the_least_privilege_a_time_limit_and_one_run_at_a_time() -> None:
    for files in all_rendered("github"):
        for path in [path for path in files if "/workflows/" in path]:
            workflow = parse(files[path])
            assert workflow["permissions"] in ({}, {"contents": "read"})
            assert workflow["concurrency"]["group"]
            for name, job in workflow["jobs"].items():
                checks_only = {"contents": "read"} if name in {"checks", "sbom"} else None
                expected = RIGHTS.get(name, checks_only) if "release" in path else None
                assert job.get("permissions") == expected, name
                assert "uses" in job or 0 < job["timeout-minutes"] <= 30
            for _, step in steps(workflow):
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert step["with"] == {"persist-credentials": False}


def parse(text: str) -> dict[str, Any]:
    return normalized(yaml.safe_load(text))


def test_the_tests_run_on_every_supported_python_and_the_other_jobs_on_that_of_the_project(
    bake_once: Bake,
) -> None:
    github = bake_once().text(".github/workflows/ci.yml")
    gitlab = bake_once(**ON_GITLAB).text(".gitlab-ci.yml")
    versions = parse(github)["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions == PYTHONS
    assert parse(gitlab)["test"]["parallel"]["matrix"] == [{"PYTHON": versions}]
    assert f"-python{bake_once().text('.python-version').strip()}-" in parse(gitlab)["default"]["image"]


def test_only_a_tag_releases_and_only_after_all_checks() -> None:
    workflow = parse(
        rendered("github", container=True, repository=REPOSITORIES[1])[".github/workflows/release.yml"]
    )
    assert workflow["on"] == {"push": {"tags": ["v*"]}}
    jobs = workflow["jobs"]
    assert jobs["pypi"]["environment"] == "pypi"
    for name in ("pypi", "image", "registry", "release"):
        waited, waiting = set[str](), [name]
        while waiting:
            needed = set(jobs[waiting.pop()].get("needs", []))
            waiting += needed - waited
            waited |= needed
        assert {"checks", "sbom"} <= waited, name


def test_the_release_does_not_cancel_its_own_checks() -> None:
    """In a called workflow, `github.workflow` is the caller's name, and concurrency groups are case-insensitive."""
    files = rendered("github", container=True, repository=REPOSITORIES[1])
    groups = [
        parse(files[f".github/workflows/{name}.yml"])["concurrency"]["group"]
        for name in ("ci", "release", "canary")
    ]
    assert len({group.lower().split("-")[0] for group in groups}) == 3
    assert not [group for group in groups if "github.workflow" in group]


def test_the_canary_runs_weekly() -> None:
    workflow = parse(rendered("github", container=True, repository="")[".github/workflows/canary.yml"])
    ((schedule),) = workflow["on"]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", schedule["cron"])


def test_new_versions_wait_a_week() -> None:
    for container in (True, False):
        updates = parse(rendered("github", container=container, repository="")[".github/dependabot.yml"])[
            "updates"
        ]
        ecosystems = {update["package-ecosystem"] for update in updates}
        assert ecosystems == {"uv", "github-actions"} | ({"docker", "docker-compose"} if container else set())
        assert {update["cooldown"]["default-days"] for update in updates} == {7}
    renovate = json.loads(rendered("gitlab", container=True, repository="")["renovate.json"])
    assert renovate["minimumReleaseAge"] == "7 days"


EXPECTED_JOBS = {
    "merge request": {"lint", "type-check", "test", "production", "build", "audit", "build-image"},
    "other branch": set(),
    "other tag": set(),
    "schedule": {"canary"},
}
EXPECTED_JOBS["default branch"] = EXPECTED_JOBS["merge request"]
EXPECTED_JOBS["tag"] = EXPECTED_JOBS["merge request"] | {"sbom", "pypi", "push-image", "release"}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_pipeline_on_gitlab_has_the_right_jobs(pipeline: str, bake_once: Bake, tmp_path: Path) -> None:
    machine = Machine(tmp_path, bake_once(**ON_GITLAB).path, {}, "")
    jobs = GitLab(machine, pipeline).jobs()
    assert jobs.keys() == EXPECTED_JOBS[pipeline]
    assert [name for name, job in jobs.items() if job["stage"] != "check" and job["interruptible"]] == []


def test_both_services_run_the_same_commands() -> None:
    """The files of both services differ only in how they publish."""
    for container in (True, False):
        github = parse(rendered("github", container=container, repository="")[".github/workflows/ci.yml"])
        gitlab = parse(rendered("gitlab", container=container, repository="")[".gitlab-ci.yml"])
        checks = [line for job in gitlab.values() if isinstance(job, dict) for line in job.get("script", [])]
        assert {step["run"] for _, step in steps(github) if "run" in step} == set(checks)


@pytest.mark.parametrize("answers", [{}, ON_GITHUB, ON_GITLAB, {"container": False}], ids=str)
def test_the_readme_shows_the_commands_of_ci(answers: dict[str, Any], bake_once: Bake) -> None:
    project = bake_once(**answers)
    section = project.text("README.md").split("\n## Continuous integration\n")[1].partition("\n## ")[0]
    test_it = project.text("README.md").split("\n## Test it\n")[1].partition("\n## ")[0]
    (block,) = re.findall(r"```sh\n(.+?)```", section, flags=re.DOTALL)
    shown = [*block.splitlines(), *re.findall(r"^uv run .+$", test_it, flags=re.MULTILINE)]
    ci = project.path / (".gitlab-ci.yml" if answers.get("ci") == "gitlab" else ".github/workflows/ci.yml")
    checks = ci.read_text(encoding="utf-8").partition("\n.release:\n")[0]
    commands = re.findall(r"(?:run: |- )((?:uv (?!lock)|docker ).+)", checks)
    shown = ["uv run pytest --ignore=tests/production" if line == "uv run pytest" else line for line in shown]
    assert set(commands) <= set(shown)
    assert set(block.splitlines()) <= set(commands)


# Jobs


class Advisories(BaseHTTPRequestHandler):
    """The part of the OSV service that uv queries. It reports `vulnerable` as vulnerable, if set."""

    vulnerable = ""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
        found = {"vulns": [{"id": "OSV-1", "modified": "2026-01-01T00:00:00Z"}]}
        self.answer(
            {"results": [found if one["package"]["name"] == self.vulnerable else {} for one in asked]}
        )

    def do_GET(self) -> None:
        affected = [{"package": {"name": self.vulnerable, "ecosystem": "PyPI"}}]
        self.answer({"id": "OSV-1", "modified": "2026-01-01T00:00:00Z", "affected": affected})

    def answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def advisories(vulnerable: str = "") -> Iterator[str]:
    handler = type("Handler", (Advisories,), {"vulnerable": vulnerable})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def variables() -> dict[str, str]:
    """Return the variables of this machine that determine which packages uv installs, and options for pytest."""
    cached = subprocess.run([find_uv_bin(), "cache", "dir"], capture_output=True, text=True, check=True)
    kept = {name: value for name, value in os.environ.items() if FROM_THE_MACHINE.fullmatch(name)}
    return {
        **kept,
        "UV_CACHE_DIR": cached.stdout.strip(),
        "UV_PYTHON_DOWNLOADS": "never",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": f"-p anyio {FEW_TESTS}",
    }


@pytest.fixture
def machine(
    bake: Bake, variables: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Machine]:
    """Yield a machine with a project that has a uv.lock. The parameter contains its answers."""
    project = bake(**request.param)
    (project.path / ".python-version").write_text(f"{THIS_PYTHON}\n", encoding="utf-8")
    with advisories() as url:
        home = {"HOME": str(tmp_path / "home")}
        machine = Machine(tmp_path / "machine", project.path, {**variables, **home}, url)
        lock(machine)
        yield machine


def lock(machine: Machine) -> None:
    environment = machine.environment(with_uv=True)
    machine.run("lock", "uv lock", machine.project, environment, "sh -e -c")


def passed(machine: Machine, job: str) -> int:
    """Return the number of tests that passed in a job."""
    return sum(map(int, re.findall(r"(\d+) passed", machine.printed[job])))


needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="the jobs run on Linux")


@needs_posix
@pytest.mark.matrix
@pytest.mark.parametrize("machine", [ON_GITHUB], indirect=True, ids=["published"])
def test_every_job_on_github_works_as_written(machine: Machine) -> None:
    github = GitHub(machine, tag="v0.1.0")
    digest = subprocess.run(["sha256sum", machine.archive], capture_output=True, text=True, check=True)
    github.run("release.yml", SHA256=digest.stdout.split()[0])
    github.run("canary.yml")
    assert github.ran == [
        *("lint", "types", "test", "production", "build", "audit", "image"),
        *("checks", "sbom", "provenance", "pypi", "image", "registry", "release", "canary"),
    ]
    assert_checks_passed(machine)
    assert distributions(machine.artifacts / "dist") == [".gz", ".whl"]
    image = "ghcr.io/ada/my-mcp-server:0.1.0"
    push = ["--pull", "--push", "--sbom=true", "--provenance=mode=max", "--tag", image, "."]
    *checks, login, create, build, download, publisher_login, publish, release = machine.calls()
    assert checks == DOCKER_CHECKS
    assert login == ["docker", "login", "ghcr.io", "--username", "Ada", "--password-stdin", "the-token"]
    assert create == ["docker", "buildx", "create", "--use"]
    assert build == ["docker", "buildx", "build", *push]
    assert download[0] == "curl"
    assert download[-1].startswith(
        "https://github.com/modelcontextprotocol/registry/releases/download/v1.8.0/"
    )
    assert publisher_login == ["mcp-publisher", "login", "github-oidc"]
    assert publish == ["mcp-publisher", "publish"]
    assert release[:5] == ["gh", "release", "create", "v0.1.0", "--verify-tag"]
    assert [Path(name).suffix for name in release[-3:]] == [".whl", ".gz", ".json"]


DOCKER_CHECKS = [
    ["docker", "build", "--pull", "--tag", "my-mcp-server", "."],
    ["docker", "run", "--rm", "--read-only", "my-mcp-server", "--help"],
]


def assert_checks_passed(machine: Machine) -> None:
    types = "types" if "types" in machine.printed else "type-check"
    assert "All checks passed!" in machine.printed["lint"]
    assert "Success: no issues found" in machine.printed[types]
    assert passed(machine, "test")
    assert passed(machine, "production")
    assert "no known vulnerabilities" in machine.printed["audit"]
    for job in ("build", "canary"):
        for mode in ("auto", "legacy"):
            assert (
                f"process_data, mode {mode}: {{'words': 2, 'lines': 1, 'characters': 12}}"
                in machine.printed[job]
            )


@needs_posix
@pytest.mark.matrix
@pytest.mark.parametrize("machine", [ON_GITLAB], indirect=True, ids=["published"])
def test_every_job_on_gitlab_works_as_written(machine: Machine) -> None:
    GitLab(machine, "schedule").run()
    gitlab = GitLab(machine, "tag")
    gitlab.run()
    assert set(gitlab.ran) == EXPECTED_JOBS["tag"]
    assert_checks_passed(machine)
    assert distributions(machine.artifacts / "build" / "dist") == [".gz", ".whl"]
    image = "registry.example.com/ada/my-mcp-server:0.1.0"
    push = ["--pull", "--push", "--sbom=true", "--provenance=mode=max", "--tag", image, "."]
    *checks, login, context, create, build, release, sign, publish = machine.calls()
    assert checks == DOCKER_CHECKS
    assert sign[:3] == ["uvx", "pypi-attestations@0.0.30", "sign"]
    assert [Path(name).suffix for name in sign[3:]] == [".whl", ".gz"]
    assert publish == ["publish", "publish", "--trusted-publishing", "always"]
    assert login == [
        "docker",
        "login",
        "registry.example.com",
        "--username",
        "ada",
        "--password-stdin",
        "the-token",
    ]
    assert context == ["docker", "context", "create", "builder"]
    assert create == ["docker", "buildx", "create", "--use", "builder"]
    assert build == ["docker", "buildx", "build", *push]
    assert release[:4] == ["glab", "release", "create", "v0.1.0"]
    # The token of a job may not upload files to the project, only packages.
    assert "--use-package-registry" in release
    assert [Path(name).suffix for name in release[-3:]] == [".whl", ".gz", ".json"]


def test_gitlab_publishes_to_pypi_last_because_that_cannot_be_undone(bake_once: Bake, tmp_path: Path) -> None:
    jobs = GitLab(Machine(tmp_path, bake_once(**ON_GITLAB).path, {}, ""), "tag").jobs()
    assert list(jobs)[-1] == "pypi"
    assert "needs" not in jobs["pypi"]
    assert [name for name, job in jobs.items() if job["stage"] == jobs["pypi"]["stage"]] == ["pypi"]


@needs_posix
@pytest.mark.matrix
@pytest.mark.parametrize("machine", [ON_GITHUB], indirect=True, ids=["published"])
def test_a_job_fails_for_its_reason(machine: Machine) -> None:
    """Break one thing at a time: only the job that checks it fails."""
    github = GitHub(machine, tag="v0.2.0")
    with pytest.raises(JobFailedError, match="uv version --short"):
        github.run("release.yml", "sbom")
    with pytest.raises(JobFailedError, match="FAILED"):
        github.run("release.yml", "registry")
    with advisories("anyio") as machine.advisories, pytest.raises(JobFailedError, match="OSV-1"):
        github.run("ci.yml", "audit")
    (machine.project / "uv.lock").unlink()
    github.run("ci.yml", "lint")  # before the first lock is committed
    with pytest.raises(JobFailedError, match="Unable to find lockfile"):
        GitHub(machine, tag="v0.1.0").run("release.yml", "sbom")
    lock(machine)
    pyproject = machine.project / "pyproject.toml"
    pyproject.write_text(
        pyproject.read_text(encoding="utf-8").replace('"anyio>=4.11,', '"anyio>=4.12,'), encoding="utf-8"
    )
    with pytest.raises(JobFailedError, match="needs to be updated"):
        github.run("ci.yml", "lint")


@needs_posix
@pytest.mark.matrix
@pytest.mark.parametrize("machine", [{}], indirect=True, ids=["default"])
def test_the_canary_ignores_the_lock_file_and_names_the_tool_that_is_missing(machine: Machine) -> None:
    lockfile = machine.project / "uv.lock"
    lockfile.write_text("This is not a lock file.\n", encoding="utf-8")
    GitHub(machine).run("canary.yml")
    for mode in ("auto", "legacy"):
        assert CALLED.format(mode) in machine.printed["canary"]
    server = machine.project / "src" / "my_mcp_server" / "server.py"
    text = server.read_text(encoding="utf-8")
    server.write_text(text.replace("        process_data,\n", ""), encoding="utf-8")
    missing = r"There is no tool process_data\. Name one in \S+canary\.py: \w+, \w+"
    with pytest.raises(JobFailedError, match=missing):
        GitHub(machine).run("canary.yml")


def test_the_canary_is_typed(bake_once: Bake) -> None:
    assert_passed(bake_once().run("-m", "mypy", "--strict", "--cache-dir", os.devnull, "scripts/canary.py"))
