"""Generating over an existing project keeps what the user wrote.

`-f` regenerates the template's files from the new answers, and does not change other files. With `-f -s`, it only
adds missing files.
"""

import ast
import contextlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter

from .combinations import PACKAGE, PACKAGE_NAME, PATTERNS, PROMPTS, TEMPLATE
from .conftest import Bake
from .hooks import HOOKS, hook_constant, hook_function, load_hook
from .project import Project, assert_passed
from .test_coupling import FILES, name_of
from .user import User

Answers = dict[str, Any]
Tree = dict[str, bytes]
Grow = Callable[[Answers], Project]
Generate = Callable[..., None]

SHARED = (
    *("upstream", "example_api", "database", "redis_client", "results"),
    *("engines", "postgres_engine", "redis_engine"),
    *("api_client", "api_failures", "api_urls", "encrypted_store", "first_use"),
)
# Names that a rule by name, folder or content could mistake for files of the template.
NAMES = [*PATTERNS, *SHARED, *(f"test_{name}" for name in PATTERNS)]
IMPORTS = """\
import httpx2 as httpx

from my_mcp_server.patterns.retry import Retrying

USED = (httpx, Retrying)
"""
FOREIGN = {
    **{f"docs/{name}.md": f"# {name}\n" for name in NAMES},
    **{f"data/{name}.csv": "1,2\n" for name in NAMES},
    **{f"{name}.json": "{}\n" for name in NAMES},
    **{f".venv/lib/site-packages/fastmcp/{name}.py": IMPORTS for name in NAMES},
    **{f"node_modules/{name}/{name}.js": "" for name in NAMES},
    **{f"src/{PACKAGE_NAME}/{name}.py": IMPORTS for name in PATTERNS},
    **{f"src/{PACKAGE_NAME}/tools/{name}/{name}.py": IMPORTS for name in NAMES},
    **{f"src/{PACKAGE_NAME}/runtime/test_{name}.py": IMPORTS for name in PATTERNS},
    **{f"src/other/patterns/{name}.py": IMPORTS for name in PATTERNS},
    **{f"tests/{name}.py": IMPORTS for name in PATTERNS},
    **{f"tests/surface/{name}.py": IMPORTS for name in NAMES},
    **{f"tests/unit/{name}.py": IMPORTS for name in NAMES},
    f"src/{PACKAGE_NAME}/patterns/mine.py": IMPORTS,
    f"src/{PACKAGE_NAME}/api_client.py": IMPORTS,
    f"src/{PACKAGE_NAME}/tools/weather.py": "from ..patterns.mine import USED\n",
    f"src/{PACKAGE_NAME}/tools/rate_limiting.py": IMPORTS,
    f"src/{PACKAGE_NAME}/tools/helpers.py": IMPORTS.replace("\n", "\r\n"),
    f"src/{PACKAGE_NAME}/prices.py": "# -*- coding: latin-1 -*-\nPRICE = '10 \xa3'\n",
    "tests/surface/weather.json": "{}\n",
    "tests/surface/structured_logging.json": "{}\n",
    "scripts/load.py": IMPORTS,
    "notes": "retry\n",
}
EDIT = b"# edited\n"

HTTPX = {"http_client": "httpx"}
IDENTITY = {
    "description": "It quotes.",
    "author_name": "Ada",
    "license": "Apache-2.0",
    "package_name": "quoting",
}
# The answers of a project, and the answers for generating it again.
CHANGES: dict[str, tuple[Answers, Answers]] = {
    "nothing": ({}, {}),
    **{f"to-{name}": ({}, {name: not PROMPTS[name]}) for name in PATTERNS},
    **{f"from-{name}": ({name: not PROMPTS[name]}, {}) for name in PATTERNS},
    "to-httpx": ({}, HTTPX),
    "from-httpx": (HTTPX, {}),
    "to-one-file-with-httpx": ({}, {"self_contained": True, **HTTPX}),
    "to-none": ({}, dict.fromkeys(PATTERNS, False)),
    "from-none": (dict.fromkeys(PATTERNS, False), {}),
    **{f"to-{name}": ({}, {name: value}) for name, value in IDENTITY.items()},
}
QUICK = (
    "nothing",
    "to-retry",
    "from-retry",
    "to-self_contained",
    "from-self_contained",
    "to-httpx",
    "to-none",
)
EACH = pytest.mark.parametrize(
    "change", [name if name in QUICK else pytest.param(name, marks=pytest.mark.matrix) for name in CHANGES]
)


def tree(folder: Path) -> Tree:
    """Return the content of every file in a folder, and the target of every symbolic link."""
    found = {}
    for root, folders, names in os.walk(folder):
        if "__pycache__" in folders and ".venv" not in Path(root).parts:
            folders.remove("__pycache__")  # left by other tests that ran the project
        for name in (*names, *(name for name in folders if Path(root, name).is_symlink())):
            path = Path(root, name)
            content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
            found[path.relative_to(folder).as_posix()] = content
    return found


@pytest.fixture(scope="module")
def foreign(user: User, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a Git repository of files that are not from the template. Tests must not change it."""
    folder = tmp_path_factory.mktemp("foreign") / "project"
    for name, text in FOREIGN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode("latin-1"))
    (folder / "data" / "retry.csv").chmod(0o444)
    elsewhere = folder.parent / "elsewhere"
    for name in NAMES:
        (elsewhere / name).mkdir(parents=True)
        (elsewhere / f"{name}.py").write_text(IMPORTS, encoding="utf-8")
    with contextlib.suppress(OSError):  # Windows may not allow symbolic links
        (folder / "data" / "caching").symlink_to(elsewhere, target_is_directory=True)
        (folder / "tests" / "linked").symlink_to(elsewhere, target_is_directory=True)
        (folder / "tests" / "unit" / "test_data.py").symlink_to(elsewhere / "retry.py")
    user.commit(folder, "Begin")
    for name in NAMES:
        user.git("branch", name, cwd=folder)
    return folder


@pytest.fixture
def generate(tmp_path: Path) -> Generate:
    """Return a function that generates over a project with the real Cookiecutter."""
    configuration = tmp_path / "configuration"
    configuration.write_text(f"replay_dir: '{tmp_path / 'replay'}'\n", encoding="utf-8")

    def generated(project: Project, answers: Answers, *, keep: bool = False, hooks: bool = True) -> None:
        made = cookiecutter(
            str(TEMPLATE),
            no_input=True,
            extra_context=answers,
            output_dir=str(project.path.parent),
            config_file=str(configuration),
            overwrite_if_exists=True,
            skip_if_file_exists=keep,
            accept_hooks=hooks,
        )
        assert Path(made) == project.path

    return generated


@pytest.fixture
def grown(bake: Bake, foreign: Path) -> Grow:
    """Return a function that creates a project with edited files and the user's own files."""

    def project(answers: Answers) -> Project:
        made = bake(**answers)
        for path in made.path.rglob("*.*"):
            if path.is_file():
                path.write_bytes(path.read_bytes() + EDIT)
        shutil.copytree(foreign, made.path, symlinks=True, dirs_exist_ok=True)
        return made

    return project


@EACH
def test_overwriting_changes_only_the_files_of_the_template(
    change: str, grown: Grow, foreign: Path, bake_once: Bake, generate: Generate
) -> None:
    before, after = CHANGES[change]
    project = grown(before)
    edited, elsewhere = tree(project.path), tree(foreign.parent / "elsewhere")
    generate(project, after)
    expected = {**tree(bake_once(**after).path), **tree(foreign)}
    expected[f"src/{PACKAGE_NAME}/patterns/__init__.py"] = b""  # the user's own pattern is in that package
    if after.get("package_name"):
        expected = {**expected, **edited, **expected}
        expected[f"src/{PACKAGE_NAME}/patterns/__init__.py"] = EDIT  # this is another package now
    assert tree(project.path) == expected
    assert tree(foreign.parent / "elsewhere") == elsewhere


@EACH
def test_keeping_existing_files_changes_none_and_adds_missing_ones(
    change: str, grown: Grow, bake_once: Bake, generate: Generate
) -> None:
    before, after = CHANGES[change]
    project = grown(before)
    edited = tree(project.path)
    generate(project, after, keep=True)
    found = tree(project.path)
    assert {name: found.get(name) for name in edited} == edited
    layout = {} if before.get("self_contained") else {"self_contained": False}
    assert found.keys() == edited.keys() | tree(bake_once(**{**after, **layout}).path).keys()


def test_a_project_that_keeps_the_modules_of_its_patterns_is_not_folded(
    bake: Bake, generate: Generate
) -> None:
    """utils.py would lack these patterns, and new files would import them from there."""
    project = bake()
    before = project.files()
    for path in ("src/my_mcp_server/tools/retry.py", "tests/tools/test_retry.py", "tests/surface/retry.json"):
        (project.path / path).unlink()
    generate(project, {"self_contained": True}, keep=True)
    assert project.files() == before


def test_the_patterns_folder_is_removed_with_its_bytecode(bake: Bake, generate: Generate) -> None:
    project = bake()
    cache = project.package / "patterns" / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "retry.cpython-311.pyc").write_bytes(b"")
    generate(project, {"self_contained": True})
    assert not cache.parent.exists()


@pytest.mark.parametrize("name", ["utils.py", "utils/__init__.py"])
def test_a_users_module_named_utils_is_not_mistaken_for_the_templates(
    name: str, bake: Bake, generate: Generate, capfd: pytest.CaptureFixture[str]
) -> None:
    project = bake()
    own = project.package / name
    own.parent.mkdir(exist_ok=True)
    own.write_bytes(b"# -*- coding: latin-1 -*-\nPRICE = '10 \xa3'\n")
    edited = tree(project.path)
    with pytest.raises(FailedHookException):
        generate(project, {"self_contained": True})
    assert "Rename your module first" in capfd.readouterr().err
    assert tree(project.path) == edited
    generate(project, {})
    assert tree(project.path) == edited


@pytest.mark.parametrize("name", ["tests/patterns/test_retry.py", "tests/surface"])
def test_a_symbolic_link_in_place_of_a_template_file_or_folder_is_kept(
    name: str, bake: Bake, generate: Generate, tmp_path: Path
) -> None:
    """Cookiecutter writes to the link's target, but the hook does not delete anything there."""
    project = bake()
    elsewhere = tmp_path / "elsewhere"
    (project.path / name).rename(elsewhere)
    (project.path / name).symlink_to(elsewhere, target_is_directory=elsewhere.is_dir())
    before = set(tree(elsewhere)) if elsewhere.is_dir() else elsewhere.read_bytes()
    generate(project, {"retry": False})
    assert (project.path / name).is_symlink()
    assert before == (set(tree(elsewhere)) if elsewhere.is_dir() else elsewhere.read_bytes())


def test_a_project_whose_hooks_did_not_run_is_fixed_by_the_command_that_it_names(
    bake_once: Bake, bake: Bake, generate: Generate
) -> None:
    project = bake()
    generate(project, {"retry": False}, hooks=False)
    run = project.run_tests("tests/test_architecture.py")
    assert run.returncode == 1
    assert "hooks of its template did not run" in run.stderr
    command = re.search(r"^.*: cookiecutter TEMPLATE (.+)$", run.stderr, flags=re.MULTILINE)
    assert command
    assert command[1].split() == ["--overwrite-if-exists", "--accept-hooks", "yes"]
    generate(project, {"retry": False})
    assert project.files() == bake_once(retry=False).files()
    assert_passed(project.run_tests("tests/test_architecture.py"))


def test_the_hook_lists_exactly_the_files_that_an_answer_removes_or_changes(bake_once: Bake) -> None:
    named = {
        form.format(package=PACKAGE.removeprefix("src/"), name=name)
        for form, names in load_hook("post_gen_project").FILES.items()
        for name in names
    }
    owned = {name_of(path) for path in FILES if path.stem.removeprefix("test_") in (*PATTERNS, *SHARED)}
    plain, other = bake_once().files(), bake_once(self_contained=True, http_client="httpx").files()
    changed = {
        name.replace(PACKAGE_NAME, PACKAGE.removeprefix("src/"))
        for name in plain
        if plain[name] != other.get(name)
    }
    assert named >= owned
    assert named - owned == {f"{PACKAGE}/__main__.py", f"{PACKAGE}/server.py", "tests/__init__.py"}
    assert changed - named <= {"AGENTS.md", "README.md", "pyproject.toml", f"{PACKAGE}/patterns/__init__.py"}


@pytest.mark.parametrize("name", ["KEPT", "HEADER", "EXISTED", "SAVED"])
def test_both_hooks_have_the_same_constants(name: str) -> None:
    values = [ast.literal_eval(hook_constant(f"{when}_gen_project", name)) for when in ("pre", "post")]
    assert values[0] == values[1]


@pytest.mark.parametrize("name", ["shell_quoted", "is_compared"])
def test_both_hooks_have_the_same_functions(name: str) -> None:
    """A hook cannot import another file of the template."""
    pre, post = (hook_function(hook, name) for hook in HOOKS)
    assert pre == post
