"""Prompts beside the server are proven in every combination, including that the server does not see their changes."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest

from matrix.factoring import Factoring, Identities
from matrix.families import Joined, Varied
from matrix.progress import Progress
from matrix.proof import Proof, Run, prove
from matrix.rendering import render
from matrix.template import EACH, Combination, Declaration
from matrix.trees import Store

from .conftest import needs_forks
from .small_template import PROJECT, READING_TEST, SmallTemplate

pytestmark = needs_forks
NONE: Combination = frozenset()
COLOUR: Combination = frozenset({"colour"})
GREETING: Combination = frozenset({"greeting"})
HOOK = "hooks/post_gen_project.py"
README = f"{PROJECT}/README.md"
WORDS = f"{PROJECT}/src/small/words.py"
Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tmp_path_factory.mktemp


def proven(declaration: Declaration, folder: Path, *combinations: Combination) -> Proof:
    every = combinations or tuple(declaration.combinations())
    return prove(declaration, every, folder, progress=Progress(io.StringIO()), processes=False)


def checked(declaration: Declaration, folder: Path) -> Proof:
    """Render every combination, and check the claims."""
    every = list(declaration.combinations())
    run = Run(declaration, every, folder, Progress(io.StringIO()), dedup=True, processes=False)
    run.render()
    run.compare_files()
    run.check_claims()
    return run.proof


def texts(proof: Proof, combination: Combination) -> list[str]:
    return [problem.text for problem in proof.problems[combination]]


def add_files(declaration: Declaration, *paths: str) -> Declaration:
    wanted = declaration.files
    return replace(declaration, files=lambda chosen: wanted(chosen) | {*paths})


# A template whose prompts are beside the server


@pytest.fixture(scope="module")
def sound(new_folder: Folder) -> Proof:
    return proven(SmallTemplate(new_folder("sound")).surround(), new_folder("run"))


def test_every_answer_beside_the_server_is_combined_with_every_other(sound: Proof) -> None:
    declaration = sound.declaration
    assert sound.problems == {}
    assert len(sound.green()) == 2**3
    assert declaration.option_combinations == 2**4 * 3 * (2 * 3 * 3)
    assert len(sound.green()) * len(declaration.variations) == declaration.option_combinations


def test_a_small_test_that_sees_their_files_runs_once_for_each_closure(sound: Proof) -> None:
    assert sound.closures["tests/test_card.py"] == 2
    assert sound.unexpected_closures() == []


def test_nothing_else_runs_more_often(sound: Proof) -> None:
    others = {name: count for name, count in sound.closures.items() if name != "tests/test_card.py"}
    assert others == {
        "tests/test_colour.py": 1,
        "tests/test_greeting.py": 2,
        "tests/test_words.py": 2,
        "tests/test_main.py": 4,
    }


def test_tests_of_the_whole_run_with_each_answer_in_the_linear_design(sound: Proof) -> None:
    assert {name for name in sound.sampled if name.startswith("none,")} == {
        f"none,{answer}"
        for answer in (
            "with-shout",
            *("tone=warm", "tone=cold"),
            *("box=no", "service=south", "service=none", "address=here", "address=there"),
            "with-shout,address=there,box=no,service=none,tone=cold",
        )
    }


def test_a_combination_is_named_by_labels_and_made_with_answers(sound: Proof) -> None:
    declaration = sound.declaration
    one = frozenset({"colour", "box=no", "address=here"})
    assert declaration.name(one) == "colour,address=here,box=no"
    answers = declaration.answers_for(one)
    assert (answers["box"], answers["service"]) == (False, "north")
    assert answers["address"] == "https://here.example/small"
    command = declaration.reproduce(one, "ls")
    assert "colour=yes" in command
    assert " address=https://here.example/small box=no " in command


@pytest.fixture
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """Yield a pool with another process, since `render` patches Cookiecutter in its process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("by_file", [False, True], ids=["at once", "in steps"])
def test_the_pieces_are_byte_for_byte_what_is_rendered_whole(
    by_file: bool, new_folder: Folder, monkeypatch: pytest.MonkeyPatch, elsewhere: ProcessPoolExecutor
) -> None:
    small = SmallTemplate(new_folder("pieces"))
    declaration = small.surround(by_file=by_file)
    monkeypatch.chdir(new_folder("empty"))
    store = Store(new_folder("contents"))
    factoring = Factoring(declaration)
    for core in (NONE, frozenset({"colour", "greeting", "one_file"})):
        family = factoring.family(core, Identities(store))
        project = Varied(family, declaration, Joined(store))
        for variation in declaration.variations[::7]:
            found = {path: store.read(identity) for path, identity in project.tree(variation).items()}
            answers = declaration.answers_for(core | variation)
            assert found == elsewhere.submit(render, small.folder, answers).result()


def test_the_hook_that_checks_answers_sees_those_that_are_text(
    new_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SmallTemplate(new_folder("checked"))
    declaration = small.surround()
    path = small.folder / "hooks/pre_gen_project.py"
    check = "import re\nraise SystemExit(not re.match('https://|$', ANSWERS['address']))\n"
    path.write_text(path.read_text(encoding="utf-8").partition("CHOSEN")[0] + check, encoding="utf-8")
    monkeypatch.chdir(new_folder("empty"))
    factoring = Factoring(declaration)
    assert factoring.pre.code is not None
    factoring.family(NONE, Identities(Store(new_folder("contents"))))
    assert factoring.pre.reads == {"address"}


# Prompts that are not beside the server: the planted change, the combination in which it is found, and the message.

MEET = "cookiecutter.colour and cookiecutter.tone == 'cold' and not cookiecutter.box"
SEEN = {
    "a module": (
        (WORDS, "WORDS =", "{{ '# Boxed.\n' if cookiecutter.box }}WORDS ="),
        NONE,
        "box changes src/small/words.py, a file of the package",
    ),
    "a module where two others meet": (
        (WORDS, "WORDS =", f"{{{{ '# Boxed.\n' if {MEET} }}}}WORDS ="),
        COLOUR,
        "box changes src/small/words.py, a file of the package",
    ),
    "data of the package": (
        (f"{PROJECT}/src/small/tone.txt", "a ", "a{{ ' boxed' if cookiecutter.box }} "),
        NONE,
        "box changes src/small/tone.txt, a file of the package",
    ),
    "a module of the package where a project is folded": (
        (WORDS, "WORDS =", "{{ '# Boxed.\n' if cookiecutter.box and cookiecutter.one_file }}WORDS ="),
        frozenset({"one_file"}),
        "box changes src/small/words.py, a file of the package",
    ),
    "a test of the whole": (
        (f"{PROJECT}/tests/test_main.py", "def test", "{{ '# Boxed.\n' if cookiecutter.box }}def test"),
        NONE,
        "box changes tests/test_main.py, which is neither a test file of its own nor a script",
    ),
    "a file that a test of the whole names": (
        (f"{PROJECT}/tests/test_main.py", "README =", 'BOX = Path(__file__).parents[1] / "box.txt"\nREADME ='),
        NONE,
        "tests/test_main.py sees box.txt, which box changes",
    ),
    "a file that a test of the whole names where it is loud": (
        (f"{PROJECT}/tests/test_main.py", "README =", "{{ 'BOX = \"box.txt\"\n' if cookiecutter.shout }}README ="),
        NONE,
        "tests/test_main.py sees box.txt, which box changes",
    ),
    "a test that another imports": (
        (f"{PROJECT}/tests/test_main.py", "README =", "{{ 'from . import test_card\n' if cookiecutter.address }}README ="),
        NONE,
        "tests/test_main.py imports tests/test_card.py, which address changes",
    ),
    "how pytest is configured": (
        (f"{PROJECT}/pyproject.toml", "addopts", "{{ 'testpaths = [\"tests\"]\n' if cookiecutter.address }}addopts"),
        NONE,
        "address changes the configuration of pytest",
    ),
    "how mypy is configured": (
        (f"{PROJECT}/pyproject.toml", "strict = true", "strict = {{ 'true' if cookiecutter.address else 'false' }}"),
        NONE,
        "address changes the configuration of mypy",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", SEEN)
def test_a_prompt_is_not_beside_the_server_if_it_changes(way: str, new_folder: Folder) -> None:
    change, where, text = SEEN[way]
    small = SmallTemplate(new_folder("claim"))
    declaration = small.surround()
    small.change(*change)
    proof = checked(declaration, new_folder("run"))
    found = {
        one
        for one in declaration.combinations()
        if f"Not only beside the server: {text}" in texts(proof, one)
    }
    assert where in found, proof.problems
    assert found == {one for one in declaration.combinations() if one >= where}


def test_each_form_of_lines_that_tests_of_the_whole_see_is_in_the_linear_design(new_folder: Folder) -> None:
    """The linear design covers every triple of settings, so it lacks a form of a section that reads four prompts."""
    small = SmallTemplate(new_folder("claim"))
    declaration = replace(small.surround(), additive=[])
    both = frozenset({"colour", "shout"})
    wanted = replace(declaration, files=lambda chosen: declaration.files(frozenset(chosen)))
    few = "cookiecutter.colour and cookiecutter.shout and not cookiecutter.one_file"
    small.change(
        README, "'.\n' if cookiecutter.address", f"('!' if {few} else '.') ~ '\n' if cookiecutter.address"
    )
    assert checked(wanted, new_folder("run")).problems == {}
    small.change(README, few, f"{few} and not cookiecutter.greeting")
    proof = checked(wanted, new_folder("run"))
    text = "address is not beside the server: no project of the linear design has these lines of README.md"
    assert {one: texts(proof, one) for one in proof.problems} == {both: [text]}


def test_they_may_change_other_files_in_any_way(new_folder: Folder) -> None:
    small = SmallTemplate(new_folder("claim"))
    declaration = add_files(small.surround(), "notes.txt")
    small.change(f"{PROJECT}/box.txt", "Loud inside.", "Loud {{ 'and red' if cookiecutter.colour }} inside.")
    small.add(
        "notes.txt",
        "{{ cookiecutter.tone if cookiecutter.shout and cookiecutter.greeting }}{{ cookiecutter.box }}\n",
    )
    assert checked(declaration, new_folder("run")).problems == {}


def test_the_unit_tests_must_not_differ_or_name_their_files(new_folder: Folder) -> None:
    declaration = SmallTemplate(new_folder("units")).surround()

    def unit_tests(chosen: Combination) -> dict[str, bytes]:
        return {"tests/test_unit.py": b'BOX = "box.txt"\n' + (b"" if "box=no" in chosen else b"# boxed\n")}

    proof = checked(replace(declaration, unit_tests=unit_tests), new_folder("run"))
    assert texts(proof, NONE) == [
        "Not only beside the server: box changes the unit tests",
        "Not only beside the server: tests/test_unit.py sees box.txt, which box changes",
    ]


LOOKS = {
    "reads box.txt": '(README.parent / ("box" + ".txt")).read_text(encoding="utf-8")',
    "asks for services": '(README.parent / ("ser" + "vices")).exists()',
    "asks for services/north.txt": '(README.parent / "services" / ("nor" + "th.txt")).exists()',
    "lists ./": "[path.name for path in README.parent.iterdir()]",
    "reads notes.txt": '(README.parent / ("notes" + ".txt")).read_text(encoding="utf-8")',
}


@pytest.mark.parametrize("look", LOOKS)
def test_what_a_test_of_the_whole_sees_without_its_name_is_found_when_it_runs(
    look: str, new_folder: Folder
) -> None:
    small = SmallTemplate(new_folder("looking"))
    declaration = add_files(small.surround(), "notes.txt")
    small.add("notes.txt", "{{ cookiecutter.tone }}\n")
    small.add("tests/test_main.py", f"{READING_TEST}    assert {LOOKS[look]}\n")
    proof = proven(declaration, new_folder("run"), GREETING)
    text = f"A test of the whole project {look}, which its modules do not name"
    assert text in texts(proof, GREETING), proof.problems


# Faults in files of prompts beside the server, in some combinations only


def test_a_file_that_belongs_to_another_answer_is_found(new_folder: Folder) -> None:
    small = SmallTemplate(new_folder("fault"))
    declaration = small.surround()
    small.change(
        HOOK, '"services/south.txt"} -', '*(["services/south.txt"] if answers["tone"] != "warm" else [])} -'
    )
    proof = checked(declaration, new_folder("run"))
    text = "services/south.txt belongs to nothing that was chosen"
    found = {problem.variation for problem in proof.problems[NONE] if problem.text == text}
    assert found
    assert all("tone=warm" in variation and "service=south" not in variation for variation in found)


def test_a_fault_of_a_small_test_is_found_with_the_answer_that_shows_it(new_folder: Folder) -> None:
    small = SmallTemplate(new_folder("fault"))
    declaration = small.surround()
    fault = '"https://")\n    assert "there" not in CARD.read_text(encoding="utf-8")\n'
    small.change(f"{PROJECT}/tests/test_card.py", '"https://")\n', fault)
    proof = proven(declaration, new_folder("run"), GREETING)
    found = [one for one in proof.problems[GREETING] if "::test_the_card_has_an_address: " in one.text]
    assert {one.variation & {"address=here", "address=there"} for one in found} == {
        frozenset({"address=there"})
    }
    assert "address=https://there.example/small && cd" in proof.report(GREETING)


@pytest.mark.parametrize(
    ("fault", "text"),
    [("CARD: int = Path", "mypy: tests/test_card.py"), ("CARD  = Path", "ruff format: tests/test_card.py")],
    ids=["types", "format"],
)
def test_a_small_test_is_typed_and_linted_with_the_answer_that_adds_it(
    fault: str, text: str, new_folder: Folder
) -> None:
    small = SmallTemplate(new_folder("fault"))
    declaration = small.surround()
    small.change(f"{PROJECT}/tests/test_card.py", "CARD = Path", fault)
    # On the linear design, the whole project is type-checked with each answer. Test another combination.
    both = frozenset({"greeting", "colour", "one_file"}) - {"one_file"}
    proof = proven(declaration, new_folder("run"), both)
    found = [one for one in proof.problems[both] if one.text.startswith(text)]
    assert {item for one in found for item in one.variation if item.startswith("address")} <= {
        "address=here",
        "address=there",
    }
    assert found, proof.problems


def whole(small: SmallTemplate, stated: int) -> Declaration:
    """Change the test that an address adds, so that it sees the whole project."""
    declaration = small.surround()
    text = 'PROJECT = CARD.parent\nREADME = (PROJECT / "README.md").read_text(encoding="utf-8")\n\n\ndef test'
    small.change(f"{PROJECT}/tests/test_card.py", "\ndef test", text)
    return replace(declaration, closures={**declaration.closures, "tests/test_card.py": stated})


def test_a_test_of_the_whole_that_such_a_prompt_adds_runs_where_others_do_and_with_each_answer(
    new_folder: Folder,
) -> None:
    declaration = whole(SmallTemplate(new_folder("whole")), EACH)
    proof = proven(declaration, new_folder("run"))
    assert proof.problems == {}
    # In each of four projects: with each of two addresses, and in the sampled variations.
    assert proof.closures["tests/test_card.py"] == 4 * (2 + 6 + 1)


def test_its_fault_is_found_in_one_combination(new_folder: Folder) -> None:
    small = SmallTemplate(new_folder("whole"))
    declaration = whole(small, EACH)
    small.change(
        f"{PROJECT}/tests/test_card.py",
        "    assert CARD",
        '    assert "paints" not in README\n    assert CARD',
    )
    proof = proven(declaration, new_folder("run"))
    found = {one for one in proof.problems if "::test_the_card_has_an_address: " in str(proof.problems[one])}
    assert found == {one for one in declaration.combinations() if "colour" in one}


def test_it_must_not_see_a_file_that_varies_unnoticed(new_folder: Folder) -> None:
    small = SmallTemplate(new_folder("whole"))
    declaration = add_files(whole(small, EACH), "notes.txt")
    small.add("notes.txt", "{{ cookiecutter.tone }}\n")
    look = '    assert (PROJECT / ("notes" + ".txt")).read_text(encoding="utf-8")\n    assert CARD'
    small.change(f"{PROJECT}/tests/test_card.py", "    assert CARD", look)
    proof = proven(declaration, new_folder("run"), GREETING)
    text = "A test of the whole project reads notes.txt, which its modules do not name"
    assert text in texts(proof, GREETING)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("TRIES = 3\n", ""),
        ("TRIES: str = 3\n", "mypy: scripts/try.py"),
        ("TRIES  = 3\n", "ruff format: scripts/try.py"),
        ("from small.nothing import TRIES\n", "scripts/try.py imports small.nothing, which"),
        ("TRIES = (\n", "scripts/try.py is not valid Python"),
    ],
)
def test_a_script_that_such_a_prompt_adds_is_typed_and_linted_in_every_form(
    script: str, text: str, new_folder: Folder
) -> None:
    small = SmallTemplate(new_folder("script"))
    declaration = small.surround()
    small.change(
        HOOK,
        "    return found | (set()",
        '    found |= {"scripts/try.py"} if answers["service"] == "none" else set()\n    return found | (set()',
    )
    small.add(
        "scripts/try.py",
        f"{{% if cookiecutter.service == 'south' and cookiecutter.colour %}}\n{script}{{% endif %}}\nTWICE = 2\n",
    )
    wanted = declaration.files
    declaration = replace(
        declaration,
        files=lambda chosen: wanted(chosen) | (set() if "service=none" in chosen else {"scripts/try.py"}),
    )
    proof = proven(declaration, new_folder("run"), COLOUR, GREETING)
    assert not proof.problems[GREETING]
    assert (
        any(problem.startswith(text) for problem in texts(proof, COLOUR))
        if text
        else not proof.problems[COLOUR]
    )
