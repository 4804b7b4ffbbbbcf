"""The files and lines that each choice changes. The matrix proves that they are the same in every combination."""

import tomllib
from difflib import unified_diff

import pytest

from matrix.rendering import Files

from .combinations import AROUND, DECLARATION, PROMPTS
from .conftest import Bake

METADATA = 'license = "{}"'
LICENSES = {value: value for value in PROMPTS["license"]} | {"Proprietary": "LicenseRef-Proprietary"}


def changes(before: Files, after: Files) -> dict[str, list[str]]:
    """Return the removed and added lines by file."""
    assert before.keys() == after.keys()
    changed = {}
    for path in before:
        if before[path] != after[path]:
            old, new = before[path].decode().splitlines(), after[path].decode().splitlines()
            changed[path] = [line for line in list(unified_diff(old, new, n=0))[2:] if line[0] in "+-"]
    return changed


def test_every_choice_is_varied_so_that_the_matrix_proves_all_values() -> None:
    choices = {name for name, values in PROMPTS.items() if isinstance(values, list) and name[0] != "_"}
    assert {*DECLARATION.uniform, *AROUND} == set(DECLARATION.choices) >= choices
    for name, answers in AROUND.items():
        default = PROMPTS[name]
        assert next(iter(answers.values())) == (default[0] if isinstance(default, list) else default)
        assert not isinstance(default, list) or list(answers.values()) == default


@pytest.mark.parametrize("value", PROMPTS["license"])
def test_a_license_changes_only_its_text_and_one_line_of_metadata(value: str, bake_once: Bake) -> None:
    default, project = bake_once(), bake_once(license=value)
    changed = changes(default.files(), project.files())
    line = METADATA.format(LICENSES[value])
    if value != PROMPTS["license"][0]:
        assert changed.keys() == {"Dockerfile", "LICENSE", "pyproject.toml"}
        assert changed["pyproject.toml"] == [f"-{METADATA.format('MIT')}", f"+{line}"]
    metadata = tomllib.loads(project.text("pyproject.toml"))["project"]
    assert metadata["license"] == LICENSES[value]
    assert metadata["license-files"] == ["LICENSE"]
    assert f"Copyright (c) {PROMPTS['author_name']}\n" in project.text("LICENSE")
