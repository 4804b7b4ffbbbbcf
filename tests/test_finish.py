"""The hook's `finish` is a pure function from files to files. It needs only the files that it may change."""

from typing import Any

import pytest

from .combinations import LINEAR, PACKAGE, PACKAGE_NAME, SKELETON, TEMPLATE, answers
from .conftest import Bake
from .hooks import load_hook
from .project import Project
from .user import User

Files = dict[str, str]
POST = load_hook("post_gen_project")


@pytest.fixture(scope="module")
def unfinished(user: User, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Return all rendered files before the hook runs."""
    folder = tmp_path_factory.mktemp("unfinished")
    user.run(["cookiecutter", str(TEMPLATE), "--no-input", "--accept-hooks", "no"], cwd=folder)
    return texts(Project(folder / "my-mcp-server", PACKAGE_NAME))


def texts(project: Project) -> Files:
    return {path: content.decode("utf-8") for path, content in project.files().items()}


def given(name: str, http_client: str) -> dict[str, Any]:
    around = {"container": True, "ci": "github", "repository": ""}
    return {"package_name": PACKAGE_NAME, "http_client": http_client, **around, **answers(LINEAR[name])}


DESIGN = [*((name, "httpx2") for name in LINEAR), ("all", "httpx"), ("all-but-self_contained", "httpx")]


@pytest.fixture(params=DESIGN, ids="-".join)
def asked(request: pytest.FixtureRequest) -> dict[str, Any]:
    return given(*request.param)


def reads_answers(path: str) -> bool:
    """Return whether the text of a file depends on the answers."""
    source = SKELETON / path.replace(f"src/{PACKAGE_NAME}", PACKAGE)
    return source.exists() and "cookiecutter." in source.read_text(encoding="utf-8")


def test_all_rendered_files_become_those_of_the_project(
    asked: dict[str, Any], unfinished: Files, bake_once: Bake
) -> None:
    """`unfinished` was rendered with other answers, so the text of files that use answers is not compared."""
    finished, expected = POST.finish(unfinished, asked), texts(bake_once(**asked))
    assert finished.keys() == expected.keys()
    assert {
        path for path in finished if finished[path] != expected[path] and not reads_answers(path)
    } == set()


def test_the_result_is_the_same_for_only_the_files_that_it_may_change(
    asked: dict[str, Any], unfinished: Files
) -> None:
    packages = {f"{folder}/__init__.py" for folder in POST.folders(PACKAGE_NAME)}
    named = POST.template_paths(PACKAGE_NAME) | packages
    some = {path: text for path, text in unfinished.items() if path in named}
    whole = POST.finish(unfinished, asked)
    assert POST.finish(some, asked) == {path: text for path, text in whole.items() if path in named}
    others = unfinished.keys() - named
    assert {path: whole[path] for path in others} == {path: unfinished[path] for path in others}


def test_it_does_not_modify_its_arguments_and_is_deterministic(
    asked: dict[str, Any], unfinished: Files
) -> None:
    files, answered = dict(unfinished), dict(asked)
    first = POST.finish(files, answered)
    assert (files, answered) == (unfinished, asked)
    assert POST.finish(files, answered) == first


def test_a_package_with_a_user_module_is_kept(unfinished: Files) -> None:
    mine = f"src/{PACKAGE_NAME}/patterns/mine.py"
    asked = given("only-self_contained", "httpx2")
    assert f"src/{PACKAGE_NAME}/patterns/__init__.py" not in POST.finish(unfinished, asked)
    kept = POST.finish({**unfinished, mine: "PRICE = 10\n"}, asked)
    assert kept[mine] == "PRICE = 10\n"
    assert f"src/{PACKAGE_NAME}/patterns/__init__.py" in kept
