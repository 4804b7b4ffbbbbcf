"""The prompts, the linear design, and the files of each pattern, stated independently of the hooks."""

import json
from functools import cache, lru_cache, partial
from pathlib import Path

from matrix.template import ANY_FOUR, EACH, Combination, Declaration, Fold

TEMPLATE = Path(__file__).parents[1]
# The GitHub repository of the template. OWNER is a placeholder: CONTRIBUTING.md shows how to replace it everywhere.
REPOSITORY = "OWNER/mcp-server-template"
SKELETON = TEMPLATE / "{{cookiecutter.project_slug}}"
PACKAGE = "src/{{cookiecutter.package_name}}"
# Detailed tests of code that the template owns. They run inside each project that has the code, at this path.
UNIT_TESTS = TEMPLATE / "tests" / "unit"

PROMPTS = json.loads((TEMPLATE / "cookiecutter.json").read_text(encoding="utf-8"))
# The prompts beside the server: not patterns, and not visible to the project's code. They map labels, which appear in
# the names of combinations, to answers. The default is first.
AROUND: dict[str, dict[str, object]] = {
    "container": {"yes": True, "no": False},
    "ci": {"github": "github", "gitlab": "gitlab", "none": "none"},
    "repository": {
        "": "",
        "github": "https://github.com/octo-org/my-mcp-server",
        "gitlab": "https://gitlab.example.com/group/sub/my-mcp-server",
    },
}
PATTERNS = [name for name, default in PROMPTS.items() if isinstance(default, bool) and name not in AROUND]
API_PATTERNS = ("connection_pooling", "retry", "caching")
DATABASE_PATTERNS = ("lazy_initialization", "state_management")
REDIS_PATTERNS = ("caching", "rate_limiting", "state_management")
# Patterns whose tools can return long results.
RESULT_PATTERNS = ("lazy_initialization", *API_PATTERNS, "parallel_processing")

NONE: Combination = frozenset()
ALL: Combination = frozenset(PATTERNS)


# In the order of the server's tool list.
TOOLS = {
    "lazy_initialization": "database_operation",
    "connection_pooling": "api_request",
    "retry": "resilient_api_call",
    "caching": "cached_fetch",
    "structured_errors": "validated_operation",
    "parallel_processing": "batch_process",
    "state_management": "increment_counter",
}
RESOURCES = {"environment_config": "config://settings", "health_check": "health://status"}
# Patterns with a tool that the production tests call.
PROBED = {
    *("lazy_initialization", "retry", "caching", "structured_errors"),
    *("environment_config", "parallel_processing", "state_management"),
}
RUNTIME = [
    "answers",
    "arguments",
    "caller",
    "command",
    "connections",
    "containment",
    "deadlines",
    "descriptors",
    "discovery",
    "drain",
    "ending",
    "errors",
    "exchange",
    "flags",
    "guards",
    "http",
    "lifespan",
    "limits",
    "logs",
    "messages",
    "middleware",
    "outgoing",
    "paths",
    "proxies",
    "readiness",
    "requests",
    "server",
    "serving",
    "stdio",
]
# Runtime modules that are only included with the API client.
API_RUNTIME = ["api_client", "api_failures", "api_urls"]
MANIFESTS = ["kustomization", "deployment", "service", "autoscaler", "disruption", "network"]
ALWAYS = {
    ".agents/skills/add-a-tool/SKILL.md",
    ".claude/skills/add-a-tool/SKILL.md",
    ".editorconfig",
    ".env.example",
    ".gitattributes",
    ".gitignore",
    ".python-version",
    "AGENTS.md",
    "CHANGELOG.md",
    "CLAUDE.md",
    "LICENSE",
    "README.md",
    "fastmcp.json",
    "pyproject.toml",
    "server.py",
    *(f"{PACKAGE}/{name}" for name in ("__init__.py", "__main__.py", "py.typed", "server.py", "settings.py")),
    f"{PACKAGE}/runtime/__init__.py",
    *(f"{PACKAGE}/runtime/{name}.py" for name in RUNTIME),
    f"{PACKAGE}/tools/__init__.py",
    f"{PACKAGE}/tools/process_data.py",
    "tests/__init__.py",
    "tests/conftest.py",
    *(f"tests/test_{name}.py" for name in ("architecture", "server", "surface")),
    "tests/changes.py",
    "tests/client.py",
    *(f"tests/tools/{name}.py" for name in ("__init__", "conftest", "test_process_data")),
    "tests/surface/process_data.json",
    *(f"tests/production/{name}.py" for name in ("__init__", "conftest", "process", "servers")),
    *(f"tests/production/{name}.py" for name in ("probe_server", "arguments", "checklist", "report", "wire")),
    *(f"tests/production/test_{name}.py" for name in ("calls", "checklist", "command", "imports")),
    *(f"tests/production/test_{name}.py" for name in ("restart", "signals", "windows", "workers")),
}


def expected_files(chosen: Combination, package_name: str) -> set[str]:
    """Return the files of a project, as paths with forward slashes."""
    return {*files_of_patterns(frozenset(chosen & ALL), package_name), *files_around(chosen)}


@lru_cache(64)
def files_of_patterns(chosen: Combination, package_name: str) -> frozenset[str]:  # noqa: PLR0912
    """Return the files that every project has, and those of the patterns."""
    files = set(ALWAYS)
    patterns = chosen - {"self_contained"}
    if chosen:
        files.add("tests/patterns/__init__.py")
    for name in patterns:
        files |= {f"tests/patterns/test_{name}.py", f"tests/production/test_{name}.py"}
        if name in PROBED:
            files |= {f"tests/production/probes/{stem}.py" for stem in ("__init__", name)}
        if name in TOOLS or name in RESOURCES:
            files |= {f"{PACKAGE}/tools/{name}.py", f"tests/surface/{name}.json"}
            files.add(f"tests/tools/test_{name}.py")
        if "self_contained" not in chosen:
            files |= {f"{PACKAGE}/patterns/__init__.py", f"{PACKAGE}/patterns/{name}.py"}
    if "self_contained" in chosen:
        files |= {f"{PACKAGE}/utils.py"}
        files |= {f"tests/{folder}/test_self_contained.py" for folder in ("patterns", "production")}
    if "telemetry" in chosen:
        files.add("tests/production/telemetry.py")
    if "environment_config" in chosen:
        files.add(f"{PACKAGE}/environment_config.toml")
    if "authentication" in chosen:
        files |= {"tests/production/authentication.py", f"{PACKAGE}/runtime/encrypted_store.py"}
    if chosen & set(API_PATTERNS):
        files |= {f"{PACKAGE}/upstream.py", f"{PACKAGE}/example_api.py"}
        files |= {f"{PACKAGE}/runtime/{name}.py" for name in API_RUNTIME}
        files |= {f"tests/{name}.py" for name in ("upstream", "test_upstream")}
        files |= {f"tests/production/{name}.py" for name in ("upstream", "test_upstream")}
        files |= {f"tests/production/probes/{name}.py" for name in ("__init__", "upstream")}
    if chosen & set(DATABASE_PATTERNS):
        files |= {f"{PACKAGE}/database.py", f"{PACKAGE}/runtime/first_use.py"}
        files.add("tests/production/postgres_engine.py")
    if chosen & set(REDIS_PATTERNS):
        files |= {f"{PACKAGE}/redis_client.py", "tests/production/redis_engine.py"}
    if chosen & {*DATABASE_PATTERNS, *REDIS_PATTERNS}:
        files.add("tests/production/engines.py")
    if chosen & set(RESULT_PATTERNS):
        files.add(f"{PACKAGE}/results.py")
    return frozenset(path.replace("{{cookiecutter.package_name}}", package_name) for path in files)


def files_around(chosen: Combination) -> set[str]:
    """Return the files of the prompts beside the server. `chosen` contains only values that are not the default."""
    is_published = bool({"repository=github", "repository=gitlab"} & chosen)
    files: set[str] = set()
    if "container=no" not in chosen:
        files |= {"Dockerfile", ".dockerignore", "compose.yaml", "deploy/nginx.conf"}
        files |= {f"deploy/kubernetes/{name}.yaml" for name in MANIFESTS}
        files.add("deploy/kubernetes/config.env")
    if is_published:
        files |= {".mcpbignore", "manifest.json", "server.json", "tests/test_metadata.py"}
    if "ci=none" in chosen:
        return files
    files.add("scripts/canary.py")
    if "ci=gitlab" in chosen:
        return files | {".gitlab-ci.yml", "renovate.json"}
    files |= {f".github/{name}.yml" for name in ("dependabot", "workflows/ci", "workflows/canary")}
    return files | ({".github/workflows/release.yml"} if is_published else set())


def unit_tests(chosen: Combination) -> dict[str, bytes]:
    """Return the unit tests for a project's code, by their paths in the project."""
    absent = set()
    if not chosen & set(API_PATTERNS):
        absent.add("test_api_client.py")
    if not chosen & set(DATABASE_PATTERNS):
        absent |= {"test_database.py", "test_first_use.py"}
    if not chosen & set(REDIS_PATTERNS):
        absent.add("test_redis_client.py")
    if not chosen & set(RESULT_PATTERNS):
        absent.add("test_results.py")
    absent |= {f"test_{name}.py" for name in ALL - chosen}
    contents = unit_tests_of("httpx" if "http_client=httpx" in chosen else "httpx2")
    return {path: content for path, content in contents.items() if path.rpartition("/")[2] not in absent}


@cache
def unit_tests_of(http_client: str) -> dict[str, bytes]:
    """Return all unit tests, for one HTTP client."""
    import_client = "import httpx" if http_client == "httpx" else f"import {http_client} as httpx"
    return {
        path.relative_to(TEMPLATE).as_posix(): path.read_text(encoding="utf-8")
        .replace("import httpx2 as httpx", import_client)
        .encode()
        for path in sorted(UNIT_TESTS.rglob("*.py"))
    }


def expected_tools(chosen: Combination) -> list[str]:
    return ["process_data", *(tool for name, tool in TOOLS.items() if name in chosen)]


def expected_resources(chosen: Combination) -> list[str]:
    return [uri for name, uri in RESOURCES.items() if name in chosen]


def answers(chosen: Combination) -> dict[str, bool]:
    return {name: name in chosen for name in PATTERNS}


def expected_listing(chosen: Combination) -> list[list[str]]:
    return [expected_tools(chosen), expected_resources(chosen)]


# The number of closures of each test file. Settings have three forms: without environment_config, and with it, where
# the profiles include the cache TTL or not. The API client has two forms, pooled or not, and each uses one of two
# libraries.
SETTINGS = 3
CLIENTS = 2
CLOSURES = {
    "tests/test_architecture.py": EACH,
    "tests/test_server.py": EACH,
    "tests/test_surface.py": EACH,
    # Tests of single tools in the server. The code of the tool and its pattern has few closures, covered by other
    # tests.
    **{f"tests/tools/test_{name}.py": ANY_FOUR for name in ("process_data", *TOOLS, *RESOURCES)},
    "tests/test_upstream.py": SETTINGS * 2 * CLIENTS,
    **{f"tests/patterns/test_{name}.py": SETTINGS for name in PATTERNS},
    "tests/patterns/test_caching.py": 2,
    "tests/patterns/test_connection_pooling.py": SETTINGS * CLIENTS,
    "tests/patterns/test_environment_config.py": 2,
    "tests/patterns/test_retry.py": SETTINGS * CLIENTS,
    **{
        path.relative_to(TEMPLATE).as_posix(): SETTINGS
        for path in sorted(UNIT_TESTS.rglob("*.py"))
        if path.name.startswith("test_")
    },
    "tests/unit/patterns/test_caching.py": 2 * 2 * CLIENTS,
    "tests/unit/patterns/test_connection_pooling.py": SETTINGS * CLIENTS,
    "tests/unit/patterns/test_environment_config.py": 2,
    "tests/unit/patterns/test_retry.py": SETTINGS * 2 * CLIENTS,
    "tests/unit/runtime/test_api_client.py": SETTINGS * CLIENTS,
    "tests/test_metadata.py": ANY_FOUR,
    "tests/unit/test_calls.py": EACH,
    "tests/unit/test_composition.py": EACH,
    "tests/unit/test_discovery.py": EACH,
}
SLUG = "my-mcp-server"
PACKAGE_NAME = "my_mcp_server"
DECLARATION = Declaration(
    template=TEMPLATE,
    package=PACKAGE_NAME,
    answers={"project_slug": SLUG, "package_name": PACKAGE_NAME},
    files=partial(expected_files, package_name=PACKAGE_NAME),
    probe=f"{TEMPLATE / 'tests' / 'probe.py'}:listing",
    listing=expected_listing,
    closures=CLOSURES,
    unit_tests=unit_tests,
    # What a pattern could change: startup, calls and shutdown. The other tests only depend on the runtime.
    processes_everywhere=["tests/production/test_calls.py", "tests/production/test_signals.py"],
    fold=Fold("self_contained", f"src/{PACKAGE_NAME}/patterns", f"src/{PACKAGE_NAME}/utils.py"),
    additive=["authentication", "telemetry"],
    uniform=["license", "http_client"],
    beside=AROUND,
    plugins=["anyio.pytest_plugin"],
)
LINEAR = DECLARATION.linear_design()


def quoted(text: str) -> str:
    """Return an answer that renders as `text`. With --no-input, Cookiecutter renders answers as templates."""
    return "{{ " + json.dumps(text, ensure_ascii=False) + " }}"
