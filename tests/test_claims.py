"""The engine checks the claims of a template: it detects false claims that are planted in the small template."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from matrix.claims import hunks, insertions, is_inserted, replace_lines
from matrix.progress import Progress
from matrix.proof import Proof, Run, prove
from matrix.template import Combination, Declaration

from .conftest import needs_forks
from .small_template import BY_FILE_HOOK, PROJECT, PURE_HOOK, SmallTemplate

pytestmark = needs_forks
README = f"{PROJECT}/README.md"
HOOK = "hooks/post_gen_project.py"
GREETING: Combination = frozenset({"greeting"})
COLOUR: Combination = frozenset({"colour"})
Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def new_folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return tmp_path_factory.mktemp


def check(declaration: Declaration, folder: Path) -> Proof:
    """Render every combination, and check the claims."""
    every = list(declaration.combinations())
    run = Run(declaration, every, folder, Progress(io.StringIO()), dedup=True, processes=False)
    run.render()
    run.compare_files()
    run.check_claims()
    return run.proof


# A template whose claims hold


@pytest.fixture(scope="module")
def sound(new_folder: Folder) -> Proof:
    declaration = SmallTemplate(new_folder("sound")).claim()
    every = list(declaration.combinations())
    return prove(declaration, every, new_folder("run"), progress=Progress(io.StringIO()))


def test_a_template_whose_claims_hold_is_green_and_each_test_is_of_all_variations(sound: Proof) -> None:
    assert sound.problems == {}
    assert len(sound.green()) == 2**3
    assert sound.declaration.option_combinations == 2**4 * 3


def test_every_variation_is_rendered_and_its_files_are_among_those_linted(sound: Proof) -> None:
    assert {len(project) for project in sound.varied.values()} == {2 * 3}
    tones = {
        delta.get("src/small/tone.txt") for project in sound.varied.values() for delta in project.values()
    }
    assert len(tones - {None}) == 3


def test_what_sees_the_whole_runs_for_each_additive_prompt_each_value_and_all_in_the_linear_design(
    sound: Proof,
) -> None:
    variations = {"with-shout", "tone=warm", "tone=cold", "with-shout,tone=cold"}
    unfolded = {"none", "greeting", "colour", "all-but-one_file"}
    assert set(sound.sampled) == {f"{name},{variation}" for name in unfolded for variation in variations}


def test_what_it_does_not_change_is_not_run_again(sound: Proof) -> None:
    plain = {
        "tests/test_colour.py": 1,
        "tests/test_greeting.py": 2,
        "tests/test_words.py": 2,
        "tests/test_main.py": 4,
    }
    assert sound.closures == plain


def test_a_fault_under_one_variation_is_found_and_the_report_names_it(new_folder: Folder) -> None:
    small = SmallTemplate(new_folder("fault"))
    declaration = small.claim()
    small.add("src/small/mood.py", "MOOD = {{ '[ ]' if cookiecutter.tone == 'warm' else '[]' }}\n")
    wanted = declaration.files
    proof = prove(
        replace(declaration, files=lambda chosen: wanted(chosen) | {"src/small/mood.py"}),
        [COLOUR, GREETING],
        new_folder("run"),
        progress=Progress(io.StringIO()),
        processes=False,
    )
    report = proof.report(COLOUR)
    assert "ruff format: src/small/mood.py" in report
    assert "colour=yes one_file=no shout=no tone=warm && cd" in report


def test_a_test_file_runs_under_each_variation_that_it_sees(new_folder: Folder) -> None:
    small = SmallTemplate(new_folder("seen"))
    declaration = small.claim()
    text = "def test_tone() -> None:\n    assert '{{ cookiecutter.tone }}' != 'cold'\n"
    small.add("tests/test_tone.py", text)
    wanted = declaration.files
    declaration = replace(
        declaration,
        files=lambda chosen: wanted(chosen) | {"tests/test_tone.py"},
        closures={**declaration.closures, "tests/test_tone.py": 3},
    )
    every = list(declaration.combinations())
    proof = prove(declaration, every, new_folder("run"), progress=Progress(io.StringIO()), processes=False)
    assert proof.closures["tests/test_tone.py"] == 3
    assert proof.green() == []
    found = {one for problems in proof.problems.values() for one in problems if "::test_tone: " in one.text}
    assert {problem.variation & {"tone=warm", "tone=cold"} for problem in found} == {frozenset({"tone=cold"})}


# False claims: the planted change, the combinations in which it is found, and the message.

NOT_ADDITIVE = {
    "adds a file in some combinations only": (
        (HOOK, "    return files\n", "    if answers['greeting']:\n        files.pop('src/small/shout.py', None)\n    return files\n"),
        GREETING,
        "src/small/shout.py does not change, as elsewhere",
    ),
    "adds a file with another text in some combinations": (
        (f"{PROJECT}/src/small/shout.py", "True", "{{ cookiecutter.greeting }}"),
        GREETING,
        "src/small/shout.py is not added with the same text as elsewhere",
    ),
    "inserts other lines in some combinations": (
        (README, "It shouts.", "It shouts{{ ' in red' if cookiecutter.colour }}."),
        COLOUR,
        "README.md does not gain the same lines as elsewhere, and those alone",
    ),
    "inserts lines into another file in some combinations": (
        (f"{PROJECT}/src/small/words.txt", "hello\n", "hello\n{{ '!\n' if cookiecutter.shout and cookiecutter.greeting }}"),
        GREETING,
        "src/small/words.txt changes, and not elsewhere",
    ),
    "removes a line in some combinations": (
        (README, "Its tone", "{{ 'Quiet.\n' if cookiecutter.greeting and not cookiecutter.shout }}Its tone"),
        GREETING,
        "README.md does not gain the same lines as elsewhere, and those alone",
    ),
    "changes a line everywhere": (
        (README, "# A small", "# A {{ 'loud' if cookiecutter.shout else 'small' }}"),
        frozenset[str](),
        "README.md loses or changes lines",
    ),
}  # fmt: skip
NOT_UNIFORM = {
    "replaces a line in some combinations only": (
        (README, "{{ cookiecutter.tone }}", "{{ cookiecutter.tone if cookiecutter.colour else 'plain' }}"),
        frozenset[str](),
        "README.md does not change in the same lines as elsewhere",
    ),
    "replaces a line by another in some combinations": (
        (README, "{{ cookiecutter.tone }}", "{{ cookiecutter.tone }}{{ 'er' if cookiecutter.greeting and cookiecutter.tone != 'plain' }}"),
        GREETING,
        "README.md does not change in the same lines as elsewhere",
    ),
    "adds a file in some combinations": (
        (HOOK, "    return files\n", "    if answers['colour'] and answers['tone'] == 'warm':\n        files['src/small/warm.txt'] = 'warm'\n    return files\n"),
        COLOUR,
        "src/small/warm.txt is not added with the same text as elsewhere",
    ),
    "removes a file in some combinations": (
        (HOOK, "    return files\n", "    if answers['colour'] and answers['tone'] == 'warm':\n        del files['src/small/tone.txt']\n    return files\n"),
        COLOUR,
        "src/small/tone.txt is not removed as elsewhere",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", NOT_ADDITIVE)
def test_a_prompt_is_blamed_that_claims_to_be_additive_and(way: str, new_folder: Folder) -> None:
    change, where, text = NOT_ADDITIVE[way]
    small = SmallTemplate(new_folder("claim"))
    declaration = small.claim(uniform=False)
    small.change(*change)
    proof = check(declaration, new_folder("run"))
    expected = f"shout is not additive: {text}"
    found = [problem.text for problem in proof.problems[where] if problem.text.startswith(expected)]
    assert found, proof.problems


@pytest.mark.parametrize("way", NOT_UNIFORM)
def test_a_choice_is_blamed_that_claims_to_be_uniform_and(way: str, new_folder: Folder) -> None:
    change, where, text = NOT_UNIFORM[way]
    small = SmallTemplate(new_folder("claim"))
    declaration = small.claim(additive=False)
    small.change(*change)
    proof = check(declaration, new_folder("run"))
    expected = f"tone is not uniform: {text}"
    found = [problem.text for problem in proof.problems[where] if problem.text.startswith(expected)]
    assert found, proof.problems


def test_claims_are_compared_with_the_same_combination_whichever_are_requested(new_folder: Folder) -> None:
    small = SmallTemplate(new_folder("claim"))
    declaration = small.claim(uniform=False)
    small.change(README, "It shouts.", "It shouts{{ ' in red' if cookiecutter.colour }}.")
    every = [COLOUR]
    run = Run(declaration, every, new_folder("run"), Progress(io.StringIO()), dedup=True, processes=False)
    run.render()
    run.check_claims()
    assert [problem.text for problem in run.proof.problems[COLOUR]]


# False claims that only a few projects show: in one combination of two other prompts, in a folded project, with a
# hook in steps

RARE = {
    "inserts other lines where two others are chosen": (
        (README, "It shouts.", "It shouts{{ ' in red' if cookiecutter.colour and cookiecutter.tone == 'cold' }}."),
        COLOUR,
        "README.md does not gain the same lines as elsewhere, and those alone (where tone=cold)",
    ),
    "inserts other lines in some folded projects": (
        (README, "It shouts.", "It shouts{{ ' from one file' if cookiecutter.one_file and cookiecutter.colour }}."),
        frozenset({"one_file", "colour"}),
        "README.md does not gain the same lines as elsewhere, and those alone",
    ),
    "changes a module where a project is folded": (
        (f"{PROJECT}/src/small/words.py", "WORDS =", "{{ '# Loud.\n' if cookiecutter.shout and cookiecutter.one_file }}WORDS ="),
        frozenset({"one_file"}),
        "src/small/words.py changes, and not elsewhere",
    ),
    "adds a file only without another": (
        (f"{PROJECT}/src/small/shout.py", "LOUD", "{{ 'QUIET = False\n' if cookiecutter.greeting and cookiecutter.tone == 'warm' }}LOUD"),
        GREETING,
        "src/small/shout.py is not added with the same text as elsewhere (where tone=warm)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("hook", [PURE_HOOK, BY_FILE_HOOK], ids=["at once", "in steps"])
@pytest.mark.parametrize("way", RARE)
def test_a_false_claim_is_found_in_the_few_projects_that_show_it(
    way: str, hook: str, new_folder: Folder
) -> None:
    change, where, text = RARE[way]
    small = SmallTemplate(new_folder("claim"))
    declaration = small.claim()
    small.put(HOOK, hook)
    small.change(*change)
    proof = check(declaration, new_folder("run"))
    found = {
        one
        for one, problems in proof.problems.items()
        for problem in problems
        if problem.text == f"shout is not additive: {text}"
    }
    assert where in found, proof.problems
    assert found == {one for one in declaration.combinations() if one >= where}


def test_a_template_with_a_hook_in_steps_is_green_and_its_files_are_as_many(
    sound: Proof, new_folder: Folder
) -> None:
    small = SmallTemplate(new_folder("steps"))
    declaration = small.claim()
    small.put(HOOK, BY_FILE_HOOK)
    proof = check(declaration, new_folder("run"))
    assert proof.problems == {}
    assert proof.files == sound.files
    every = {item for varied in proof.varied.values() for one in varied for item in varied.tree(one).items()}
    assert proof.files == len(every)


# Lines


@pytest.mark.parametrize(
    ("before", "after", "inserted"),
    [
        ("ab", "aXb", True),
        ("", "X", True),
        ("XX", "XXX", True),
        ("ab", "abX", True),
        ("ab", "Xa", False),
        ("ab", "aYb", False),
        ("ab", "aXXb", False),
        ("ab", "ab", False),
    ],
)
def test_lines_are_inserted_where_all_others_stay(before: str, after: str, inserted: bool) -> None:
    assert is_inserted(tuple(before), tuple(after), [("X",)]) == inserted


def test_several_blocks_are_inserted_in_order() -> None:
    assert is_inserted(tuple("ab"), tuple("aXbY"), [("X",), ("Y",)])
    assert not is_inserted(tuple("ab"), tuple("aYbX"), [("X",), ("Y",)])
    assert insertions(tuple("ab"), tuple("aXbYZ")) == [("X",), ("Y", "Z")]
    assert insertions(tuple("ab"), tuple("aX")) is None


def test_a_line_is_replaced_under_its_heading_only() -> None:
    before = ("one = [\n", "    old\n", "]\n", "two = [\n", "    old\n", "]\n")
    after = (*before[:1], "    new\n", *before[2:])
    table = dict(hunks(before, after))
    assert table == {("one = [\n", "    old\n"): ("    new\n",)}
    assert replace_lines(before, table) == after
