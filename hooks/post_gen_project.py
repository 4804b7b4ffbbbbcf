"""Finish the project: remove what was not chosen, and fold the patterns into one file if requested.

`finish` is a pure function from files and answers to files. `main` reads and writes them, records the template and the
answers, and prints the next steps.
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
from functools import cache
from itertools import groupby
from os import environ
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
# The same for modules in the package's `runtime`.
RUNTIME = {
    "api_client": API_PATTERNS,
    "api_failures": API_PATTERNS,
    "api_urls": API_PATTERNS,
    "encrypted_store": ("authentication",),
    "first_use": ("lazy_initialization", "state_management"),
}
# The same for modules in `tests/production`.
ENGINES = {
    "engines": ("lazy_initialization", "caching", "rate_limiting", "state_management"),
    "postgres_engine": ("lazy_initialization", "state_management"),
    "redis_engine": ("caching", "rate_limiting", "state_management"),
}
TOOLLESS = ("rate_limiting", "structured_logging", "authentication", "telemetry")
TOOLS = tuple(name for name in PATTERNS if name not in TOOLLESS)
# Patterns and modules that have a probe tool in the production tests.
PROBES = (
    *("upstream", "retry", "caching", "lazy_initialization", "structured_errors"),
    *("environment_config", "parallel_processing", "state_management"),
)
# Files that do not belong to patterns, by the answer that they need. A file listed twice needs both answers.
OWNED: dict[str, tuple[str, ...]] = {
    "container": (
        *("Dockerfile", ".dockerignore", "compose.yaml", "deploy/nginx.conf"),
        *("deploy/kubernetes/kustomization.yaml", "deploy/kubernetes/config.env"),
        *("deploy/kubernetes/deployment.yaml", "deploy/kubernetes/service.yaml"),
        *("deploy/kubernetes/autoscaler.yaml", "deploy/kubernetes/disruption.yaml"),
        "deploy/kubernetes/network.yaml",
    ),
    "ci": ("scripts/canary.py",),
    "github": (
        *(".github/dependabot.yml", ".github/workflows/canary.yml", ".github/workflows/ci.yml"),
        ".github/workflows/release.yml",
    ),
    "gitlab": (".gitlab-ci.yml", "renovate.json"),
    "repository": (
        *(".github/workflows/release.yml", ".mcpbignore", "manifest.json", "server.json"),
        "tests/test_metadata.py",
    ),
}
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
# This file stops every test run until this hook empties it, because the user may not have accepted the hooks.
HOOKS_RAN = "tests/__init__.py"
# The files that existed before. The other hook writes the list. Cookiecutter overwrites it with an empty one, unless it
# keeps existing files (--skip-if-file-exists): this hook must not change those either.
KEPT = ".cookiecutter-kept.json"
# The other hook creates this file in a project that existed before.
EXISTED = ".cookiecutter-existed"
# The variable with the path of the file in which the other hook saved the answers of an earlier attempt.
SAVED = "_answers_file"
# The record of the template and the answers, in the format of cruft.
RECORD = ".cruft.json"
HEADER = '"""Every pattern of this server in one file, each under its name."""\n'
LINE_LENGTH = 100
HTTPX2 = "import httpx2 as httpx"
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
    Each file is finished alone, then files that depend on each other are finished together. The proof of all
    combinations relies on these statements: `matrix/hooks.py` contains a copy.
    """
    finished = {path: finish_file(path, text, answers) for path, text in files.items()}
    kept = {path: text for path, text in finished.items() if text is not None}
    together = {path: text for path, text in kept.items() if is_shared(path, answers)}
    alone = {path: text for path, text in kept.items() if path not in together}
    return {**alone, **finish_together(together, answers)}


def finish_file(path: str, text: str, answers: dict[str, Any]) -> str | None:
    """Finish one file. Return None if it was not chosen, only the hooks need it, or it is from an earlier generation."""
    package = answers["package_name"]
    if path not in template_paths(package):
        return text
    if path in (utils_path(package), KEPT) or not is_chosen(path, answers):
        return None
    if path == HOOKS_RAN:
        return ""
    if not path.endswith(".py"):
        return text
    if HTTPX2 in text and answers["http_client"] == "httpx":
        text = import_httpx(text)
    return import_from_utils(text, package) if answers["self_contained"] else text


def is_shared(path: str, answers: dict[str, Any]) -> bool:
    """Return whether a file depends on others: it may be folded, or its package may become empty."""
    return path.startswith(tuple(f"{folder}/" for folder in folders(answers["package_name"])))


def finish_together(files: Files, answers: dict[str, Any]) -> Files:
    """Fold the patterns if requested, and remove empty packages."""
    package = answers["package_name"]
    folded = fold(files, package) if answers["self_contained"] else files
    return drop_empty_packages(folded, package)


@cache
def template_paths(package: str) -> frozenset[str]:
    """Return every path that `finish` may delete or change."""
    named = (form.format(package=package, name=name) for form, names in FILES.items() for name in names)
    owned = (path for paths in OWNED.values() for path in paths)
    return frozenset({*named, *owned, utils_path(package), KEPT})


def pattern_paths(package: str) -> dict[str, str]:
    """Return the patterns by the paths of their modules."""
    return {f"src/{package}/patterns/{name}.py": name for name in PATTERNS}


def utils_path(package: str) -> str:
    """Return the path of the file with all patterns."""
    return f"src/{package}/utils.py"


def is_chosen(path: str, answers: dict[str, Any]) -> bool:
    """Return whether one of a file's patterns was chosen, or all answers that `OWNED` requires."""
    if owners := owners_of(path):
        return all(is_on(owner, answers) for owner in owners)
    name = path.rpartition("/")[2].partition(".")[0].removeprefix("test_")
    return not all(
        answers.get(owner) is False for owner in {**SHARED, **RUNTIME, **ENGINES}.get(name, (name,))
    )


def owners_of(path: str) -> list[str]:
    """Return the entries of `OWNED` that list a file."""
    return [owner for owner, paths in OWNED.items() if path in paths]


def is_on(owner: str, answers: dict[str, Any]) -> bool:
    """Return whether the answers ask for the files of an entry of `OWNED`."""
    if owner == "ci":
        return bool(answers["ci"] != "none")
    if owner in ("github", "gitlab"):
        return bool(answers["ci"] == owner)
    return bool(answers[owner])


def import_httpx(source: str) -> str:
    """Replace `HTTPX2` with `import httpx`."""
    return f"\n{source}".replace(f"\n{HTTPX2}\n", "\nimport httpx\n")[1:]


def fold(files: Files, package: str) -> Files:
    """Move every pattern to utils.py."""
    paths = pattern_paths(package)
    sources = {name: files[path] for path, name in paths.items() if path in files}
    others = {path: text for path, text in files.items() if path not in paths}
    return {**others, utils_path(package): fold_modules(sources)}


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
    """Split a module, which is one level deeper than utils.py. Its imports must directly follow its docstring."""
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


@cache
def import_order(item: Import) -> tuple[int, bool, str, tuple[int, str, str]]:
    """Sort by section, `import` before `from`, module, and name."""
    root = item.module.partition(".")[0]
    section = 2 if item.module.startswith(".") else 0 if root in sys.stdlib_module_names else 1
    return section, bool(item.name), item.module, name_order(item.name)


def name_order(name: str) -> tuple[int, str, str]:
    """Sort names as ruff does: constants, classes, others."""
    kind = 0 if len(name) > 1 and name.isupper() else 1 if name[:1].isupper() else 2
    return kind, name.lower(), name


def import_from_utils(source: str, package_name: str) -> str:
    """Replace imports from `patterns` with one import at the end of the section, since nothing sorts after utils."""
    if "patterns." not in source:
        return source
    import ast  # noqa: PLC0415

    modules = {f"patterns.{name}" for name in PATTERNS}
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
    """Return whether cruft generates this project in a temporary folder, only to compare it."""
    return "_commit" in answers and re.fullmatch(r"tmp\w{8}", project.parent.name) is not None


def main() -> int:
    project = Path.cwd()
    new = is_new(project, ANSWERS)
    (project / EXISTED).unlink(missing_ok=True)
    kept = json.loads(read(project / KEPT))
    finish_folder(project, ANSWERS, kept)
    write_record(project, ANSWERS, kept)
    remove_saved_answers(ANSWERS)
    if new:
        say(next_steps(project, ANSWERS["project_slug"]))
    return 0


def finish_folder(project: Path, answers: dict[str, Any], kept: Collection[str]) -> None:
    """Apply `finish` to the files of a folder, except those that Cookiecutter kept.

    If it kept a pattern's module, the patterns are not folded: utils.py would lack that pattern.
    """
    package = answers["package_name"]
    if not pattern_paths(package).keys().isdisjoint(kept):
        answers = {**answers, "self_contained": False}
    before = read_files(project, package, kept)
    after = finish(before, answers)
    removed = before.keys() - after.keys()
    for path in removed:
        (project / path).unlink()
        remove_empty_folders((project / path).parent, project)
    for folder in folders(package):
        if f"{folder}/__init__.py" in removed and (project / folder).exists():
            shutil.rmtree(project / folder)  # only bytecode is left
    for path, text in after.items():
        if text != before.get(path) and path not in kept:
            write(project / path, text)


def remove_empty_folders(folder: Path, project: Path) -> None:
    """Remove a folder and its parents within the project, as long as they are empty."""
    while folder != project and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def read_files(project: Path, package: str, kept: Collection[str]) -> Files:
    """Read the files that this hook may change, without the user's own files, kept files and symbolic links."""
    utils = utils_path(package)
    paths = template_paths(package) - {utils}
    files = {path: read(project / path) for path in paths if path not in kept and is_plain(project, path)}
    if utils not in kept and is_plain(project, utils) and is_folded(project / utils):
        files[utils] = ""
    for folder in folders(package):
        module = f"{folder}/__init__.py"
        if module not in kept and is_plain(project, module):
            beside = {f"{folder}/{item.name}" for item in (project / folder).iterdir()}
            # A package with other files stays, even without the template's modules.
            if beside <= {module, f"{folder}/__pycache__", *files}:
                files[module] = read(project / module)
    return files


def is_plain(project: Path, path: str) -> bool:
    """Return whether a path is a file and contains no symbolic link: the template has none."""
    place = project / path
    inside = [place, *place.parents[: path.count("/")]]
    return place.is_file() and not any(step.is_symlink() for step in inside)


def is_folded(path: Path) -> bool:
    """Return whether the template generated this file. Read bytes, since a user's file may have any encoding."""
    return path.read_bytes().startswith(HEADER.strip().encode())


def write_record(project: Path, answers: dict[str, Any], kept: Collection[str]) -> None:
    """Record the template and the answers, so that the project can be updated.

    cruft writes the file itself. If Cookiecutter kept existing files, the answers do not describe the project.
    """
    path = project / RECORD
    if "_output_dir" in answers and not kept and not path.is_symlink():
        skipped = {"skip": known["skip"]} if "skip" in (known := recorded(path)) else {}
        # cruft decodes the file as the system does, which is not UTF-8 on Windows.
        text = json.dumps({**record(answers), **skipped}, ensure_ascii=WINDOWS, indent=2)
        write(path, f"{text}\n")


def recorded(path: Path) -> dict[str, Any]:
    """Return the existing record, or an empty one if it is missing or invalid."""
    try:
        found = json.loads(read(path))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def record(answers: dict[str, Any]) -> dict[str, Any]:
    """Return the record that `cruft create` writes. The commit is None if the template is not in a git repository."""
    source = {**answers, **saved_answers(answers).get("source", {})}
    folder = template_folder(answers)
    template, commit = (
        (template_address(source, folder), commit_of(folder)) if folder else (answers["_template"], None)
    )
    shape = json.loads(read(folder / "cookiecutter.json")) if folder else answers
    context = {
        name: shape[name] if name[0] == "_" else answers[name]
        for name in shape
        if name[0] != "_" or name == "_jinja2_env_vars"
    }
    return {
        "template": template,
        "commit": commit,
        "checkout": source["_checkout"],
        "context": {"cookiecutter": {**context, "_template": template, "_commit": commit}},
        "directory": None,
    }


def template_folder(answers: dict[str, Any]) -> Path | None:
    """Return the folder of the template, or None. A relative path is relative to an unknown working directory."""
    folder = Path(answers["_repo_dir"])
    if folder.is_absolute():
        return folder
    output = Path(answers["_output_dir"])
    for guess in (Path(environ.get("PWD", output)).resolve(), output):
        if is_template(guess / folder):
            return guess / folder
    beside = [path / folder for path in output.iterdir() if is_template(path / folder)]
    return beside[0] if len(beside) == 1 else None


def is_template(folder: Path) -> bool:
    """Return whether a folder contains the source of this hook, in which only the line with the answers differs."""
    try:
        source = read(folder / "hooks" / "post_gen_project.py").splitlines()
        script = read(Path(__file__)).splitlines()
    except (OSError, ValueError):
        return False
    changed = [old for old, new in zip(source, script, strict=False) if old != new]
    return len(source) == len(script) and len(changed) == 1 and changed[0].startswith("ANSWERS: ")


def template_address(answers: dict[str, Any], folder: Path) -> str:
    """Return an address that git can clone: the URL that Cookiecutter cloned, or the path of a local template."""
    given = str(answers["_template"])
    if given == str(answers["_repo_dir"]):
        return str(folder)
    return origin_of(folder) or given


def origin_of(folder: Path) -> str | None:
    """Return the URL of the remote `origin` without credentials, or None."""
    try:
        text = read(git_folders(folder)[1] / "config")
    except (OSError, ValueError):
        return None
    section = re.search(r'^\[remote "origin"\]$(.*?)(?=^\[|\Z)', text, flags=re.MULTILINE | re.DOTALL)
    url = re.search(r"^\s*url\s*=\s*(.+?)\s*$", section[1], flags=re.MULTILINE) if section else None
    if not url:
        return None
    plain = re.sub(r"\\(.)", r"\1", url[1].strip('"'))
    return re.sub(r"^(https?://)[^/@]*@", r"\1", plain)


def commit_of(folder: Path) -> str | None:
    """Return the checked-out commit, or None. Read git's files, since hooks do not run programs."""
    try:
        own, common = git_folders(folder)
        value = read(own / "HEAD").strip()
        if value.startswith("ref: "):
            value = read_reference(value.removeprefix("ref: "), own, common)
    except (OSError, ValueError):
        return None
    return value if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", value) else None


def read_reference(name: str, own: Path, common: Path) -> str:
    """Return the commit of a reference, from its file or from packed-refs, or an empty string."""
    for folder in (own, common):
        if (folder / name).is_file():
            return read(folder / name).strip()
    packed = re.search(rf"^(\w+) {re.escape(name)}$", read(common / "packed-refs"), flags=re.MULTILINE)
    return packed[1] if packed else ""


def git_folders(folder: Path) -> tuple[Path, Path]:
    """Return the git folder of a working tree, and the git folder that it shares with other working trees."""
    own = folder / ".git"
    if own.is_file():  # in a worktree or a submodule
        own = folder / read(own).removeprefix("gitdir: ").strip()
    shared = own / "commondir"
    return own, own / read(shared).strip() if shared.is_file() else own


def remove_saved_answers(answers: dict[str, Any]) -> None:
    """Remove the file with the saved answers, unless its content has changed."""
    if saved_answers(answers):
        with suppress(OSError):
            Path(answers[SAVED]).unlink()


def saved_answers(answers: dict[str, Any]) -> dict[str, Any]:
    """Return the content of the file with the saved answers, or an empty dict if it does not match `answers`."""
    path = Path(str(answers.get(SAVED, "")))
    try:
        content: dict[str, Any] = json.loads(read(path))
        saved = content["cookiecutter"]
        same = saved[SAVED] == str(path) and all(answers.get(name) == value for name, value in saved.items())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}
    return content if same else {}


def say(lines: list[str]) -> None:
    """Print the lines. The generation must not fail if the console is closed or cannot encode some characters."""
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
