"""Finish the project: leave out what was not chosen, and fold the patterns into one file if asked to.

The name is the manifest: a prompt owns every file whose stem is its name, with or without `test_` before it.
`FILES` says where the template has such files. Everything else in the folder is the user's.
The answers enter as JSON inside a raw string, so none of them can become code.
"""

import json
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

ANSWERS: dict[str, Any] = json.loads(r"""{{ cookiecutter | tojson }}""")

API_PATTERNS = ("connection_pooling", "retry", "caching")
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
    "upstream": API_PATTERNS,
    "example_api": API_PATTERNS,
    "database": ("lazy_initialization", "state_management"),
    "results": (
        *("lazy_initialization", "connection_pooling", "retry", "caching"),
        "parallel_processing",
    ),
}
# The same, in the package's `runtime`.
RUNTIME = {"api_client": API_PATTERNS, "api_failures": API_PATTERNS, "api_urls": API_PATTERNS}
TOOLS = tuple(name for name in PATTERNS if name not in ("rate_limiting", "structured_logging"))
# Of whose mechanism the tests of the running process have a tool of their own.
PROBES = (
    *("upstream", "retry", "caching", "lazy_initialization", "structured_errors"),
    *("environment_config", "parallel_processing", "state_management"),
)
# All files that this hook deletes or changes, by the names that stand in their paths.
FILES = {
    "src/{package}/{name}.py": ("__main__", "server", *SHARED),
    "src/{package}/runtime/{name}.py": (*RUNTIME,),
    "src/{package}/{name}.toml": ("environment_config",),
    "src/{package}/patterns/{name}.py": PATTERNS,
    "src/{package}/tools/{name}.py": TOOLS,
    "tests/{name}.py": ("__init__", "upstream"),
    "tests/test_{name}.py": ("upstream",),
    "tests/patterns/test_{name}.py": ("self_contained", *PATTERNS),
    "tests/tools/test_{name}.py": TOOLS,
    "tests/surface/{name}.json": TOOLS,
    "tests/production/{name}.py": ("upstream",),
    "tests/production/probes/{name}.py": PROBES,
    "tests/production/test_{name}.py": ("self_contained", *PATTERNS, "upstream"),
}
# In the template this file ends a test run, because the hooks may be refused.
HOOKS_RAN = "tests/__init__.py"
# Which files were there before. The other hook writes the list, and Cookiecutter writes an empty one over it, unless it
# keeps the files that exist (--skip-if-file-exists): then those on the list are as the user left them.
KEPT = ".cookiecutter-kept.json"
HEADER = '"""Every pattern of this server in one file, each under its name."""\n'
LINE_LENGTH = 100

Files = dict[str, str]


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
    kept = json.loads(read(project / KEPT))
    (project / KEPT).unlink()
    before = template_files(project, ANSWERS["package_name"], kept)
    after = finish(before, ANSWERS)
    for path in before.keys() - after.keys():
        (project / path).unlink()
    for path, text in after.items():
        if text != before.get(path) and path not in kept:
            write(project / path, text)
    for folder in (f"src/{ANSWERS['package_name']}/patterns", "tests/patterns", "tests/production/probes"):
        if f"{folder}/__init__.py" not in kept:
            remove_if_unused(project / folder)
    return 0


def template_files(project: Path, package: str, kept: Collection[str]) -> Files:
    """Read the files that this hook may delete or change."""
    paths = [form.format(package=package, name=name) for form, names in FILES.items() for name in names]
    files = {path: read(project / path) for path in paths if path not in kept and is_plain(project, path)}
    utils = f"src/{package}/utils.py"
    if utils not in kept and is_plain(project, utils) and is_folded(project / utils):
        files[utils] = ""
    return files


def is_folded(path: Path) -> bool:
    """Whether a file is from an earlier answer, and not the user's own, whose encoding is unknown."""
    return path.read_bytes().startswith(HEADER.strip().encode())


def finish(files: Files, answers: dict[str, Any]) -> Files:
    """Return what the project has of the template's files, and the one file of all patterns."""
    files = {path: text for path, text in files.items() if is_chosen(path, answers)}
    for path in (KEPT, f"src/{answers['package_name']}/utils.py"):
        files.pop(path, None)
    if HOOKS_RAN in files:
        files[HOOKS_RAN] = ""
    if answers["http_client"] == "httpx":
        files = {path: import_httpx(text) if path.endswith(".py") else text for path, text in files.items()}
    if answers["self_contained"]:
        files = fold(files, answers["package_name"])
    return {path: text for path, text in files.items() if not is_unused_package(path, files)}


def is_unused_package(path: str, files: Collection[str]) -> bool:
    """Whether a file makes a package of patterns, or of probes, that holds no module any more."""
    folder, _, name = path.rpartition("/")
    if name != "__init__.py" or not folder.endswith(("/patterns", "/probes")):
        return False
    return not any(other.startswith(f"{folder}/") and other != path for other in files)


def is_chosen(path: str, answers: dict[str, Any]) -> bool:
    name = path.rpartition("/")[2].partition(".")[0].removeprefix("test_")
    return not all(answers.get(owner) is False for owner in {**SHARED, **RUNTIME}.get(name, (name,)))


def import_httpx(source: str) -> str:
    """Import httpx where httpx2 is imported under that name."""
    return re.sub(r"^import httpx2 as httpx$", "import httpx", source, flags=re.MULTILINE)


def fold(files: Files, package: str) -> Files:
    """Put every pattern into utils.py, and import them from there."""
    paths = {f"src/{package}/patterns/{name}.py": name for name in PATTERNS}
    sources = {name: files[path] for path, name in paths.items() if path in files}
    folded = {
        path: import_from_utils(text, package, sources) if path.endswith(".py") else text
        for path, text in files.items()
        if path not in paths
    }
    return {**folded, f"src/{package}/utils.py": fold_modules(sources)}


def fold_modules(sources: Files) -> str:
    """Return one module: the merged imports, then each body as it is, under its name and docstring."""
    modules = {name: split_module(source) for name, source in sources.items()}
    if not modules:
        return HEADER
    sections = []
    for name, module in modules.items():
        lines = [name, "", *module.docstring.splitlines()]
        comment = "".join(f"# {line}".rstrip() + "\n" for line in lines)
        sections.append(f"{comment}\n\n{module.body}")
    merged = {name for module in modules.values() for name in module.imports}
    return "\n".join([HEADER, format_imports(merged), "\n\n".join(sections)])


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


def import_from_utils(source: str, package_name: str, patterns: Collection[str]) -> str:
    """Replace the imports from `patterns` by one statement, the last of its section: nothing sorts after utils."""
    if "patterns." not in source:
        return source
    import ast  # noqa: PLC0415

    modules = {f"patterns.{name}" for name in patterns}
    folded: list[ast.ImportFrom] = []
    kept: list[ast.ImportFrom] = []
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.ImportFrom) and statement.module:
            inside = statement.level or statement.module.startswith(f"{package_name}.")
            module = statement.module.removeprefix(f"{package_name}.")
            if inside and module in modules:
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


def remove_if_unused(package: Path) -> None:
    """Remove a package that holds no module any more; with something of the user's own in it, it stays."""
    if package.is_symlink() or not package.is_dir():
        return
    if {path.name for path in package.iterdir()} <= {"__init__.py", "__pycache__"}:
        shutil.rmtree(package)


def is_plain(project: Path, path: str) -> bool:
    """Whether a path leads to a file, and through no symbolic link: the template has none."""
    place = project / path
    inside = [place, *place.parents[: path.count("/")]]
    return place.is_file() and not any(step.is_symlink() for step in inside)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def write(path: Path, text: str) -> None:
    """Write with the line ends that the template has, on Windows too."""
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    raise SystemExit(main())
