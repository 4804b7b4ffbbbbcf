"""The sections of a template render to the same text as the whole template, for every combination that it reads."""

from itertools import product

import pytest
from jinja2 import Environment, Template, nodes

from matrix.sections import sections

ENVIRONMENT = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
NAMES = ("colour", "greeting", "shout")
# Templates, and the answers that each of their sections reads.
SPLIT = {
    "paragraphs": (
        "# Title\n\n{% if answers.colour %}\nRed.\n{% endif %}\n{% if answers.shout %}\nLoud.\n{% endif %}\nEnd.\n",
        [set(), {"colour"}, {"shout"}, set()],
    ),
    "a list with its heading": (
        "items = [\n{% if answers.colour %}\n    red,\n{% endif %}\n{% if answers.shout %}\n    loud,\n{% endif %}\n]\nend\n",
        [{"colour", "shout"}, set()],
    ),
    "a line of two answers": (
        "One.\nIt is {{ answers.colour }} and {{ answers.shout }}.\nThree {{ answers.greeting }}.\n",
        [set(), {"colour", "shout"}, {"greeting"}],
    ),
    "neighbours that read the same": (
        "{% if answers.colour %}\nOne.\n{% endif %}\n{% if answers.colour %}\nTwo.\n{% endif %}\nThree.\n",
        [{"colour"}, set()],
    ),
    "an assignment, used later": (
        "{% set any = answers.colour or answers.shout %}\nOne.\n{% if any %}\nTwo.\n{% endif %}\nThree {{ answers.greeting }}.\n",
        [set(), {"colour", "shout"}, {"greeting"}],
    ),
    "an assignment in a branch": (
        "{% set one = 1 %}\n{% if answers.colour %}\n{% set one = 2 %}\n{% elif answers.shout %}\n{% set one = 3 %}\n{% endif %}\n"
        "One {{ answers.greeting }}.\nIt is {{ one }}.\n",
        [{"greeting"}, {"colour", "shout"}],
    ),
    "a macro, defined in a branch": (
        "{% if answers.colour %}\n{% set word = answers.shout %}\n{% macro said(end) %}\n{% set word = word ~ end %}\nSaid {{ word }}\n"
        "{% endmacro %}\n{% endif %}\nOne {{ answers.greeting }}.\n{% if answers.colour %}\nIt {{ said('.') }}\n{% endif %}\nEnd.\n",
        [{"greeting"}, {"colour", "shout"}, set()],
    ),
    "two names of a text": (
        "{% set one = 'a' %}\n{% set two = one %}\n{% set all = [] %}\n{% set _ = all.append(answers.colour) %}\n"
        "One {{ answers.greeting }}.\n{{ two }}\nAll {{ all | join }}.\n",
        None,
    ),
    "a list that a loop fills": (
        "{% set found = [] %}\n{% for name in ['colour', 'shout'] if answers[name] %}\n{% set _ = found.append(name) %}\n"
        "{% endfor %}\nOne {{ answers.greeting }}.\n{{ found | join(',') }}\n",
        None,
    ),
    "a variable that is assigned twice": (
        "{% set word = answers.colour %}\n{{ word }}\nOne.\n{% set word = answers.shout %}\nTwo {{ word }}.\n",
        None,
    ),
}
WHOLE = {
    "a block": "{% block one %}\nOne.\n{% endblock %}\nTwo {{ answers.colour }}.\n",
    "an assignment in a branch that prints": "{% set one = 1 %}\n{% if answers.colour %}\n{% set one = 2 %}\nTwo.\n{% endif %}\nIt is {{ one }}.\n",
    "a macro that changes a list": "{% set all = [] %}\n{% macro one() %}{{ all.append(1) }}{% endmacro %}\n{{ one() }}\n{{ all }}\nTwo {{ answers.colour }}.\n",
    "a list that is changed while printing": "{% set all = [] %}\n{{ all.append(1) }}\n{{ all | length }}\nTwo {{ answers.colour }}.\n",
    "an object with a state": "{% set comma = joiner() %}\n{{ comma() }}one\n{{ comma() }}two\nTwo {{ answers.colour }}.\n",
    "a namespace": "{% set seen = namespace(n=0) %}\n{% set seen.n = 1 %}\n{{ seen.n }}\nTwo {{ answers.colour }}.\n",
    "a list of two names": "{% set one = [] %}\n{% set two = one %}\n{% for x in [1] %}\n{% set _ = two.append(x) %}\n{% endfor %}\n{{ one }}\n",
}


def reads(tree: nodes.Template) -> frozenset[str]:
    return frozenset(node.attr for node in tree.find_all(nodes.Getattr) if node.attr in NAMES)


def split(source: str) -> list[nodes.Template]:
    return sections(ENVIRONMENT, source, reads)


@pytest.mark.parametrize("way", [*SPLIT, *WHOLE])
def test_sections_make_the_whole_text(way: str) -> None:
    source = SPLIT[way][0] if way in SPLIT else WHOLE[way]
    templates = []
    for section in split(source):
        code = ENVIRONMENT.compile(section, "section", "section")
        templates.append(Template.from_code(ENVIRONMENT, code, ENVIRONMENT.make_globals(None)))
    whole = ENVIRONMENT.from_string(source)
    for values in product([True, False], repeat=len(NAMES)):
        answers = dict(zip(NAMES, values, strict=True))
        texts = [template.render(answers=answers) for template in templates]
        assert "".join(texts) == whole.render(answers=answers)
        assert all(text.endswith("\n") for text in texts[:-1] if text)


@pytest.mark.parametrize(
    ("source", "wanted"), [(source, wanted) for source, wanted in SPLIT.values() if wanted]
)
def test_a_section_reads_what_its_lines_read(source: str, wanted: list[set[str]]) -> None:
    assert [set(reads(section)) for section in split(source)] == wanted


@pytest.mark.parametrize("way", WHOLE)
def test_a_template_whose_parts_depend_on_each_other_is_one_section(way: str) -> None:
    assert len(split(WHOLE[way])) == 1


def test_an_empty_template_is_one_section() -> None:
    assert len(split("")) == 1
