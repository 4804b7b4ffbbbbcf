"""The documentation is correct: commands, names of prompts, names of tests, variables."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .combinations import PATTERNS, PROMPTS, REPOSITORY, SKELETON, TEMPLATE
from .conftest import Projects

README = (TEMPLATE / "README.md").read_text(encoding="utf-8")
ROOT_PAGES = sorted(TEMPLATE.glob("*.md"))
DOCS = sorted((TEMPLATE / "docs").glob("*.md"))
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in DOCS}
SECTIONS = [
    "The problem in production",
    "Common mistakes",
    "What the template does",
    "Tests",
    "Limitations",
]


def shown_prompts() -> list[str]:
    return [name for name in PROMPTS if not name.startswith("_")]


def test_every_test_that_a_page_cites_exists() -> None:
    """Every test that a page cites exists, in a project or in the template."""
    sources = [*(SKELETON / "tests").rglob("test_*.py"), *(TEMPLATE / "tests").rglob("test_*.py")]
    known = {path.name for path in sources} | {path.stem for path in sources}
    for path in sources:
        known |= set(re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8")))
    # The reader of the tutorial writes these tests.
    known |= {"test_dates.py", *re.findall(r"def (test_\w+)", PAGES["tutorial"])}
    for page, text in {**PAGES, "README": README}.items():
        for cited in re.findall(r"\btest_\w+(?:\.py)?", text):
            assert cited in known, f"{page} cites {cited}"


def test_every_row_of_what_happens_when_names_the_test_that_shows_it() -> None:
    page = PAGES["what-happens-when"]
    rows = [line for line in page.splitlines() if line.startswith("|") and set(line) - set("|-")]
    faults = [row for row in rows if not row.startswith("| When")]
    assert len(faults) > 40
    for row in faults:
        *_, shown_by, end = row.split("|")
        assert end == ""
        assert re.search(r"`test_\w+`", shown_by) or shown_by.strip().startswith("the sweep"), row
    assert all(row.count("|") == 6 for row in rows), "a cell too many, or one too few"


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_has_a_page_with_every_section(pattern: str) -> None:
    headings = re.findall(r"^## (.+)$", PAGES[pattern], flags=re.MULTILINE)
    assert headings == SECTIONS
    assert re.search(r"\btest_\w+", PAGES[pattern].split("## Tests")[1])


def question(prompt: str) -> str:
    asked = PROMPTS["__prompts__"][prompt]
    return str(asked["__prompt__"] if isinstance(asked, dict) else asked)


@pytest.mark.parametrize("prompt", shown_prompts())
def test_a_prompt_is_documented_with_its_question(prompt: str) -> None:
    assert f"`{prompt}`" in README
    assert f"`{prompt}`" in PAGES["prompts"]
    assert question(prompt) in PAGES["prompts"]


def test_the_page_of_the_prompts_lists_every_variable() -> None:
    readme = (SKELETON / "README.md").read_text(encoding="utf-8")
    variables = re.findall(r"^\| `([A-Z_]+)` \|", readme, flags=re.MULTILINE)
    assert len(variables) > 80
    listed = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", PAGES["prompts"]))
    assert set(variables) - listed == set()


def variables_of(readme: str) -> set[str]:
    """Return the variables in the table of a project's README."""
    return set(re.findall(r"^\| `([A-Z_]+)` \|", readme, flags=re.MULTILINE))


def test_the_page_of_the_prompts_lists_the_variables_of_a_server_without_patterns(projects: Projects) -> None:
    paragraph = PAGES["prompts"].split("Its variables are ")[1].split(".\n")[0]
    assert set(re.findall("[A-Z_]+", paragraph)) == variables_of(projects("none").text("README.md"))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_page_of_the_prompts_lists_the_variables_that_a_pattern_adds(
    pattern: str, projects: Projects
) -> None:
    """What several patterns share has its own sections."""
    shared = PAGES["prompts"].split("### What an API needs\n")[1].split("\n## ")[0]
    known = variables_of((SKELETON / "README.md").read_text(encoding="utf-8"))
    with_pattern, without = (
        variables_of(projects(name).text("README.md")) for name in (f"only-{pattern}", "none")
    )
    listed = known & set(re.findall("[A-Z_]+", described(pattern)))
    assert listed == with_pattern - without - set(re.findall("[A-Z_]+", shared))


@pytest.mark.parametrize("prompt", shown_prompts())
def test_a_prompt_is_one_short_question(prompt: str) -> None:
    assert question(prompt).count("?") == 1
    assert question(prompt).endswith("?")
    assert len(question(prompt)) <= 100


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_prompt_names_the_example_that_comes_with_the_pattern(pattern: str) -> None:
    examples = re.findall(r"^- Tool: `(\w+)|Resource: `(\S+)`", described(pattern), flags=re.MULTILINE)
    named = re.findall(r"\(example (?:tool|resource): (\S+)\)", question(pattern))
    assert named == ["".join(example) for example in examples]


def described(pattern: str) -> str:
    """Return the section about a pattern in the page about prompts."""
    return PAGES["prompts"].split(f"### `{pattern}`\n")[1].split("\n### ")[0]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_readmes_table_has_the_default_of_a_pattern(pattern: str) -> None:
    default = "yes" if PROMPTS[pattern] else "no"
    assert f"| [`{pattern}`](docs/{pattern}.md) | {default} |" in README


def anchors(path: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", [*ROOT_PAGES, *DOCS], ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_links_lead_to_a_file_and_a_heading(path: Path) -> None:
    for target, anchor in re.findall(
        r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", path.read_text(encoding="utf-8")
    ):
        linked = path.parent / target if target else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"


def published_texts() -> list[Path]:
    """Return the files that may contain the address of the repository."""
    paths = [*ROOT_PAGES, *DOCS, *SKELETON.rglob("*.md"), *(TEMPLATE / ".github").rglob("*.yml")]
    return [*paths, *TEMPLATE.glob("*.toml"), *TEMPLATE.glob("*.json"), *TEMPLATE.glob(".*.yaml")]


def test_every_text_has_the_same_address_of_the_repository() -> None:
    """The owner is a placeholder, which a fork replaces everywhere with one command."""
    name = REPOSITORY.partition("/")[2]
    found = 0
    for path in published_texts():
        text = path.read_text(encoding="utf-8")
        addresses = re.findall(rf"(?:github\.com/|\bgh:)([\w.-]+/{name})\b", text)
        assert set(addresses) <= {REPOSITORY}, path
        # The text may explain the placeholder.
        rest = text.replace(REPOSITORY, "").replace("`OWNER`", "")
        assert not re.search(r"\bOWNER\b", rest), path
        found += len(addresses)
    assert found > 5


def test_the_readme_has_at_most_150_lines() -> None:
    assert len(README.splitlines()) <= 150


def test_the_readme_shows_what_you_get_in_a_picture_with_a_description() -> None:
    alternative, path = re.findall(r"^!\[(.*)\]\((.+)\)$", README, flags=re.MULTILINE)[0]
    picture = (TEMPLATE / path).read_text(encoding="utf-8")
    assert alternative
    assert "@media (prefers-color-scheme: dark)" in picture
    assert ElementTree.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"


def test_the_guide_to_the_documentation_names_every_page() -> None:
    linked = set(re.findall(r"\]\(([\w-]+)\.md(?:#[^)]*)?\)", PAGES["README"]))
    assert linked == PAGES.keys() - {"README"}


def test_the_performance_page_names_every_benchmark_and_no_other() -> None:
    named = set(re.findall(r"benchmarks/(\w+)\.py", PAGES["performance"]))
    scripts = {
        path.stem
        for path in (TEMPLATE / "benchmarks").glob("*.py")
        if "def main" in path.read_text(encoding="utf-8")
    }
    assert named == scripts


def test_the_continuous_integration_runs_the_readmes_commands() -> None:
    command = re.search(r"<!-- the test command -->\n```sh\n(.+)\n```", README)
    assert command
    windows = re.findall(r"^py -m venv .+ pytest$", README, flags=re.MULTILINE)
    assert len(windows) == 1
    workflow = (TEMPLATE / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert windows[0] in workflow
    assert ".ci/run" in workflow
