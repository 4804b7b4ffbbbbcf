"""The one-file layout: utils.py contains the bodies of the patterns unchanged, and other files keep their meaning."""

import ast
import re
import sys
from pathlib import Path

import pytest

from matrix.folding import defined

from .combinations import ALL, LINEAR, PACKAGE, PATTERNS, SKELETON
from .conftest import Projects
from .project import Project

FOLDED = {name: chosen for name, chosen in LINEAR.items() if "self_contained" in chosen}
SOURCES = {path.stem: path for path in sorted((SKELETON / PACKAGE / "patterns").glob("[a-z]*.py"))}
# Modules of the package that a pattern may import. They do not depend on patterns.
FOUNDATIONS = ("database", "redis_client", "runtime", "settings")


def body(source: str) -> str:
    """Return the source of a module after its imports."""
    imports = [node for node in ast.parse(source).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return "".join(source.splitlines(keepends=True)[imports[-1].end_lineno :]).strip("\n")


def imported_names(source: str) -> dict[str, str]:
    """Return the origin of each name that a module imports."""
    origins: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            origins |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origins |= {
                alias.asname or alias.name: "." * node.level + f"{node.module}.{alias.name}"
                for alias in node.names
            }
    return origins


@pytest.fixture(params=FOLDED)
def folded(request: pytest.FixtureRequest, projects: Projects) -> tuple[str, Project]:
    return request.param, projects(request.param)


def test_every_pattern_but_the_layout_itself_has_one_file() -> None:
    assert SOURCES.keys() == ALL - {"self_contained"}


def test_each_body_is_in_utils_byte_for_byte_in_the_order_of_the_prompts(
    folded: tuple[str, Project],
) -> None:
    name, project = folded
    utils = (project.package / "utils.py").read_text(encoding="utf-8")
    position = 0
    for pattern in PATTERNS:
        if pattern in SOURCES and pattern in FOLDED[name]:
            source = SOURCES[pattern].read_text(encoding="utf-8")
            position = utils.index(f"# {pattern}\n#\n", position)
            position = utils.index(f"\n\n\n{body(source)}\n", position)
    assert not (project.package / "patterns").exists()


def test_no_file_names_the_removed_folder(folded: tuple[str, Project]) -> None:
    _, project = folded
    for path, content in project.files().items():
        # The tests of the patterns stay in a folder with this name.
        code = re.sub(rb"tests/patterns/| patterns/ +what each pattern promises", b"", content)
        assert b"patterns/" not in code, path
        assert b"patterns." not in content or path == "tests/patterns/test_self_contained.py", path


def test_no_two_patterns_define_or_import_different_things_under_one_name() -> None:
    owners: dict[str, str] = {}
    for pattern, path in SOURCES.items():
        source = path.read_text(encoding="utf-8")
        for name in defined(ast.parse(source).body):
            assert owners.setdefault(name, pattern) == pattern, name
        for name, origin in imported_names(source).items():
            assert owners.setdefault(name, origin) == origin, name


@pytest.mark.parametrize("pattern", SOURCES)
def test_a_pattern_imports_no_other_pattern_and_holds_no_template_code(pattern: str) -> None:
    source = SOURCES[pattern].read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 2
            assert str(node.module).split(".")[0] in FOUNDATIONS
        elif isinstance(node, ast.ImportFrom):
            root = str(node.module).split(".")[0]
            assert root in sys.stdlib_module_names or not (SKELETON / PACKAGE / root).exists()
    assert "{{" not in source
    assert "{%" not in source


def test_the_foundations_import_no_pattern() -> None:
    for foundation in FOUNDATIONS:
        path = SKELETON / PACKAGE / foundation
        for file in path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]:
            assert "patterns" not in Path(file).read_text(encoding="utf-8")
