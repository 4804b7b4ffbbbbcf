"""Files with secrets reach neither a commit, nor an image, nor a bundle, whatever was answered."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from .combinations import SKELETON
from .conftest import Bake, Projects
from .images import sent
from .project import Project

# Every file that may contain a secret under some answers: `.env`, the secrets of Compose and those of Kubernetes.
SECRETS = [
    *(".env", ".env.local", ".env.production", "secrets/database_url", "secrets/postgres_password"),
    *("deploy/kubernetes/secrets/api_key", "deploy/kubernetes/secrets.env"),
]
IN_PACKAGE = [".env", ".env.local", "secrets.env", "secrets/api_key"]


def ignored(folder: Path, paths: Sequence[str]) -> list[str]:
    """Return the paths that Git ignores."""
    subprocess.run(["git", "init", "--quiet", "."], cwd=folder, check=True)
    done = subprocess.run(
        ["git", "check-ignore", *paths], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout.splitlines()


def with_secrets(project: Project) -> list[str]:
    """Write all files with secrets, and return their paths."""
    paths = [*SECRETS, *(f"src/{project.package_name}/{name}" for name in IN_PACKAGE)]
    for name in paths:
        (project.path / name).parent.mkdir(parents=True, exist_ok=True)
        (project.path / name).write_text("secret", encoding="utf-8")
    return paths


def test_no_answer_changes_what_git_ignores() -> None:
    """Otherwise an update that removes a pattern would let Git add a file with secrets that already exists."""
    text = (SKELETON / ".gitignore").read_text(encoding="utf-8")
    assert not {"{{", "{%", "{#"} & {text[start : start + 2] for start in range(len(text))}


@pytest.mark.parametrize("name", ["none", "all"])
def test_git_adds_no_file_with_secrets(name: str, projects: Projects, tmp_path: Path) -> None:
    project = projects(name)
    (tmp_path / ".gitignore").write_text(project.text(".gitignore"), encoding="utf-8")
    written = with_secrets(Project(tmp_path, project.package_name))
    assert ignored(tmp_path, written) == written


def test_git_adds_every_file_of_a_new_project(bake: Bake) -> None:
    project = bake(repository="https://github.com/octo-org/my-mcp-server")
    files = list(project.files())
    assert ".env.example" in files
    assert ignored(project.path, files) == []


def test_no_secret_is_sent_to_the_builder_of_an_image(bake: Bake) -> None:
    project = bake()
    before = sent(project.path)
    with_secrets(project)
    assert sent(project.path) == before


def test_no_secret_is_packed_in_a_bundle(bake: Bake) -> None:
    """Bundles are packed by the rules of .gitignore, in a file of their own."""
    project = bake(repository="https://github.com/octo-org/my-mcp-server")
    written = with_secrets(project)
    (project.path / ".mcpbignore").replace(project.path / ".gitignore")
    assert ignored(project.path, written) == written
    kept = ["pyproject.toml", "uv.lock", f"src/{project.package_name}/server.py"]
    assert ignored(project.path, kept) == []
