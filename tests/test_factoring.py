"""Rendering in pieces detects undeclared reads, shown on the small template with files and hooks that read more."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.main import cookiecutter

from matrix.factoring import CombinationError, Factoring, Identities
from matrix.families import Joined, Varied
from matrix.hooks import NotFactoredError
from matrix.reading import Answers, Asking, Sealed, SealedError, UnreadError
from matrix.rendering import Files, read_files
from matrix.template import Combination, Declaration
from matrix.trees import Store

from .small_template import BY_FILE_HOOK, PROJECT, PURE_HOOK, SmallTemplate

README = f"{PROJECT}/README.md"
HOOK = "hooks/post_gen_project.py"


@pytest.fixture
def small(tmp_path: Path) -> SmallTemplate:
    template = SmallTemplate(tmp_path / "template")
    template.put(HOOK, PURE_HOOK)
    return template


@pytest.fixture
def pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Factoring, Combination], Files]:
    """Return a function that assembles and checks a combination in every variation, and returns the files of one."""
    folder, contents = tmp_path / "empty", tmp_path / "contents"
    folder.mkdir()
    contents.mkdir()
    monkeypatch.chdir(folder)
    store = Store(contents)

    def assembled(factoring: Factoring, combination: Combination) -> Files:
        declaration = factoring.declaration
        core = declaration.core(combination)
        identities = Identities(store)
        family = factoring.family(core, identities)
        for variation in declaration.variations:
            factoring.check(core, variation, family, identities)
        tree = Varied(family, declaration, Joined(store)).tree(combination - core)
        return {path: store.read(identity) for path, identity in tree.items()}

    return assembled


def every(declaration: Declaration) -> list[Combination]:
    return [one | other for one in declaration.combinations() for other in declaration.variations]


def real(declaration: Declaration, combination: Combination, folder: Path) -> Files:
    answers = declaration.answers_for(combination)
    path = cookiecutter(
        str(declaration.template),
        no_input=True,
        extra_context=answers,
        output_dir=str(folder),
        default_config=True,
    )
    return read_files(Path(path))


def reads(factoring: Factoring, source: str) -> tuple[str, ...]:
    return next(piece.reads for piece in factoring.pieces if piece.source == source)


def assert_all_as_cookiecutter_makes_them(
    declaration: Declaration, pieces: Callable[[Factoring, Combination], Files], tmp_path: Path
) -> Factoring:
    factoring = Factoring(declaration)
    for number, combination in enumerate(every(declaration)):
        made = real(declaration, combination, tmp_path / f"real-{number}")
        assert pieces(factoring, combination) == made, declaration.name(combination)
    return factoring


def test_the_pieces_make_every_project_that_cookiecutter_makes(
    small: SmallTemplate, pieces: Callable[[Factoring, Combination], Files], tmp_path: Path
) -> None:
    factoring = assert_all_as_cookiecutter_makes_them(small.claim(), pieces, tmp_path)
    known = {piece.source: [len(one.known) for one in piece.sections] for piece in factoring.pieces}
    assert reads(factoring, "README.md") == ("colour", "shout", "tone")
    # The heading, the paragraph of an additive prompt, and the line of a choice.
    assert known["README.md"] == [2, 2, 3]
    assert known["src/small/words.py"] == [1]


# Ways in which a file can read answers without naming them, and the reads that are detected.
ASKING = {
    "{% for name in ['colour', 'greeting'] if cookiecutter[name] %}{{ name }}{% endfor %}": {
        "colour",
        "greeting",
    },
    "{{ cookiecutter.get('col' ~ 'our') }}": {"colour"},
    "{{ 'colour' in cookiecutter and cookiecutter['colour'] }}": {"colour"},
    "{{ _cookiecutter['gree' ~ 'ting'] }}": {"greeting"},
    "{% set same = cookiecutter %}{{ same.colour }}": {"colour"},
    "{{ cookiecutter | attr('colour') | default(cookiecutter['greeting']) }}": {"greeting"},
    "{{ cookiecutter.items() | list | length }}": {"colour", "greeting", "one_file"},
    "{% for name, answer in cookiecutter | dictsort if answer == true %}{{ name }}{% endfor %}": {
        *("colour", "greeting", "one_file")
    },
    "{{ cookiecutter | length }}": {"colour", "greeting", "one_file"},
}


@pytest.mark.parametrize("text", ASKING)
def test_what_a_file_asks_for_in_other_ways_is_learned(
    text: str,
    small: SmallTemplate,
    pieces: Callable[[Factoring, Combination], Files],
    tmp_path: Path,
) -> None:
    small.put(README, text + "\n")
    factoring = assert_all_as_cookiecutter_makes_them(small.declaration, pieces, tmp_path)
    assert set(reads(factoring, "README.md")) == ASKING[text]


def test_a_name_of_a_file_may_read_prompts_too(
    small: SmallTemplate, pieces: Callable[[Factoring, Combination], Files], tmp_path: Path
) -> None:
    small.add("{{ 'red' if cookiecutter.colour else 'grey' }}.txt", "paint\n")
    small.add("{% if cookiecutter.greeting %}guests.txt{% endif %}", "Ada\n")
    assert_all_as_cookiecutter_makes_them(small.declaration, pieces, tmp_path)


def test_an_answer_that_follows_from_others_varies_with_them(
    small: SmallTemplate, pieces: Callable[[Factoring, Combination], Files], tmp_path: Path
) -> None:
    text = (small.folder / "cookiecutter.json").read_text(encoding="utf-8")
    derived = '"one_file": false, "mood": "{{ cookiecutter.colour and \'gay\' or \'grave\' }}",'
    small.put("cookiecutter.json", text.replace('"one_file": false,', derived))
    small.put(README, "A {{ cookiecutter.mood }} project.\n")
    factoring = assert_all_as_cookiecutter_makes_them(small.declaration, pieces, tmp_path)
    assert reads(factoring, "README.md") == ("mood",)


def test_files_of_other_bytes_and_line_ends_come_out_as_they_are(
    small: SmallTemplate, pieces: Callable[[Factoring, Combination], Files]
) -> None:
    for name, content in {
        "picture.bin": b"\x00\xff\x01",
        "windows.txt": b"one\r\ntwo {{ 1 + 1 }}\r\n",
    }.items():
        (small.folder / PROJECT / name).write_bytes(content)
    factoring = Factoring(small.declaration)
    found = pieces(factoring, frozenset())
    assert found["picture.bin"] == b"\x00\xff\x01"
    assert found["windows.txt"] == b"one\r\ntwo 2\r\n"


def test_a_hook_that_looks_at_a_text_is_given_it_in_every_form(
    small: SmallTemplate, pieces: Callable[[Factoring, Combination], Files], tmp_path: Path
) -> None:
    """README.md depends on a choice that the hook does not read, so its text is sealed until the hook reads it."""
    declaration = small.claim()
    looking = '    if "warm" in files["README.md"]:\n        files["warm.txt"] = "warm"\n    return files\n'
    small.change(HOOK, "    return files\n", looking)
    factoring = assert_all_as_cookiecutter_makes_them(declaration, pieces, tmp_path)
    assert "README.md" in factoring.opened
    assert "tone" not in factoring.hook_reads


def test_a_hook_that_does_not_is_run_once_for_all_forms(
    small: SmallTemplate, pieces: Callable[[Factoring, Combination], Files], tmp_path: Path
) -> None:
    declaration = small.claim()
    factoring = Factoring(declaration)
    finish, runs = factoring.hook.finish, []
    for combination in every(declaration):
        pieces(factoring, combination)

    def counted(files: dict[str, Any], answers: dict[str, Any]) -> dict[str, Any]:
        runs.append(answers)
        return finish(files, answers)

    factoring.hook = replace(factoring.hook, finish_together=counted)
    factoring.family(frozenset({"greeting"}), Identities(Store(tmp_path / "contents")))
    assert len(runs) == 2  # with and without `shout`, which it reads; one run covers the three tones
    assert factoring.opened == set()


@pytest.mark.parametrize("hook", ["post", "pre"])
def test_a_combination_that_a_hook_refuses_makes_no_project(
    hook: str, small: SmallTemplate, pieces: Callable[[Factoring, Combination], Files]
) -> None:
    if hook == "pre":
        small.plant('raise SystemExit("no")', [frozenset({"colour"})], hook="pre")
    else:
        small.change(
            HOOK,
            "    names = [",
            '    assert answers["greeting"] or not answers["colour"], "no"\n    names = [',
        )
    factoring = Factoring(small.declaration)
    assert pieces(factoring, frozenset({"greeting"}))
    with pytest.raises(CombinationError, match=r"The template makes no project: the hook .*no"):
        pieces(factoring, frozenset({"colour"}))


WHOLE = {
    "has no function": (HOOK, "def finish(", "def complete("),
    "holds template code": (HOOK, "    names = [", "    names = [{% if true %}{% endif %}"),
}


@pytest.mark.parametrize("reason", WHOLE)
def test_a_hook_that_is_not_a_function_lets_every_project_be_rendered_whole(
    reason: str, small: SmallTemplate
) -> None:
    small.change(*WHOLE[reason])
    with pytest.raises(NotFactoredError, match=reason):
        Factoring(small.declaration)


def test_a_hook_that_writes_files_is_not_a_function(
    small: SmallTemplate, pieces: Callable[[Factoring, Combination], Files]
) -> None:
    small.plant('open("note.txt", "w").close()', [frozenset({"colour"})], hook="pre")
    with pytest.raises(NotFactoredError, match="writes files"):
        pieces(Factoring(small.declaration), frozenset({"colour"}))


# Stand-ins for answers and texts that must not be read


CLOSED: dict[str, Callable[[Answers], object]] = {
    "an item": lambda answers: answers["closed"],
    "get": lambda answers: answers.get("closed"),
    "in": lambda answers: "closed" in answers,
    "all names": list,
    "all values": lambda answers: answers.values(),
    "all items": lambda answers: answers.items(),
    "a copy": dict,
    "an unpacking": lambda answers: {**answers},
    "a union": lambda answers: answers | {},
    "their number": len,
    "a comparison": lambda answers: answers == {},
    "a text": str,
    "whether there are any": bool,
}


@pytest.mark.parametrize("asked", CLOSED)
def test_an_answer_that_was_not_given_cannot_be_asked_for(asked: str) -> None:
    answers = Answers({"open": 1, "closed": 2}, ["closed"])
    assert answers["open"] == answers.get("open") == 1
    with pytest.raises(UnreadError, match=r"^reads closed$"):
        CLOSED[asked](answers)


SEALED: dict[str, Callable[[Any], object]] = {
    "a method": lambda text: text.replace("a", "b"),
    "a comparison": lambda text: text == "",
    "another": lambda text: text != "",
    "its truth": bool,
    "its hash": hash,
    "its text": str,
    "a format": lambda text: f"{text}",
    "its class": lambda text: isinstance(text, str),
}


@pytest.mark.parametrize("asked", SEALED)
def test_a_sealed_text_answers_nothing(asked: str) -> None:
    with pytest.raises(SealedError):
        SEALED[asked](Sealed())


def test_variations_of_a_template_without_claims_are_combinations(small: SmallTemplate) -> None:
    claiming = small.claim()
    plain = replace(claiming, additive=[], uniform=[])
    assert len(list(claiming.combinations())) == 2**3
    assert len(claiming.variations) == 2 * 3
    assert plain.variations == [frozenset()]
    assert set(plain.combinations()) == set(every(claiming))
    assert plain.option_combinations == claiming.option_combinations == 2**4 * 3


# A hook in steps, which finishes each file alone


@pytest.fixture
def by_file(small: SmallTemplate) -> Declaration:
    declaration = small.claim()
    small.put(HOOK, BY_FILE_HOOK)
    return declaration


def test_a_hook_in_steps_is_run_for_each_file_with_what_decides_it(
    by_file: Declaration, pieces: Callable[[Factoring, Combination], Files], tmp_path: Path
) -> None:
    factoring = assert_all_as_cookiecutter_makes_them(by_file, pieces, tmp_path)
    assert factoring.hook.by_file
    read = {piece.source: piece.hook_reads for piece in factoring.pieces if piece.hook_reads}
    assert read == {
        "src/small/parts/colour.py": {"colour"},
        "tests/test_colour.py": {"colour"},
        "src/small/parts/greeting.py": {"greeting"},
        "tests/test_greeting.py": {"greeting"},
        "src/small/shout.py": {"shout"},
    }
    assert factoring.hook_reads == {"one_file"}


def test_a_file_that_the_hook_adds_to_those_it_finishes_together_replaces_one_finished_alone(
    small: SmallTemplate,
    by_file: Declaration,
    pieces: Callable[[Factoring, Combination], Files],
    tmp_path: Path,
) -> None:
    """README.md varies where it is finished alone, and the added file does not."""
    small.change(
        HOOK,
        "    return files\n\n\ndef imp",
        '    files["README.md"] = "Fixed.\\n"\n    return files\n\n\ndef imp',
    )
    assert_all_as_cookiecutter_makes_them(by_file, pieces, tmp_path)


def test_what_the_hook_does_to_a_file_in_one_combination_of_three_prompts_is_found(
    small: SmallTemplate,
    by_file: Declaration,
    pieces: Callable[[Factoring, Combination], Files],
    tmp_path: Path,
) -> None:
    rare = (
        '    if path == "README.md" and answers["greeting"] and answers["shout"] and answers["tone"] == "cold":\n'
        '        return text + "Brr.\\n"\n'
    )
    small.change(
        HOOK, '    name = Path(path).stem.removeprefix("test_")\n', rare + "    name = Path(path).stem\n"
    )
    factoring = assert_all_as_cookiecutter_makes_them(by_file, pieces, tmp_path)
    assert "README.md" in factoring.opened


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "    return {**alone, **finish_together",
            "    alone.pop('README.md')\n    return {**alone, **finish_together",
        ),
        (
            "def finish(files, answers):\n    finished",
            "@staticmethod\ndef finish(files, answers):\n    finished",
        ),
        ("def is_shared", "def is_alone"),
    ],
)
def test_a_hook_that_does_more_than_its_steps_is_run_for_all_files(
    old: str, new: str, small: SmallTemplate, by_file: Declaration
) -> None:
    small.change(HOOK, old, new)
    assert not Factoring(by_file).hook.by_file


def test_a_hook_that_remembers_other_files_is_detected(
    small: SmallTemplate, by_file: Declaration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hook changes `words.txt` if it has kept `shout.py` in an earlier call."""
    remembering = (
        '    if path == "src/small/shout.py" and answers["shout"]:\n        SEEN.append(path)\n'
        '    if path == "src/small/words.txt" and SEEN:\n        return text + "loud\\n"\n'
    )
    small.change(HOOK, 'PARTS = "src/small/parts/"\n', 'PARTS = "src/small/parts/"\nSEEN = []\n')
    name = '    name = Path(path).stem.removeprefix("test_")\n'
    small.change(HOOK, name, remembering + name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "contents").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    factoring, identities = Factoring(by_file), Identities(Store(tmp_path / "contents"))
    family = factoring.family(frozenset(), identities)
    with pytest.raises(NotFactoredError, match=r"src/small/words.txt: other than rendered whole"):
        factoring.check(frozenset(), frozenset(), family, identities)


# The hook that checks the answers


OBSERVABLE = '''\
import json

ANSWERS = json.loads(r"""{{ cookiecutter | tojson }}""")
for name in ("greeting", "colour", "one_file", "shout"):
    assert isinstance(ANSWERS[name], bool)
assert ANSWERS["tone"] in ("plain", "warm", "cold")
'''


def test_answers_whose_type_alone_is_checked_need_not_be_combined(
    small: SmallTemplate, by_file: Declaration, pieces: Callable[[Factoring, Combination], Files]
) -> None:
    small.put("hooks/pre_gen_project.py", OBSERVABLE)
    factoring = Factoring(by_file)
    for combination in by_file.combinations():
        pieces(factoring, combination)
    assert factoring.pre.reads == {"tone"}
    assert len(factoring.pre.passed) == 3


@pytest.mark.parametrize(
    "refusal",
    [
        'assert not (ANSWERS["colour"] and ANSWERS["shout"] and ANSWERS["tone"] == "cold")',
        'try:\n    refused = ANSWERS["colour"] and ANSWERS["shout"] and ANSWERS["tone"] == "cold"\n'
        "except Exception:\n    refused = False\nassert not refused",
        'assert not (ANSWERS["colour"] is True and ANSWERS["shout"] is True and ANSWERS["tone"] == "cold")',
        'assert (str(ANSWERS["colour"]), f"{ANSWERS[\'shout\']}", ANSWERS["tone"]) != ("True", "True", "cold")',
        'assert [ANSWERS[name] for name in ("colour", "shout", "tone")] != [True, True, "cold"]',
        'assert json.dumps([ANSWERS[name] for name in ("colour", "shout", "tone")]) != \'[true, true, "cold"]\'',
    ],
)
def test_a_refusal_in_one_variation_is_found(
    refusal: str,
    small: SmallTemplate,
    by_file: Declaration,
    pieces: Callable[[Factoring, Combination], Files],
) -> None:
    small.put("hooks/pre_gen_project.py", OBSERVABLE + refusal + "\n")
    factoring = Factoring(by_file)
    assert pieces(factoring, frozenset({"greeting"}))
    with pytest.raises(CombinationError, match="The template makes no project"):
        pieces(factoring, frozenset({"colour"}))


# Functions that read a part of a combination


READING: dict[str, tuple[Callable[[Combination], object], set[str]]] = {
    "an item": (lambda chosen: "shout" in chosen, {"shout"}),
    "a value": (lambda chosen: "tone=cold" in chosen, {"tone"}),
    "some": (lambda chosen: bool(chosen & {"colour", "shout"}), {"shout"}),
    "the others": (lambda chosen: sorted(chosen - {"shout"}), {"tone"}),
    "none of them": (lambda chosen: len(chosen & {"colour", "greeting"}), set()),
    "from the left": (lambda chosen: sorted({"colour", "shout"} & chosen), {"shout"}),
    "taken away": (lambda chosen: {"colour", "shout"} - chosen, {"shout"}),
    "an update": (lambda chosen: set().union(chosen), {"shout", "tone"}),
    "a subset": (lambda chosen: chosen <= {"colour"}, {"shout", "tone"}),
    "a hash": (hash, {"shout", "tone"}),
    "a method": (lambda chosen: chosen.issuperset({"colour"}), {"shout", "tone"}),
}


@pytest.mark.parametrize("way", READING)
def test_what_a_table_reads_of_a_combination_is_learned(way: str, small: SmallTemplate) -> None:
    function, wanted = READING[way]
    declaration = small.claim()
    asking = Asking(declaration, function)
    for core in declaration.combinations():
        names = asking.names(core)
        for variation in declaration.variations:
            assert asking.at(core, variation) == function(core | variation)
    assert names == wanted
