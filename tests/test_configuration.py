"""The engine reads the tables of tools in pyproject.toml without parsing the rest of the file."""

import tomllib

import pytest

from matrix.closures import parsed, tool_tables

from .conftest import Projects

USUAL = """\
# A comment
[project]
name = "small"
keywords = [
    "one",
]

[tool.ruff]
line-length = 100
select = [
    "E", # errors
]

[[tool.mypy.overrides]]
module = ["one"]

[[tool.mypy.overrides]]
module = ["two"]

[other]
tool = "none"
"""
TEXTS = {
    "usual": USUAL,
    "Windows": USUAL.replace("\n", "\r\n"),
    "no tool": "[project]\nname = 'small'\n",
    "empty": "",
    "before any table": "tool.ruff.line-length = 80\n[project]\nname = 'small'\n",
    "one table for all tools": "[tool]\nruff.line-length = 80\n[tool.mypy]\nstrict = true\n",
    "indented": "[project]\nname = 'small'\n  [tool.ruff]\n  line-length = 80\n  [tool.ruff.lint]\n  select = ['E']\n",
    "quoted": "['tool'.ruff]\nline-length = 80\n[\"tool\".mypy]\nstrict = true\n",
    "spaces": "[ tool.ruff ]\nline-length = 80\n[tool . mypy]\nstrict = true\n[tool\t.pytest]\nx = 1\n",
    "arrays of arrays": "[tool.ruff]\nvalue = [\n[1, 2],\n  [3],\n[\n4]\n]\nlast = 1\n[project]\nname = 'small'\n",
    "a header in a text": "[project]\ntext = '''\n[tool.ruff]\nline-length = 1\n'''\n[tool.ruff]\nline-length = 2\n",
    "a header in a comment": "[project]\n# [tool.ruff]\nname = 'small'\n[tool.ruff]\nline-length = 2\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_tables_of_tools_are_those_of_the_whole_file(text: str) -> None:
    assert tool_tables(text) == tomllib.loads(text).get("tool", {})


@pytest.mark.parametrize(
    "text",
    [
        "[tool.ruff]\nline-length = 80\n[tool.ruff]\nline-length = 90\n",
        "[tool.ruff]\nline-length =\n",
    ],
)
def test_invalid_tables_are_an_error(text: str) -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        tool_tables(text)


def test_projects_that_differ_elsewhere_share_what_is_parsed() -> None:
    tool_tables(USUAL)
    before = parsed.cache_info().misses
    tool_tables(USUAL.replace("small", "other"))
    assert parsed.cache_info().misses == before


@pytest.mark.parametrize("name", ["all", "none"])
def test_the_tables_of_a_generated_project_are_read(name: str, projects: Projects) -> None:
    text = projects(name).text("pyproject.toml")
    assert tool_tables(text) == tomllib.loads(text)["tool"]
