"""Rendering in pieces shows that it may: shown on the small template, with files and hooks that ask for more."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cookiecutter.main import cookiecutter

from matrix.factoring import (
    Answers,
    CombinationError,
    Factoring,
    Identities,
    NotFactoredError,
    Sealed,
    SealedError,
    UnreadError,
)
from matrix.rendering import Files, read_files
from matrix.template import Combination, Declaration
from matrix.trees import Store

from .small_template import PROJECT, PURE_HOOK, SmallTemplate

README = f"{PROJECT}/README.md"
HOOK = "hooks/post_gen_project.py"


@pytest.fixture
def small(tmp_path: Path) -> SmallTemplate:
    template = SmallTemplate(tmp_path / "template")
    template.put(HOOK, PURE_HOOK)
    return template


@pytest.fixture
def pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Factoring, Combination], Files]:
    """Return how a combination is assembled, every variation of it."""
    folder, contents = tmp_path / "empty", tmp_path / "contents"
    folder.mkdir()
    contents.mkdir()
    monkeypatch.chdir(folder)
    store = Store(contents)

    def assembled(factoring: Factoring, combination: Combination) -> Files:
        tree = factoring.tree(combination, Identities(store), {})
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
    known = {piece.source: len(piece.known) for piece in factoring.pieces}
    assert reads(factoring, "README.md") == ("colour", "shout", "tone")
    assert known["README.md"] == 2 * 2 * 3
    assert known["src/small/words.py"] == 1


# How a file may ask for answers without naming them, and what it is found to read.
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
    """README.md depends on a choice that the hook does not read: it would be left out if the hook asked nothing of it."""
    declaration = small.claim()
    looking = '    if "warm" in files["README.md"]:\n        files["warm.txt"] = "warm"\n    return files\n'
    small.change(HOOK, "    return files\n", looking)
    factoring = assert_all_as_cookiecutter_makes_them(declaration, pieces, tmp_path)
    assert "README.md" in factoring.opened
    assert "tone" not in factoring.hook_reads


def test_a_hook_that_does_not_is_run_once_for_all_forms(
    small: SmallTemplate, pieces: Callable[[Factoring, Combination], Files]
) -> None:
    declaration = small.claim()
    factoring = Factoring(declaration)
    finish, runs = factoring.post, []
    for combination in every(declaration):
        pieces(factoring, combination)

    def counted(files: dict[str, Any], answers: dict[str, Any]) -> dict[str, Any]:
        runs.append(answers)
        return finish(files, answers)

    factoring.post = counted
    known: dict[Any, dict[str, Any]] = {}
    for variation in declaration.variations:
        values = factoring.answering.values(frozenset({"greeting"}) | variation)
        factoring.finish(factoring.render(values), values, known)
    assert len(runs) == 2  # with and without `shout`, which it reads; the three tones are one
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


# What stands for answers and texts that are not to be seen


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
