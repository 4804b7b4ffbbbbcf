"""Leave only what was chosen: prune each pattern that is off, and fold the others into one file if asked to.

The name is the manifest: a prompt owns every file whose stem is its name, with or without `test_` before it.
The answers enter as JSON inside a raw string, so none of them can become code.
"""

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

ANSWERS: dict[str, Any] = json.loads(r"""{{ cookiecutter | tojson }}""")

# The patterns, in the order in which they stand in utils.py.
PATTERNS = (
    "lazy_initialization",
    "connection_pooling",
    "retry",
    "caching",
    "structured_errors",
    "environment_config",
    "health_check",
    "parallel_processing",
    "state_management",
    "rate_limiting",
    "structured_logging",
)
# Modules that several patterns share: they stay while one of them does.
SHARED = {
    "upstream": ("connection_pooling", "retry", "caching"),
    "example_api": ("connection_pooling", "retry", "caching"),
    "database": ("lazy_initialization", "state_management"),
    "results": (
        *("lazy_initialization", "connection_pooling", "retry", "caching"),
        "parallel_processing",
    ),
}
LINE_LENGTH = 100


class Import(NamedTuple):
    """`import module`, or one name of `from module import name`; `alias` only for the first."""

    module: str
    name: str = ""
    alias: str = ""


class Module(NamedTuple):
    """The parts of a pattern's file."""

    docstring: str
    imports: list[Import]
    body: str


def main() -> int:
    project = Path.cwd()
    prune(project, ANSWERS)
    if ANSWERS["http_client"] == "httpx":
        use_httpx(project)
    if ANSWERS["self_contained"]:
        fold(project, ANSWERS["package_name"])
    return 0


def prune(project: Path, answers: dict[str, Any]) -> None:
    """Delete the files of what was not chosen, and the patterns' folder when none is left in it."""
    for path in list(project.rglob("*")):
        name = path.stem.removeprefix("test_")
        owners = SHARED.get(name, (name,))
        if all(answers.get(owner) is False for owner in owners) and path.is_file():
            path.unlink()
    patterns = project / "src" / answers["package_name"] / "patterns"
    if [path.name for path in patterns.glob("*.py")] == ["__init__.py"]:
        delete_folder(patterns)


def use_httpx(project: Path) -> None:
    """Import httpx where the package imports httpx2 under that name."""
    for path in project.rglob("*.py"):
        edit(path, import_httpx)


def import_httpx(source: str) -> str:
    return re.sub(r"^import httpx2 as httpx$", "import httpx", source, flags=re.MULTILINE)


def fold(project: Path, package_name: str) -> None:
    """Put every pattern into utils.py, and import them from there."""
    package = project / "src" / package_name
    patterns = package / "patterns"
    chosen = [name for name in PATTERNS if (patterns / f"{name}.py").is_file()]
    write(package / "utils.py", fold_modules({name: read(patterns / f"{name}.py") for name in chosen}))
    delete_folder(patterns)
    for path in (*package.rglob("*.py"), *(project / "tests").rglob("*.py")):
        edit(path, lambda source: import_from_utils(source, package_name))


def fold_modules(sources: dict[str, str]) -> str:
    """Return one module: the merged imports, then each body as it is, under its name and docstring."""
    modules = {name: split_module(source) for name, source in sources.items()}
    header = '"""Every pattern of this server in one file, each under its name."""\n'
    if not modules:
        return header
    sections = []
    for name, module in modules.items():
        lines = [name, "", *module.docstring.splitlines()]
        comment = "".join(f"# {line}".rstrip() + "\n" for line in lines)
        sections.append(f"{comment}\n\n{module.body}")
    merged = {name for module in modules.values() for name in module.imports}
    return "\n".join([header, format_imports(merged), "\n\n".join(sections)])


def split_module(source: str) -> Module:
    """Split a module whose imports stand together after its docstring, one package level deeper than utils.py."""
    import ast  # noqa: PLC0415 - most projects are not folded

    tree = ast.parse(source)
    imports = []
    end = 0
    for statement in tree.body:
        match statement:
            case ast.Import(names=[ast.alias(name=module, asname=alias)]):
                imports.append(Import(module, alias=alias or ""))
            case ast.ImportFrom(module=str(module), names=names, level=level):
                dots = "." * max(level - 1, 0)
                imports += [Import(dots + module, name.name) for name in names]
            case _:
                continue
        end = statement.end_lineno or end
    body = "".join(source.splitlines(keepends=True)[end:]).strip("\n") + "\n"
    return Module(ast.get_docstring(tree) or "", imports, body)


def format_imports(imports: Iterable[Import]) -> str:
    """Write import statements as ruff sorts and formats them."""
    sections = groupby(sorted(imports, key=import_order), key=lambda item: import_order(item)[0])
    return "\n".join("".join(format_section(section)) for _, section in sections)


def format_section(section: Iterable[Import]) -> Iterator[str]:
    for (module, plain), names in groupby(section, key=lambda item: (item.module, not item.name)):
        if plain:
            for item in names:
                yield f"import {module} as {item.alias}\n" if item.alias else f"import {module}\n"
        else:
            yield format_from(module, [item.name for item in names])


def format_from(module: str, names: list[str], *, always_split: bool = False) -> str:
    """Write one statement, one name a line where it is too long or asked for."""
    line = f"from {module} import {', '.join(names)}\n"
    if len(line) <= LINE_LENGTH + 1 and not always_split:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")\n"


def import_order(item: Import) -> tuple[int, bool, str, tuple[int, str, str]]:
    """Order by section, `import` before `from`, module, and name."""
    root = item.module.partition(".")[0]
    section = 2 if item.module.startswith(".") else 0 if root in sys.stdlib_module_names else 1
    return section, bool(item.name), item.module, name_order(item.name)


def name_order(name: str) -> tuple[int, str, str]:
    """Order names as ruff does: constants, classes, others."""
    kind = 0 if len(name) > 1 and name.isupper() else 1 if name[:1].isupper() else 2
    return kind, name.lower(), name


def import_from_utils(source: str, package_name: str) -> str:
    """Replace the imports from patterns by one statement, the last of its section: nothing sorts after utils."""
    if "patterns." not in source:
        return source
    import ast  # noqa: PLC0415

    folded: list[ast.ImportFrom] = []
    kept: list[ast.ImportFrom] = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            inside = statement.level or statement.module.startswith(f"{package_name}.")
            module = statement.module.removeprefix(f"{package_name}.")
            if inside and module.startswith("patterns."):
                folded.append(statement)
            elif inside:
                kept.append(statement)
    if not folded:
        return source
    absolute = folded[0].level == 0
    section = [statement for statement in kept if (statement.level == 0) == absolute]
    lines = source.splitlines(keepends=True)
    module = "." * folded[0].level + "utils" if folded[0].level else f"{package_name}.utils"
    names = sorted({alias.name for statement in folded for alias in statement.names}, key=name_order)
    position = max((statement.end_lineno or 0) for statement in section or folded)
    lines.insert(position, format_from(module, names, always_split=True))
    for statement in reversed(folded):
        end = statement.end_lineno or statement.lineno
        shift = statement.lineno > position
        del lines[statement.lineno - 1 + shift : end + shift]
    return "".join(lines)


def delete_folder(folder: Path) -> None:
    if folder.is_dir():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def edit(path: Path, change: Callable[[str], str]) -> None:
    """Write what `change` makes of a file, if it is another text."""
    before = read(path)
    after = change(before)
    if after != before:
        write(path, after)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def write(path: Path, text: str) -> None:
    """Write with the line ends that the template has, on Windows too."""
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    raise SystemExit(main())
