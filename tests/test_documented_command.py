"""The commands of the README work as written, with a folder instead of GitHub."""

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import anyio
import pytest
from fastmcp import Client
from fastmcp.client.transports import StdioTransport

from .combinations import NONE, PATTERNS, PROMPTS, REPOSITORY, SKELETON, TEMPLATE, answers
from .conftest import Bake
from .project import RECORD, Project, assert_passed
from .user import User

README = (TEMPLATE / "README.md").read_text(encoding="utf-8")
PATTERNS_LATER = (TEMPLATE / "docs" / "patterns-later.md").read_text(encoding="utf-8")
UPGRADING = (TEMPLATE / "docs" / "upgrading.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^cookiecutter gh:.*$", README, flags=re.MULTILINE)
REPOSITORIES = sorted({shlex.split(command)[1].removeprefix("gh:") for command in COMMANDS})
ENTER_EVERYWHERE = "\n" * len(PROMPTS)


@pytest.fixture(scope="module")
def online(published: Path, tmp_path_factory: pytest.TempPathFactory) -> User:
    """Return a user for whom GitHub has the template with releases v1.0.0 and v1.1.0. The latter adds a file."""
    home = tmp_path_factory.mktemp("online")
    online = User(home)
    github = home / "github"
    work = home / "work"
    online.git("clone", "--quiet", str(published), str(work), cwd=home)
    online.git("tag", "v1.0.0", cwd=work)
    (work / SKELETON.name / "SINCE.md").write_text("Since the release.\n", encoding="utf-8")
    online.commit(work, "Add a file")
    online.git("tag", "v1.1.0", cwd=work)
    for repository in REPOSITORIES:
        online.git("clone", "--quiet", "--bare", str(work), str(github / f"{repository}.git"), cwd=home)
    configuration = f'[url "{github.as_uri()}/"]\n    insteadOf = https://github.com/\n'
    (home / ".gitconfig").write_text(configuration, encoding="utf-8")
    return online


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "projects"
    path.mkdir()
    return path


def update_words(page: str) -> list[list[str]]:
    """Return the arguments of each update command in a page that contains the template's address."""
    address = re.escape(f"https://raw.githubusercontent.com/{REPOSITORY}/main/update.py")
    return [shlex.split(words) for words in re.findall(rf"uv run {address}(.*?)[`\n]", page)]


def project_in(folder: Path) -> Project:
    """Return the only project in a folder."""
    (path,) = folder.iterdir()
    (package,) = (path / "src").iterdir()
    return Project(path, package.name)


def given(command: str) -> dict[str, str]:
    """Return the answers in a command line."""
    return dict(word.split("=", 1) for word in shlex.split(command) if "=" in word and word[0] != "-")


def test_the_readme_names_one_repository_and_shows_the_command_with_and_without_prompts() -> None:
    assert REPOSITORIES == [REPOSITORY]
    assert [command for command in COMMANDS if "--no-input" in command]
    assert [command for command in COMMANDS if "--no-input" not in command]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_generates_the_project(
    command: str, online: User, bake: Bake, folder: Path
) -> None:
    assert_passed(online.run(command, cwd=folder, typed=ENTER_EVERYWHERE))
    files = project_in(folder).files()
    assert files.pop("SINCE.md") == b"Since the release.\n"
    assert files == bake(**given(command)).files()


def test_the_shortest_command_takes_the_newest_commit(online: User, bake: Bake, folder: Path) -> None:
    assert_passed(online.run(f"cookiecutter gh:{REPOSITORIES[0]} --no-input", cwd=folder))
    files = project_in(folder).files()
    assert files.pop("SINCE.md") == b"Since the release.\n"
    assert files == bake().files()


def test_a_release_can_be_checked_out(online: User, bake: Bake, folder: Path) -> None:
    command = f"cookiecutter gh:{REPOSITORIES[0]} --no-input --checkout v1.0.0"
    assert_passed(online.run(command, cwd=folder))
    assert project_in(folder).files() == bake().files()


def test_a_recipe_works_with_a_release_too(online: User, bake: Bake, folder: Path) -> None:
    shutil.copytree(TEMPLATE / "recipes", folder / "recipes")
    command = f"cookiecutter gh:{REPOSITORIES[0]} --checkout v1.0.0 --replay-file recipes/minimal.json"
    assert_passed(online.run(command, cwd=folder, typed=ENTER_EVERYWHERE))
    shutil.rmtree(folder / "recipes")
    assert project_in(folder).files() == bake(**answers(NONE)).files()


@pytest.mark.parametrize("page", [README, PATTERNS_LATER], ids=["readme", "patterns-later"])
def test_the_update_command_of_a_page_updates_a_generated_project(
    page: str, online: User, bake: Bake, folder: Path
) -> None:
    assert_passed(online.run(COMMANDS[0], cwd=folder, typed=ENTER_EVERYWHERE))
    project = project_in(folder)
    online.commit(project.path, "Create")
    (words,) = update_words(page)
    assert_passed(online.run([sys.executable, str(TEMPLATE / "update.py"), *words], cwd=project.path))
    files = {name: text for name, text in project.files().items() if not name.startswith(".git/")}
    assert files.pop("SINCE.md") == b"Since the release.\n"
    assert files == bake(**given(shlex.join(words))).files()


def test_the_upgrade_guide_generates_from_a_version_and_takes_a_newer_one(
    online: User, bake: Bake, folder: Path
) -> None:
    (generate,) = re.findall(r"^cookiecutter .+ --checkout v1\.0\.0$", UPGRADING, flags=re.MULTILINE)
    assert_passed(online.run(generate, cwd=folder, typed=ENTER_EVERYWHERE))
    project = project_in(folder)
    assert project.files() == bake().files()
    online.commit(project.path, "Create")
    (words,) = update_words(UPGRADING)
    assert_passed(online.run([sys.executable, str(TEMPLATE / "update.py"), *words], cwd=project.path))
    assert project.files()["SINCE.md"] == b"Since the release.\n"
    assert json.loads(project.text(RECORD))["checkout"] == "v1.1.0"


def test_the_documented_commands_work_with_a_clone(
    user: User, published: Path, bake: Bake, folder: Path
) -> None:
    clone = folder / "mcp-server-template"
    user.git("clone", "--quiet", str(published), str(clone), cwd=folder)
    create, _ = re.findall(r"^\.tools/bin/(cookiecutter \. --output-dir \.\.) ", README, flags=re.MULTILINE)
    assert_passed(user.run(create, cwd=clone, typed=ENTER_EVERYWHERE))
    project = Project(folder / "my-mcp-server", "my_mcp_server")
    user.commit(project.path, "Create")
    (words,) = re.findall(
        r"^uv run \.\./mcp-server-template/(update\.py .+)$", PATTERNS_LATER, flags=re.MULTILINE
    )
    script, *answers = shlex.split(words)
    assert_passed(user.run([sys.executable, str(clone / script), *answers], cwd=project.path))
    without_git = {name: text for name, text in project.files().items() if not name.startswith(".git/")}
    assert without_git == bake(**given(words)).files()
    (difference, cruft) = re.findall(r"^uvx (cruft .+)$", PATTERNS_LATER, flags=re.MULTILINE)
    user.commit(project.path, "Update")
    assert_passed(user.run(cruft, cwd=project.path))
    assert_passed(user.run(f"{difference} --exit-code", cwd=project.path))


@pytest.mark.parametrize("chosen", [frozenset(PATTERNS), NONE], ids=["all", "none"])
def test_a_project_generated_without_the_hooks_is_not_pruned_but_works(
    chosen: frozenset[str], user: User, folder: Path
) -> None:
    words = [f"{name}={answer}" for name, answer in answers(chosen).items()]
    command = ["cookiecutter", str(TEMPLATE), "--no-input", "--accept-hooks", "no", *words]
    assert_passed(user.run(command, cwd=folder))
    project = project_in(folder)
    assert (project.package / "patterns" / "retry.py").is_file()
    transport = StdioTransport(
        sys.executable,
        ["-m", project.package_name],
        env={"PYTHONPATH": str(project.path / "src"), "HOME": str(folder)},
        keep_alive=False,
        log_file=folder / "log",
    )

    async def words_counted() -> int:
        async with Client(transport) as client:
            result = await client.call_tool("process_data", {"text": "tea for two"})
            return int(result.data.words)

    assert anyio.run(words_counted) == 3
