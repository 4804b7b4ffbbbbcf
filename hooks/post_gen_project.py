"""Finish the project: remove what was not chosen, and fold the patterns into one file if requested.

`finish` is a pure function from files and answers to files. `main` reads and writes them, and prints the next steps.
Names decide ownership: a prompt owns every file whose stem is its name, with or without the prefix `test_`.
`FILES` lists where the template has such files. Everything else in the folder belongs to the user.
The answers arrive as JSON in a raw string, so no answer can be executed as code.
"""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

ANSWERS: dict[str, Any] = json.loads(r"""{{ cookiecutter | tojson }}""")

API_PATTERNS = ("connection_pooling", "retry", "caching")
# The patterns, in their order in utils.py.
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
    "authentication",
    "telemetry",
)
# Modules that several patterns share. A module stays as long as one of its patterns is chosen.
SHARED = {
    "upstream": API_PATTERNS,
    "example_api": API_PATTERNS,
    "database": ("lazy_initialization", "state_management"),
    "redis_client": ("caching", "rate_limiting", "state_management"),
    "results": (
        *("lazy_initialization", "connection_pooling", "retry", "caching"),
        "parallel_processing",
    ),
}
# The same for the package's `runtime`.
RUNTIME = {
    "api_client": API_PATTERNS,
    "api_failures": API_PATTERNS,
    "api_urls": API_PATTERNS,
    "encrypted_store": ("authentication",),
}
# The same, in the tests of the running process.
ENGINES = {
    "engines": ("lazy_initialization", "caching", "rate_limiting", "state_management"),
    "postgres_engine": ("lazy_initialization", "state_management"),
    "redis_engine": ("caching", "rate_limiting", "state_management"),
}
TOOLLESS = ("rate_limiting", "structured_logging", "authentication", "telemetry")
TOOLS = tuple(name for name in PATTERNS if name not in TOOLLESS)
# Patterns and modules for which the production tests have a tool of their own.
PROBES = (
    *("upstream", "retry", "caching", "lazy_initialization", "structured_errors"),
    *("environment_config", "parallel_processing", "state_management"),
)
# All files that this hook may delete or change: a path, and the names to insert in it.
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
    "tests/production/{name}.py": ("authentication", "telemetry", "upstream", *ENGINES),
    "tests/production/probes/{name}.py": PROBES,
    "tests/production/test_{name}.py": ("self_contained", *PATTERNS, "upstream"),
}
# Packages that are removed with their last module.
PACKAGES = ("src/{package}/patterns", "tests/patterns", "tests/production/probes")
# Until this hook empties the file, it stops every test run: the user may not have accepted the hooks.
HOOKS_RAN = "tests/__init__.py"
# The files that existed before. The other hook writes the list. Cookiecutter overwrites it with an empty one, unless it
# keeps existing files (--skip-if-file-exists): this hook must not change those either.
KEPT = ".cookiecutter-kept.json"
# The other hook creates this file in a project that existed before.
EXISTED = ".cookiecutter-existed"
# The variable with the path of the file in which the other hook has saved the answers of an earlier attempt.
SAVED = "_answers_file"
HEADER = '"""Every pattern of this server in one file, each under its name."""\n'
LINE_LENGTH = 100
WINDOWS = sys.platform == "win32"

Files = dict[str, str]


class Import(NamedTuple):
    """`import module`, or one name of `from module import name`. Only the former can have an alias."""

    module: str
    name: str = ""
    alias: str = ""


class Module(NamedTuple):
    """The parts of a pattern's file."""

    docstring: str
    imports: list[Import]
    body: str


def finish(files: Files, answers: dict[str, Any]) -> Files:
    """Return the files of the finished project.

    `files` can be all rendered files, or only those that this hook may change. All others are returned unchanged.
    """
    package = answers["package_name"]
    paths = template_paths(package)
    ours = {path: text for path, text in files.items() if path in paths}
    others = {path: text for path, text in files.items() if path not in paths}
    ours = prune(ours, answers)
    if answers["http_client"] == "httpx":
        ours = {path: import_httpx(text) for path, text in ours.items()}
    if answers["self_contained"]:
        ours = fold(ours, package)
    return drop_empty_packages({**others, **ours}, package)


def template_paths(package: str) -> set[str]:
    """Return every path that `finish` may delete or change."""
    named = (form.format(package=package, name=name) for form, names in FILES.items() for name in names)
    return {*named, utils_path(package), KEPT}


def utils_path(package: str) -> str:
    """Return the path of the file with all patterns."""
    return f"src/{package}/utils.py"


def prune(files: Files, answers: dict[str, Any]) -> Files:
    """Remove what was not chosen, what only the hooks need, and what is left from earlier answers."""
    dropped = {utils_path(answers["package_name"]), KEPT}
    kept = {path: text for path, text in files.items() if path not in dropped and is_chosen(path, answers)}
    if HOOKS_RAN in kept:
        kept[HOOKS_RAN] = ""
    return kept


def is_chosen(path: str, answers: dict[str, Any]) -> bool:
    name = path.rpartition("/")[2].partition(".")[0].removeprefix("test_")
    return not all(
        answers.get(owner) is False for owner in {**SHARED, **RUNTIME, **ENGINES}.get(name, (name,))
    )


def import_httpx(source: str) -> str:
    """Import httpx where httpx2 is imported as httpx."""
    return f"\n{source}".replace("\nimport httpx2 as httpx\n", "\nimport httpx\n")[1:]


def fold(files: Files, package: str) -> Files:
    """Put every pattern into utils.py, and import them from there."""
    paths = {f"src/{package}/patterns/{name}.py": name for name in PATTERNS}
    sources = {name: files[path] for path, name in paths.items() if path in files}
    folded = {
        path: import_from_utils(text, package, sources) if path.endswith(".py") else text
        for path, text in files.items()
        if path not in paths
    }
    return {**folded, utils_path(package): fold_modules(sources)}


def fold_modules(sources: Files) -> str:
    """Return one module: the merged imports, then each unchanged body under its name and docstring."""
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
    """Split a module one level deeper than utils.py. All its imports directly follow its docstring."""
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
    """Return import statements, sorted and formatted as ruff does."""
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
    """Return one statement, with one name per line if it is too long or `always_split` is set."""
    line = f"from {module} import {', '.join(names)}\n"
    if len(line) <= LINE_LENGTH + 1 and not always_split:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in names) + ")\n"


def import_order(item: Import) -> tuple[int, bool, str, tuple[int, str, str]]:
    """Sort by section, `import` before `from`, module, and name."""
    root = item.module.partition(".")[0]
    section = 2 if item.module.startswith(".") else 0 if root in sys.stdlib_module_names else 1
    return section, bool(item.name), item.module, name_order(item.name)


def name_order(name: str) -> tuple[int, str, str]:
    """Sort names as ruff does: constants, classes, others."""
    kind = 0 if len(name) > 1 and name.isupper() else 1 if name[:1].isupper() else 2
    return kind, name.lower(), name


def import_from_utils(source: str, package_name: str, patterns: Collection[str]) -> str:
    """Replace the imports from `patterns` with one statement at the end of its section: nothing sorts after utils."""
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


def drop_empty_packages(files: Files, package: str) -> Files:
    """Remove the packages that contain only `__init__.py`."""
    empty = set()
    for folder in folders(package):
        if {path for path in files if path.startswith(f"{folder}/")} == {f"{folder}/__init__.py"}:
            empty.add(f"{folder}/__init__.py")
    return {path: text for path, text in files.items() if path not in empty}


def folders(package: str) -> list[str]:
    """Return the packages that are removed with their last module."""
    return [form.format(package=package) for form in PACKAGES]


def next_steps(project: Path, slug: str) -> list[str]:
    """Return what to print about a new project: at most eight lines. The first call needs neither an API nor settings."""
    return [
        "",
        f"{slug} is ready. To install it, call a tool, run its tests and serve http://127.0.0.1:8000/mcp:",
        f"    {change_folder(str(project))}",
        "    uv sync",
        '    uv run fastmcp call server.py process_data text="Hello, world"',
        "    uv run pytest",
        f"    uv run {slug} --transport http --port 8000",
        'To connect Claude Desktop, Claude Code, Cursor or VS Code, see "Connect it" in README.md.',
    ]


def change_folder(path: str) -> str:
    """Return the command that changes to a folder. PowerShell treats brackets in a path as wildcards."""
    literal = "-LiteralPath " if WINDOWS and re.search(r"[][]", path) else ""
    return f"cd {literal}{shell_quoted(path)}"


def shell_quoted(text: str) -> str:
    """Quote a word for the shell: PowerShell on Windows, and cmd too where possible."""
    if not WINDOWS:
        return shlex.quote(text)
    if re.fullmatch(r"[\w.:\\/~+-]+", text):
        return text
    if re.search("[$`\u201c-\u201e]", text):
        return "'" + re.sub("(['\u2018-\u201b])", r"\1\1", text) + "'"
    return f'"{text}"'


def is_new(project: Path, answers: dict[str, Any]) -> bool:
    """Return whether the user has just created this project."""
    return not is_compared(project, answers) and not (project / EXISTED).exists()


def is_compared(project: Path, answers: dict[str, Any]) -> bool:
    """Return whether cruft generates this project only to compare it: it does so in a temporary folder."""
    return "_commit" in answers and re.fullmatch(r"tmp\w{8}", project.parent.name) is not None


def main() -> int:
    project = Path.cwd()
    new = is_new(project, ANSWERS)
    (project / EXISTED).unlink(missing_ok=True)
    finish_folder(project, ANSWERS)
    remove_saved_answers(ANSWERS)
    if new:
        say(next_steps(project, ANSWERS["project_slug"]))
    return 0


def finish_folder(project: Path, answers: dict[str, Any]) -> None:
    """Apply `finish` to the files of a folder, except to those that Cookiecutter has kept."""
    package = answers["package_name"]
    kept = json.loads(read(project / KEPT))
    before = read_files(project, package, kept)
    after = finish(before, answers)
    removed = before.keys() - after.keys()
    for path in removed:
        (project / path).unlink()
    for folder in folders(package):
        if f"{folder}/__init__.py" in removed:
            shutil.rmtree(project / folder)  # only bytecode is left
    for path, text in after.items():
        if text != before.get(path) and path not in kept:
            write(project / path, text)


def read_files(project: Path, package: str, kept: Collection[str]) -> Files:
    """Read the files that this hook may change. Leave out the user's own files, kept ones, and those behind a symbolic link."""
    utils = utils_path(package)
    paths = template_paths(package) - {utils}
    files = {path: read(project / path) for path in paths if path not in kept and is_plain(project, path)}
    if utils not in kept and is_plain(project, utils) and is_folded(project / utils):
        files[utils] = ""
    for folder in folders(package):
        module = f"{folder}/__init__.py"
        if module not in kept and is_plain(project, module):
            beside = {f"{folder}/{item.name}" for item in (project / folder).iterdir()}
            # With any other file in it, the package stays, even without the template's modules.
            if beside <= {module, f"{folder}/__pycache__", *files}:
                files[module] = read(project / module)
    return files


def is_plain(project: Path, path: str) -> bool:
    """Return whether a path is a file and contains no symbolic link: the template has none."""
    place = project / path
    inside = [place, *place.parents[: path.count("/")]]
    return place.is_file() and not any(step.is_symlink() for step in inside)


def is_folded(path: Path) -> bool:
    """Return whether the template generated this file. A file of the user may have any encoding."""
    return path.read_bytes().startswith(HEADER.strip().encode())


def remove_saved_answers(answers: dict[str, Any]) -> None:
    """Remove the file with the saved answers, unless its content has changed."""
    path = Path(str(answers.get(SAVED, "")))
    try:
        saved = json.loads(read(path))["cookiecutter"]
        if saved[SAVED] == str(path) and all(answers.get(name) == value for name, value in saved.items()):
            path.unlink()
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return


def say(lines: list[str]) -> None:
    """Print the lines. A console that is closed or lacks some characters must not make the generation fail."""
    console = sys.stdout
    if console is None:
        return
    encoding = console.encoding or "utf-8"
    text = "\n".join([*lines, ""])
    try:
        console.write(text.encode(encoding, "backslashreplace").decode(encoding))
        console.flush()
    except (OSError, ValueError):
        with suppress(OSError):
            console.close()  # otherwise Python flushes it again at exit, and fails


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def write(path: Path, text: str) -> None:
    """Write the file with the template's line endings, on Windows too."""
    path.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    raise SystemExit(main())
