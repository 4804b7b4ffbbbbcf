"""The engine detects the faults that are planted in a small template."""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from itertools import chain, combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from matrix import page
from matrix import proof as proof_module
from matrix.closures import Closures
from matrix.folding import Folding
from matrix.forkserver import Job, Outcome
from matrix.interfaces import Interfaces
from matrix.progress import Progress
from matrix.proof import Proof, prove, render_all
from matrix.rendering import read_files
from matrix.template import ANY_FOUR, Combination, Declaration, independent_vectors
from matrix.trees import Store, Tree, Workspace
from matrix.typechecking import check_types
from matrix.workers import run_all, workers

from .combinations import AROUND, DECLARATION, PROMPTS, TEMPLATE
from .conftest import needs_forks
from .small_template import SmallTemplate, files

pytestmark = needs_forks

NONE: Combination = frozenset()
GREETING: Combination = frozenset({"greeting"})
COLOUR: Combination = frozenset({"colour"})
BOTH = GREETING | COLOUR
ONE_FILE: Combination = frozenset({"one_file"})

NewFolder = Callable[[str], Path]
Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> NewFolder:
    return tmp_path_factory.mktemp


def silent() -> Progress:
    return Progress(io.StringIO())


def prove_every(declaration: Declaration, folder: Path) -> Proof:
    every = list(declaration.combinations())
    return prove(declaration, every, folder, progress=silent(), processes=False)


def folded_too(*combinations: Combination) -> set[Combination]:
    """Return the combinations, each with its folded twin."""
    return {one for combination in combinations for one in (combination, combination | ONE_FILE)}


def blamed(proof: Proof, text: str) -> set[Combination]:
    """Return the combinations that have a problem whose message contains `text`."""
    return {
        combination
        for combination, problems in proof.problems.items()
        if any(text in problem.text for problem in problems)
    }


# A template without a fault


@pytest.fixture(scope="module")
def sound(new_folder: NewFolder) -> Proof:
    declaration = SmallTemplate(new_folder("sound")).declaration
    return prove(declaration, list(declaration.combinations()), new_folder("run"), progress=silent())


def test_a_template_whose_every_combination_holds_is_green(sound: Proof) -> None:
    assert sound.problems == {}
    assert len(sound.green()) == 2**3
    assert {sound.report(combination) for combination in sound.combinations} == {""}


def test_the_page_describes_each_part(sound: Proof) -> None:
    assert sound.parts
    assert sound.parts.keys() <= page.PARTS.keys()


def test_a_test_file_runs_once_in_each_distinct_surrounding(sound: Proof) -> None:
    assert sound.closures == {
        "tests/test_colour.py": 1,
        "tests/test_greeting.py": 2,
        "tests/test_words.py": 2,
        "tests/test_main.py": 4,
    }
    assert sound.unexpected_closures() == []


def test_a_folded_project_is_started_and_runs_its_tests_in_the_linear_design_only(sound: Proof) -> None:
    assert sound.folded == 4
    # With three prompts, the linear design has all eight combinations: all start processes, and four are folded.
    assert sorted(sound.in_full) == sorted(map(sound.declaration.name, sound.combinations))
    assert sound.runs == sum(sound.closures.values()) + 8


def test_a_test_of_the_templates_own_runs_in_every_project_and_is_a_file_of_none(
    new_folder: NewFolder,
) -> None:
    place = "tests/unit/test_more.py"

    def unit_tests(chosen: Combination) -> dict[str, bytes]:
        return {place: f"def test_more() -> None:\n    assert {'colour' not in chosen}\n".encode()}

    template = SmallTemplate(new_folder("unit")).declaration
    closures = {**template.closures, place: 2}
    found = prove_every(replace(template, unit_tests=unit_tests, closures=closures), new_folder("run"))
    assert blamed(found, f"{place}::test_more: ") == folded_too(COLOUR, BOTH)
    assert set(found.green()) == folded_too(NONE, GREETING)
    assert found.closures[place] == 2
    assert not any(place in tree for tree in found.trees.values())


@pytest.mark.parametrize("dedup", [True, False])
def test_processes_are_tested_where_a_prompt_is_alone_and_where_all_are_and_some_everywhere(
    dedup: bool, new_folder: NewFolder
) -> None:
    start, port, own = (f"tests/processes/test_{name}.py" for name in ("start", "port", "colour"))

    def own_files(combination: Combination) -> set[str]:
        return {start, port, *([own] if combination >= COLOUR else [])}

    template = SmallTemplate(new_folder("processes")).declaration
    declaration = replace(template, files=own_files, processes_everywhere=[start])
    run = proof_module.Run(declaration, [], new_folder("run"), silent(), dedup, processes=True)
    every = set(declaration.combinations())
    run.proof.trees |= {combination: dict.fromkeys(own_files(combination), "") for combination in every}
    found = {file: {one for one in every if file in run.process_files(one)} for file in (start, port, own)}
    assert found[start] == every
    if dedup:
        corners = folded_too(NONE, BOTH)
        assert found[port] == corners
        assert found[own] == {COLOUR} | {one for one in corners if one >= COLOUR}
    else:
        assert found[port] == every
        assert found[own] == {one for one in every if one >= COLOUR}


def test_every_combination_counts_the_tests_that_cover_it(sound: Proof) -> None:
    start = words = main = colour = 1
    greeting = 2
    assert sound.tests[NONE] == start + words + main
    assert sound.tests[COLOUR] == start + words + main + colour
    assert sound.tests[BOTH] == start + words + main + colour + greeting


# Hidden dependencies, without an import or a file name in the code. The tests themselves pass.

HIDDEN = {
    "opens_a_file_by_a_name_made_at_run_time": (
        'assert (ROOT / ("READ" + "ME.md")).read_text()',
        "reads README.md",
    ),
    "imports_a_module_by_a_name_made_at_run_time": (
        'assert importlib.import_module("small." + "main")',
        "reads src/small/main.py",
    ),
    "opens_a_file_in_a_process_that_it_starts": (
        "assert start(\"open('READ' + 'ME.md')\") == 0",
        "reads README.md",
    ),
    "opens_a_file_in_a_process_with_its_own_search_path": (
        "assert start(\"open('READ' + 'ME.md')\", PYTHONPATH=os.pathsep.join(sys.path)) == 0",
        "reads README.md",
    ),
    "opens_a_file_in_a_fork": (
        'child = os.fork()\n    if not child:\n        (ROOT / ("READ" + "ME.md")).read_text()\n'
        "        os._exit(0)\n    os.waitpid(child, 0)",
        "reads README.md",
    ),
    "lists_a_folder": ('assert list((ROOT / "tests").iterdir())', "lists tests/"),
    "lists_a_folder_in_a_process_that_it_starts": (
        "assert start(\"import os; os.listdir('tests')\") == 0",
        "lists tests/",
    ),
    "asks_whether_a_file_is_there": (
        'assert not (ROOT / "tests" / ("test_" + "greeting.py")).exists()',
        "asks for tests/test_greeting.py",
    ),
    "asks_whether_a_folder_is_there": (
        'assert (ROOT / "src" / "small" / "parts").is_dir() in (True, False)',
        "asks for src/small/parts",
    ),
    "writes_into_its_project": ('(ROOT / "notes.txt").write_text("later")', "writes notes.txt"),
    "deletes_a_file_of_its_project": ('(ROOT / ("READ" + "ME.md")).unlink()', "writes README.md"),
    "renames_a_file_of_its_project": (
        '(ROOT / ("READ" + "ME.md")).rename(ROOT / "OLD.md")',
        "writes OLD.md",
    ),
    "starts_a_process_with_a_bare_environment": (
        'assert subprocess.call([sys.executable, "-c", ""], env={}) == 0',
        "starts ",
    ),
    "starts_a_process_with_another_search_path": (
        'assert start("", PYTHONPATH="src") == 0',
        "starts ",
    ),
    "starts_a_process_that_ignores_its_environment": (
        'assert subprocess.call([sys.executable, "-I", "-c", ""]) == 0',
        "starts ",
    ),
    "starts_another_program": ('assert subprocess.call(["true"]) == 0', "starts "),
    "starts_a_shell": ('assert os.system("true") == 0', "starts "),
}
OPEN = {
    "opens_a_file_that_it_names": 'assert (ROOT / "README.md").read_text()',
    "opens_a_file_elsewhere": 'assert Path(os.devnull).read_text() == ""',
    "writes_elsewhere": "tempfile.TemporaryDirectory().cleanup()",
    "starts_a_process_that_can_be_followed": 'assert start("import small.words") == 0',
    "asks_whether_a_file_of_every_project_is_there": 'assert (ROOT / ("READ" + "ME.md")).exists()',
}
TEST_FILE = """\
import importlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import small.words

ROOT = Path(__file__).parents[1]
USED = (importlib, os, small.words, subprocess, sys, tempfile)


def start(code: str, **options: str) -> int:
    command = [sys.executable, "-c", code]
    return subprocess.call(command, env={{**os.environ, **options}})


def test_it() -> None:
    {code}
"""


@pytest.fixture(scope="module")
def hiding(new_folder: NewFolder) -> Proof:
    """Prove two projects with tests that have hidden dependencies."""
    small = SmallTemplate(new_folder("hiding"))
    codes = {name: code for name, (code, _) in HIDDEN.items()} | OPEN
    sources = {f"tests/test_{name}.py": TEST_FILE.format(code=code) for name, code in codes.items()}
    for path, source in sources.items():
        small.add(path, source)
    declaration = replace(
        small.declaration,
        files=lambda chosen: files(chosen) | sources.keys(),
        closures={**small.declaration.closures, **dict.fromkeys(sources, 2)},
    )
    return prove(declaration, [NONE, GREETING], new_folder("run"), progress=silent(), processes=False)


@pytest.mark.parametrize("name", HIDDEN)
def test_a_hidden_dependency_fails_the_build_where_a_test(name: str, hiding: Proof) -> None:
    found = [text for text, *_ in hiding.problems[NONE] if text.startswith(f"tests/test_{name}.py ")]
    assert [text for text in found if HIDDEN[name][1] in text and text.endswith("outside its closure")], found
    assert NONE not in hiding.green()


@pytest.mark.parametrize("name", OPEN)
def test_no_dependency_is_hidden_where_a_test(name: str, hiding: Proof) -> None:
    assert [text for text, *_ in hiding.problems[NONE] if f"test_{name}.py" in text] == []


def test_no_test_with_a_hidden_dependency_fails_by_itself(hiding: Proof) -> None:
    assert blamed(hiding, "Error") == blamed(hiding, "::") == set()


def test_a_test_file_with_more_closures_than_stated_or_in_no_table_is_reported(sound: Proof) -> None:
    stated = {"tests/test_colour.py": 1, "tests/test_greeting.py": 1, "tests/test_main.py": 0}
    proof = replace(sound, declaration=replace(sound.declaration, closures=stated))
    assert proof.unexpected_closures() == [
        "tests/test_words.py: how many closures it has is not stated",
        "tests/test_greeting.py: 2 closures, and 1 are stated",
    ]


# What makes two closures of a test file distinct

SURROUNDINGS = {
    "tests/test_it.py": "import tests.helper\nimport own.one\n\nDATA = 'data.txt'\n",
    "tests/__init__.py": "",
    "tests/helper.py": "",
    "tests/conftest.py": "from .deep import tool\n",
    "tests/deep/__init__.py": "",
    "tests/deep/tool.py": "",
    "tests/other.py": "",
    "conftest.py": "",
    "src/own/__init__.py": "",
    "src/own/one.py": "def late() -> None:\n    from . import two\n\n\nTABLE = 'table.csv'\n",
    "src/own/two.py": "",
    "src/own/three.py": "",
    "src/own/table.csv": "",
    "data.txt": "",
    "README.md": "",
    "pyproject.toml": "[tool.pytest]\naddopts = []\n\n[tool.ruff]\nline-length = 90\n",
}
SEEN = set(SURROUNDINGS) - {"tests/other.py", "src/own/three.py", "README.md", "pyproject.toml"}


@pytest.mark.parametrize("path", SURROUNDINGS)
def test_a_test_file_sees_what_it_loads_at_any_depth_and_the_data_that_is_named(
    path: str, new_folder: NewFolder
) -> None:
    closures = Closures(Store(new_folder("contents")))

    def key(texts: dict[str, str]) -> str:
        tree = closures.store.add({name: text.encode() for name, text in texts.items()})
        project = closures.of_project(tree)
        return project.key(project.of_test("tests/test_it.py"))

    changed = SURROUNDINGS | {path: SURROUNDINGS[path] + "\n"}
    assert (key(changed) != key(SURROUNDINGS)) == (path in SEEN)


@pytest.mark.parametrize(("old", "new", "distinct"), [("[]", "['-x']", True), ("90", "91", False)])
def test_of_the_configuration_it_sees_what_pytest_reads(
    old: str, new: str, distinct: bool, new_folder: NewFolder
) -> None:
    closures = Closures(Store(new_folder("contents")))
    text = SURROUNDINGS["pyproject.toml"]
    trees = (closures.store.add({"pyproject.toml": one.encode()}) for one in (text, text.replace(old, new)))
    one, other = (closures.of_project(tree).key(frozenset()) for tree in trees)
    assert (one != other) == distinct


# Faults in some combinations only: the statement that causes each fault, and its message

FAULTS: dict[str, tuple[set[Combination], str, str]] = {
    "missing file": (folded_too(COLOUR), 'Path("README.md").unlink()', "README.md is missing"),
    "file too many": (
        {COLOUR | ONE_FILE},
        'Path("notes.txt").write_text("")',
        "notes.txt belongs to nothing that was chosen",
    ),
    "lint fault": (
        folded_too(COLOUR, BOTH),
        'append("tests/test_colour.py", "import os\\n")',
        "ruff check: tests/test_colour.py:6:8: F401",
    ),
    "format fault": (
        folded_too(GREETING),
        'append("src/small/words.py", "NOTHING = [ ]\\n")',
        "ruff format: src/small/words.py",
    ),
    "type error": (
        folded_too(BOTH),
        'append("src/small/main.py", "BAD: int = str()\\n")',
        "mypy: src/small/main.py:8: error: Incompatible types",
    ),
    "type error that another module makes": (
        folded_too(GREETING),
        'edit("src/small/words.py", "number: int", "number: bytes")',
        'error: Argument 1 to "word" has incompatible type "int"; expected "bytes"',
    ),
    "failing test": (
        folded_too(BOTH),
        'append("tests/test_greeting.py", "\\n\\ndef test_all() -> None:\\n    raise OSError\\n")',
        "tests/test_greeting.py::test_all: ",
    ),
    "skipped test": (
        folded_too(GREETING),
        'append("tests/test_words.py", "\\n\\ndef test_one() -> None:\\n'
        '    import unittest\\n\\n    raise unittest.SkipTest\\n")',
        "tests/test_words.py::test_one: ",
    ),
    "crash": (
        folded_too(BOTH),
        'append("tests/test_main.py", "\\n\\ndef test_exit() -> None:\\n    import os\\n\\n    os._exit(0)\\n")',
        "tests/test_main.py::test_exit ended the run",
    ),
    "list that differs": (
        folded_too(COLOUR),
        'append("src/small/main.py", "OFFERS.reverse()\\n")',
        "The server offers ['paint', 'word'], not ['word', 'paint']",
    ),
    "one file that is other code": (
        {BOTH | ONE_FILE},
        'edit("src/small/parts.py", "INDEX = 1", "INDEX = 0")',
        "src/small/parts.py does not hold the body of src/small/parts/colour.py as it is",
    ),
}


@pytest.fixture(scope="module")
def broken(new_folder: NewFolder) -> Proof:
    small = SmallTemplate(new_folder("broken"))
    for where, statement, _ in FAULTS.values():
        small.plant(statement, where)
    return prove_every(small.declaration, new_folder("run"))


@pytest.mark.parametrize("fault", FAULTS)
def test_exactly_the_combinations_that_have_it_are_blamed_for_a(fault: str, broken: Proof) -> None:
    where, _, text = FAULTS[fault]
    assert blamed(broken, text) == where


def test_the_combinations_without_a_fault_are_green(broken: Proof) -> None:
    assert set(broken.green()) == folded_too(NONE)


def test_many_short_runs_of_mypy_find_what_one_finds(broken: Proof, new_folder: NewFolder) -> None:
    interfaces = Interfaces(Closures(Store(broken.contents)))
    trees = [broken.trees[combination] for combination in broken.combinations]
    place = new_folder("types")
    whole = check_types(place / "whole", interfaces, trees)
    parts = check_types(place / "parts", interfaces, trees, most=1)
    assert (parts.findings, parts.modules) == (whole.findings, whole.modules)
    assert len(whole.findings) > 2


# Projects that cannot be rendered or loaded

UNUSABLE: dict[str, tuple[set[Combination], str, str]] = {
    "a hook refuses": (
        {COLOUR | ONE_FILE},
        'raise SystemExit("colour does not go into one file")',
        "The template makes no project: the hook ended with colour does not go into one file",
    ),
    "a hook fails": (
        {GREETING | ONE_FILE},
        "CHOSEN[2]",
        "the hook raised IndexError: list index out of range",
    ),
    "a module is not valid Python": (
        folded_too(BOTH),
        'append("src/small/words.py", "def :\\n")',
        "src/small/words.py is not valid Python: invalid syntax, line 10",
    ),
    "a module imports one that was pruned": (
        folded_too(GREETING) - {GREETING | ONE_FILE},
        'append("src/small/main.py", "from .parts.colour import paint\\n")',
        "src/small/main.py imports .parts.colour, which the project does not have",
    ),
}


@pytest.fixture(scope="module")
def unusable(new_folder: NewFolder) -> Proof:
    small = SmallTemplate(new_folder("unusable"))
    for name, (where, statement, _) in UNUSABLE.items():
        small.plant(statement, where, "pre" if name == "a hook refuses" else "post")
    return prove_every(small.declaration, new_folder("run"))


@pytest.mark.parametrize("fault", UNUSABLE)
def test_exactly_the_combinations_are_blamed_where(fault: str, unusable: Proof) -> None:
    where, _, text = UNUSABLE[fault]
    assert blamed(unusable, text) == where


def test_the_others_are_still_proven(unusable: Proof) -> None:
    assert set(unusable.green()) == {NONE, ONE_FILE, COLOUR}


# The content of a report


def test_a_report_names_the_fault_the_nearest_green_combination_and_a_command(broken: Proof) -> None:
    fault, difference, command = broken.report(COLOUR)[:2000].rsplit("\n", 2)
    assert "README.md is missing" in fault
    assert difference == "Green is none; here colour on."
    assert command == (
        "To see it: cookiecutter . --no-input --output-dir .. folder=small-project greeting=no colour=yes"
        " one_file=no && cd ../small-project && ls -R"
    )


def test_without_any_green_combination_a_report_says_so(broken: Proof) -> None:
    assert replace(broken, combinations=[BOTH]).report(BOTH).splitlines()[-2] == "No combination is green."


@pytest.fixture(scope="module")
def shell(new_folder: NewFolder) -> dict[str, str]:
    """Return the environment of a user who has Cookiecutter, and a uv that runs the packages installed here."""
    tools = new_folder("tools")
    for name, arguments in {"cookiecutter": '-m cookiecutter "$@"', "uv": '-m "${@:2}"'}.items():
        script = tools / name
        script.write_text(f"#!/bin/bash\nexec {shlex.quote(sys.executable)} {arguments}\n", encoding="utf-8")
        script.chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "HOME": str(tools), "PATH": path, "PYTHONPATH": "src"}


def test_the_command_of_a_report_makes_the_project_with_the_real_cookiecutter_and_shows_the_fault(
    broken: Proof, shell: dict[str, str]
) -> None:
    [problem] = [problem for problem in broken.problems[BOTH] if "::test_all: " in problem.text]
    command = broken.declaration.reproduce(BOTH, problem.command)
    run = subprocess.run(
        command,
        shell=True,
        cwd=broken.declaration.template,
        env=shell,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "FAILED tests/test_greeting.py::test_all - OSError" in run.stdout
    project = broken.declaration.template.parent / "small-project"
    made = {path: text for path, text in read_files(project).items() if "cache" not in path}
    store = Store(broken.contents)
    assert made == {path: store.read(identity) for path, identity in broken.trees[BOTH].items()}


# The fold


@pytest.fixture(scope="module")
def folded(new_folder: NewFolder) -> tuple[Folding, Tree, Tree]:
    """Return a folded project and its twin."""
    declaration = SmallTemplate(new_folder("folded")).declaration
    store = Store(new_folder("contents"))
    rendered = render_all(declaration, [BOTH | ONE_FILE, BOTH], store, lambda _: None)
    one, other = (project.tree(NONE) for project in rendered.values() if not isinstance(project, str))
    assert declaration.fold
    return Folding(store, declaration.fold), one, other


def edited(store: Store, tree: Tree, path: str, old: str, new: str) -> Tree:
    text = store.text(tree[path])
    assert text.count(old) == 1
    return tree | store.add({path: text.replace(old, new).encode()})


def test_a_folded_project_is_the_same_code_as_its_twin(folded: tuple[Folding, Tree, Tree]) -> None:
    folding, one, other = folded
    assert one != other
    assert folding.differences(one, other) == []


PARTS = "src/small/parts.py"
GREETING_MODULE = "src/small/parts/greeting.py"
DIFFERENCES = {
    "one character of a section": (PARTS, "INDEX = 1", "INDEX = 2", "does not hold the body of"),
    "one space of a section": (PARTS, "INDEX = 1", "INDEX =  1", "does not hold the body of"),
    "a line after a section": (PARTS, 'word(0)}, {name}"', 'word(0)}, {name}"\n\n\nMORE = 1', "more than its modules"),
    "a line before a section": (PARTS, "# Paints a text.\n", "# Paints a text.\n\nMORE = 1\n", "more than a comment"),
    "a line among the imports": (PARTS, "import word\n", "import word\n\nMORE = 1\n", "more than its modules"),
    "an import that was dropped": (PARTS, "from .words import word\n", "", "imports other names than its modules"),
    "an import of another name": (PARTS, "import word\n", "import WORDS as word\n", "imports other names"),
    "another file": ("src/small/main.py", "[word,", "[", "main.py is other code than without one_file"),
    "the imports of another file": ("src/small/main.py", ".words import", ".parts import", "imports other names"),
    "a test": ("tests/test_greeting.py", "hello, Ada", "hello, Alan", "test_greeting.py is other code than without one_file"),
    "a data file of the package": ("src/small/words.txt", "red", "blue", "words.txt is other data"),
}  # fmt: skip


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_a_fold_that_differs_is_reported_by(difference: str, folded: tuple[Folding, Tree, Tree]) -> None:
    folding, one, other = folded
    path, old, new, text = DIFFERENCES[difference]
    found = folding.differences(edited(folding.store, one, path, old, new), other)
    assert [line for line in found if text in line], found


def test_a_fold_is_reported_whose_modules_define_one_name_twice(folded: tuple[Folding, Tree, Tree]) -> None:
    folding, one, other = folded
    twice = edited(folding.store, other, GREETING_MODULE, "def greet", "def paint")
    assert [line for line in folding.differences(one, twice) if line.endswith("both define paint")]


def test_a_fold_is_reported_whose_modules_import_relatively_in_their_code(
    folded: tuple[Folding, Tree, Tree],
) -> None:
    folding, one, other = folded
    old, new = "    return f", "    from ..words import WORDS\n\n    assert WORDS\n    return f"
    inside = edited(folding.store, other, GREETING_MODULE, old, new)
    assert [line for line in folding.differences(one, inside) if "has a relative import in its code" in line]


def test_a_fold_that_is_not_there_is_reported(folded: tuple[Folding, Tree, Tree]) -> None:
    folding, _, other = folded
    assert folding.differences(other, other) == ["src/small/parts.py is missing"]


# The worker


@pytest.fixture(scope="module")
def run(new_folder: NewFolder) -> Iterator[Run]:
    """Return a function that runs tests in a project with these files, in one worker.

    The user's environment configures a bytecode folder outside the project, which the worker must ignore.
    """
    store = Store(new_folder("contents"))
    with pytest.MonkeyPatch.context() as user, ExitStack() as stack:
        user.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
        user.setenv("PYTHONPYCACHEPREFIX", str(new_folder("bytecode")))
        [worker] = stack.enter_context(workers(new_folder("workers"), store, 1, []))
        user.undo()

        def run_in_project(texts: dict[str, str], *tests: str, **options: Any) -> Outcome:
            project = {"tests/__init__.py": "", **texts}
            tree = store.add({path: text.encode() for path, text in project.items()})
            return worker.run(tree, Job("", ["src", "."], list(tests), **options))

        yield run_in_project


def one_test(*lines: str) -> dict[str, str]:
    """Return a project with one test file, whose only test has these lines."""
    body = "\n    ".join(lines)
    return {
        "tests/test_it.py": f"import importlib\nimport os\nimport time\n\n\ndef test_it() -> None:\n    {body}\n"
    }


HUNG, ENDED = "was still running after 1 s", "ended the run"
ENDINGS = {
    "hangs": ("time.sleep(60)", HUNG),
    "hangs in a process that it has started": ("os.system('sleep 60')", HUNG),
    "ends the process": ("os._exit(0)", ENDED),
    "is killed by a signal": ("os.kill(os.getpid(), 9)", ENDED),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_run_is_ended_and_reported_and_the_next_one_works_when_a_test(ending: str, run: Run) -> None:
    line, text = ENDINGS[ending]
    outcome = run(one_test(line), "tests/test_it.py", seconds=1, watched=True)
    ended, _, where = outcome.error.partition("\n")
    assert ended == f"tests/test_it.py::test_it {text}"
    assert ('test_it.py", line 7 in test_it' in where) == (text == HUNG)
    assert bool(where) == (text == HUNG)
    after = run(one_test("assert True"), "tests/test_it.py", watched=True)
    assert (after.error, after.passed, after.not_passed) == ("", {"tests/test_it.py": 1}, {})


def test_a_module_that_ends_the_process_is_reported(run: Run) -> None:
    assert (
        run({"tests/test_it.py": "import os\nos._exit(0)"}, "tests/test_it.py").error
        == "The project ended the run"
    )


def test_what_a_run_has_read_before_it_was_ended_does_not_count_for_the_next(run: Run) -> None:
    note = {"note.txt": "1"}
    run(one_test("open('note.txt').close()", "os._exit(0)") | note, "tests/test_it.py", watched=True)
    after = run(one_test("assert True") | note, "tests/test_it.py", watched=True)
    assert "note.txt" not in after.read


def test_a_fault_of_collection_and_a_run_without_tests_are_reported(run: Run) -> None:
    assert (
        "NameError" in run({"tests/test_it.py": "nothing"}, "tests/test_it.py").not_passed["tests/test_it.py"]
    )
    assert "no tests ran" in run({"tests/test_it.py": ""}, "tests/test_it.py").error


def test_two_modules_of_one_size_written_in_one_second_are_not_confused_by_cached_bytecode(run: Run) -> None:
    for value in (1, 2, 1, 3):
        project = {"src/own.py": f"VALUE = {value}\n"}
        tests = one_test("own = importlib.import_module('own')", f"assert own.VALUE == {value}")
        outcome = run(project | tests, "tests/test_it.py")
        assert outcome.not_passed == {}


def test_a_module_read_as_cached_bytecode_is_recorded_by_its_own_name(run: Run) -> None:
    tests = one_test("importlib.import_module('root')", "importlib.import_module('own')")
    for _ in range(2):
        read = run({"root.py": "", "src/own.py": ""} | tests, "tests/test_it.py", watched=True).read
        assert {"root.py", "src/own.py"} <= {*read}


def test_what_a_run_leaves_changes_or_deletes_is_gone_before_the_next(new_folder: NewFolder) -> None:
    store = Store(new_folder("contents"))
    workspace = Workspace(new_folder("project"), store)
    tree = store.add({"kept.txt": b"1", "src/deep/own.py": b"", "src/other.py": b""})
    workspace.lay_out(tree)
    (workspace.folder / "kept.txt").write_text("2", encoding="utf-8")
    (workspace.folder / "src" / "left.py").touch()
    (workspace.folder / "left" / "deep").mkdir(parents=True)
    (workspace.folder / "left" / "deep" / "over.txt").touch()
    shutil.rmtree(workspace.folder / "src" / "deep")
    workspace.lay_out(tree)
    found = {path.relative_to(workspace.folder).as_posix() for path in workspace.folder.rglob("*")}
    assert found == {"kept.txt", "src", "src/deep", "src/deep/own.py", "src/other.py"}
    assert (workspace.folder / "kept.txt").read_text(encoding="utf-8") == "1"


# Changes the state of its process: imports a module, adds a path, sets a variable, and modifies a library.
LEAVING = """
import os
import string
import sys
from pathlib import Path

import own


def test_it() -> None:
    assert own.VALUE == Path("src/own.py").read_text()[-2:-1]
    assert ("left" in sys.path, "LEFT" in os.environ) == (False, False)
    sys.path.append("left")
    os.environ["LEFT"] = "1"
    assert len(string.__dict__.setdefault("runs", [])) == {runs}
    string.__dict__["runs"].append(1)
"""


def leaving(value: str, *, runs: int) -> dict[str, str]:
    """Return a project that passes only in a process in which `runs` such projects have run before."""
    return {"tests/test_it.py": LEAVING.format(runs=runs), "src/own.py": f"VALUE = '{value}'"}


def test_each_of_several_projects_begins_as_it_would_alone(run: Run) -> None:
    for number in range(3):
        project = leaving(str(number), runs=0)
        assert run(project, "tests/test_it.py", shared=True).not_passed == {}
    assert run(leaving("4", runs=0), "tests/test_it.py").not_passed == {}


COUNTING = """
import ast

import own


def test_it() -> None:
    own.LOADED.append(1)
    tree = ast.parse("NAME = 1")
    tree.body.append("left")
    assert (len(own.LOADED), len(tree.body)) == (2, 2)
"""


def test_projects_that_share_a_module_begin_where_it_is_imported_and_see_no_change_of_another(
    run: Run,
) -> None:
    own = {"src/own.py": "import os\n\nLOADED = [os.getpid()]\n", "src/other.py": "NAME = 1"}
    for number in range(3):
        project = own | {"tests/test_it.py": COUNTING, "note.txt": str(number)}
        options = {"shared": True, "preload": ["own"], "stamp": "same"}
        assert run(project, "tests/test_it.py", **options).not_passed == {}
    outside = "import os\nimport own\n\n\ndef test_it() -> None:\n    assert own.LOADED[0] != os.getpid()\n"
    project = own | {"tests/test_it.py": outside}
    assert run(project, "tests/test_it.py", shared=True, preload=["own"], stamp="same").not_passed == {}
    # Without sharing, or with another stamp, the module is loaded again.
    assert run(project, "tests/test_it.py").not_passed
    changed = {**project, "src/own.py": "LOADED = [0]\n"}
    assert run(changed, "tests/test_it.py", shared=True, preload=["own"], stamp="other").not_passed == {}


def test_what_a_shared_run_fails_or_ends_is_reported_and_the_next_one_works(run: Run) -> None:
    failed = run(one_test("assert False"), "tests/test_it.py", shared=True)
    assert list(failed.not_passed) == ["tests/test_it.py::test_it"]
    ended = run(one_test("os._exit(0)"), "tests/test_it.py", shared=True)
    assert ended.error == "tests/test_it.py::test_it ended the run"
    killed = run(one_test("os.kill(os.getpid(), 9)"), "tests/test_it.py", shared=True)
    assert killed.error == "tests/test_it.py::test_it ended the run"
    hung = run(one_test("time.sleep(60)"), "tests/test_it.py", shared=True, seconds=1)
    assert hung.error.startswith("tests/test_it.py::test_it was still running after 1 s")
    after = run(one_test("assert True"), "tests/test_it.py", shared=True)
    assert (after.error, after.passed) == ("", {"tests/test_it.py": 1})


def test_a_project_does_not_find_the_modules_of_the_repository_that_proves_it(run: Run) -> None:
    tests = one_test(
        "for name in ('hooks', 'benchmarks', 'tests.combinations'):", "    assert not there(name)"
    )
    there = "\n\ndef there(name: str) -> bool:\n    try:\n        return bool(importlib.import_module(name).__file__)\n"
    there += "    except ImportError:\n        return False\n"
    tests["tests/test_it.py"] += there
    assert run(tests, "tests/test_it.py").not_passed == {}


# Every suite in every project


@dataclass(frozen=True)
class WithoutDesign(Declaration):
    """A declaration with an empty linear design, so that no folded project runs its whole suite because of it."""

    def linear_design(self) -> dict[str, Combination]:
        return {}


@pytest.mark.parametrize("dedup", [True, False])
def test_without_deduplication_every_project_runs_all_its_tests_the_folded_ones_too(
    dedup: bool, new_folder: NewFolder
) -> None:
    small = SmallTemplate(new_folder("all"))
    small.plant('edit("tests/test_greeting.py", "hello, Ada", "hello, Alan")', [GREETING | ONE_FILE])
    known = {item.name: getattr(small.declaration, item.name) for item in fields(Declaration)}
    chosen = sorted(folded_too(GREETING, BOTH), key=sorted)
    proof = prove(WithoutDesign(**known), chosen, new_folder("run"), progress=silent(), dedup=dedup)
    failed = {GREETING | ONE_FILE}
    assert blamed(proof, "test_greeting.py is other code than without one_file") == failed
    assert blamed(proof, "test_greeting.py::test_a_guest_is_greeted: ") == (set() if dedup else failed)
    assert proof.runs == (2 + 2 + 1 + 2 if dedup else 4)
    words = main = colour = 1
    assert proof.tests[BOTH] == proof.tests[BOTH | ONE_FILE] == words + main + colour + 2
    assert proof.tests[GREETING | ONE_FILE] == words + main + (2 if dedup else 1)


# Shards and designs


@pytest.mark.parametrize("count", [1, 3, 8])
def test_shards_part_the_combinations_and_a_folded_project_goes_with_its_twin(count: int) -> None:
    shards = [DECLARATION.shard(f"{index}/{count}") for index in range(1, count + 1)]
    assert sorted(map(sorted, chain(*shards))) == sorted(map(sorted, DECLARATION.combinations()))
    assert max(map(len, shards)) - min(map(len, shards)) <= 2
    assert DECLARATION.fold
    for shard in shards:
        assert {combination ^ {DECLARATION.fold.prompt} for combination in shard} == shard


@pytest.mark.parametrize("part", ["0/8", "9/8", "3", "3/", "/8", "3/8/9", "-1/8", "a/b", "1.5/8", ""])
def test_a_bad_shard_is_refused_in_one_sentence(part: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^{re.escape(part)} is not a shard: write 3/8 for the third of eight$"
    ):
        DECLARATION.shard(part)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 11, 14])
def test_in_the_covering_design_every_setting_of_any_four_prompts_occurs_equally_often(count: int) -> None:
    bits, vectors = independent_vectors(count, 4)
    rows = [tuple((number & vector).bit_count() % 2 for vector in vectors) for number in range(2**bits)]
    for columns in combinations(range(count), min(4, count)):
        settings = Counter(tuple(row[column] for column in columns) for row in rows)
        assert len(settings) == 2 ** len(columns)
        assert len(set(settings.values())) == 1


def test_the_covering_design_of_this_template_is_a_sixteenth_of_the_unfolded_projects() -> None:
    assert DECLARATION.fold
    design = DECLARATION.covering_design()
    assert len(design) == 2 ** (len(DECLARATION.patterns) - len(DECLARATION.additive) - 1) // 16 == 128
    assert not any(DECLARATION.fold.prompt in combination for combination in design)


@pytest.mark.parametrize("few", [True, False])
def test_a_test_of_any_four_runs_in_the_design_or_in_each_of_a_few_that_are_asked_for(
    few: bool, new_folder: NewFolder
) -> None:
    small = SmallTemplate(new_folder("four")).declaration
    declaration = Design(
        **{item.name: getattr(small, item.name) for item in fields(Declaration)}
        | {"closures": {**small.closures, "tests/test_main.py": ANY_FOUR}}
    )
    every = [COLOUR] if few else list(declaration.combinations())
    run = proof_module.Run(declaration, every, new_folder("run"), silent(), dedup=True, processes=False)
    run.render()
    asked = {one for one in run.twins() if "tests/test_main.py" in run.each(one)}
    # The linear design of three prompts has every combination, so `Design` has none.
    assert asked == ({COLOUR} if few else {NONE, BOTH})


@dataclass(frozen=True)
class Design(Declaration):
    """A declaration whose designs contain only two of the four projects."""

    def covering_design(self) -> set[Combination]:
        return {NONE, BOTH}

    def linear_design(self) -> dict[str, Combination]:
        return {}


def test_every_combination_comes_once_and_differs_from_the_one_before_in_one_prompt() -> None:
    every = list(DECLARATION.combinations())
    assert len(set(every)) == len(every) == 2 ** (len(DECLARATION.patterns) - len(DECLARATION.additive))
    assert {len(one ^ other) for one, other in pairwise(every)} == {1}


# Progress


def worked_off(total: int, *, terminal: bool = False) -> str:
    stream = io.StringIO()
    progress = Progress(stream, terminal=terminal)
    progress.begin("Test", total)
    for _ in range(total):
        progress.step()
    progress.end()
    return stream.getvalue()


def test_progress_is_a_line_for_each_tenth_where_there_is_no_terminal() -> None:
    lines = worked_off(1234).splitlines()
    assert len(lines) == 11
    assert lines[0] == f"Test [{' ' * 30}] 0%"
    assert re.fullmatch(rf"Test \[{'#' * 15} {{15}}\] 50%, \d+ s left", lines[5])
    assert re.fullmatch(rf"Test \[{'#' * 30}\] 100%, \d+ s", lines[10])


def test_progress_is_one_line_written_over_on_a_terminal() -> None:
    text = worked_off(1234, terminal=True)
    assert text.count("\n") == 1
    assert text.count("\r") > 500


def test_progress_without_any_work_is_complete() -> None:
    assert "100%" in worked_off(0)


# Workers


class Stub:
    """A worker that records its jobs."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def run(self, _: Tree, job: Job) -> Outcome:
        self.jobs.append(job)
        time.sleep(0.01)
        return Outcome(error=job.project)


SUITES = [Job(project=f"suite {number}", path=[]) for number in range(6)]
OTHERS = [Job(project=f"other {number}", path=[], watched=True) for number in range(6)]


@pytest.mark.parametrize(("jobs", "busy"), [([*SUITES, *OTHERS], 1), (SUITES, 2)], ids=["some", "only"])
def test_one_worker_runs_all_whole_suites_unless_there_are_no_other_jobs(jobs: list[Job], busy: int) -> None:
    """Several suites at once start so many servers that they take gigabytes."""
    team: list[Any] = [Stub(), Stub()]
    outcomes = run_all(team, [({}, job) for job in jobs], lambda _: None)
    assert [outcome.error for outcome in outcomes] == [job.project for job in jobs]
    assert sum(any(job.is_suite for job in worker.jobs) for worker in team) == busy
    assert all(worker.jobs for worker in team)


# Independence of this template


@pytest.mark.parametrize("path", sorted((TEMPLATE / "matrix").rglob("*.py")), ids=lambda path: path.name)
def test_the_engine_does_not_name_this_template(path: Path) -> None:
    words = set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    prompts = {name for name in PROMPTS if not name.startswith("_")} - AROUND.keys()
    assert words & {*prompts, DECLARATION.package} == set()
