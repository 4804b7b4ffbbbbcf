"""The published metadata of a project with a repository is valid and consistent for any answers."""

import base64
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import fastmcp
import jinja2
import pytest

from .combinations import ALL, API_PATTERNS, NONE, PACKAGE_NAME, PROMPTS, SKELETON, SLUG, answers, quoted
from .conftest import Bake
from .project import Project, assert_passed
from .test_hostile_answers import FREE_TEXT, TEXTS, WORST, joined

# From https://static.modelcontextprotocol.io/schemas/2025-12-11/ and the npm package @anthropic-ai/mcpb 2.1.2, both
# under the MIT license.
SCHEMAS = Path(__file__).with_name("schemas")
CHECKSUMS = {
    "server-2025-12-11.schema.json": "3fba09590c99f61735d234822279f4223fab9e300c0a81e81c91ab62a4114de0",
    "mcpb-manifest-v0.4.schema.json": "068557824c651d6d49b86ad132adeafe62ca788d918b3e1e2b224bf0f91320fd",
}
FASTMCP_SCHEMA = Path(fastmcp.__file__).parent / "utilities" / "mcp_server_config" / "v1" / "schema.json"
# A repository, and the registry's name for its server.
REPOSITORIES = {
    "https://github.com/Ada-L/weather.py": "io.github.Ada-L/weather.py",
    "https://gitlab.com/ada/weather": "io.gitlab.ada/weather",
    "https://gitlab.com/the_club/tools/weather": "com.example/the_club-tools-weather",
    "https://codeberg.org/ada/weather": "com.example/ada-weather",
    "https://bitbucket.org/ada/weather": "com.example/ada-weather",
    "https://dev.azure.com/ada/tools/_git/weather": "com.example/ada-tools-_git-weather",
    "https://git.example.co.uk:8443/a_team/b.c/weather_x": "uk.co.example.git/a_team-b.c-weather_x",
}
GITHUB, *_ = REPOSITORIES
OWN_FILES = {".mcpbignore", "manifest.json", "server.json", "tests/test_metadata.py"}
DESCRIPTIONS = TEXTS | {
    "empty": "",
    "spaces": " \n\t ",
    "all": WORST,
    "2,000 characters": ('"C++" & C:\\new, ' * 200)[:2000],
    "100 characters": "a word or " * 9 + "ten longer",
    "101 characters": "a word or " * 9 + "ten, longer",
    "a word that ends at the limit": "x" * 99 + " and more",
}
Published = Callable[..., Project]


@pytest.fixture(scope="module")
def published(bake_once: Bake) -> Published:
    """Return a function that generates a project with a repository, and with a text as every free-text answer.

    Only the author must not be blank.
    """

    def project(text: str | None = None, repository: str = GITHUB, **given: Any) -> Project:
        texts = {} if text is None else dict.fromkeys(FREE_TEXT, quoted(text))
        if text is not None and not text.split():
            del texts["author_name"]
        names = {"project_slug": SLUG, "package_name": PACKAGE_NAME}
        return bake_once(**{"repository": repository, **names, **texts, **given})

    return project


def loaded(project: Project, name: str) -> Any:
    return json.loads(project.text(name))


def assert_valid(schema: Path, *documents: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--schemafile", str(schema), *map(str, documents)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert_passed(run)


def run_own_test(project: Project) -> "subprocess.CompletedProcess[str]":
    return project.run_tests("tests/test_metadata.py")


@pytest.mark.parametrize("name", CHECKSUMS)
def test_a_schema_is_the_published_one(name: str) -> None:
    assert hashlib.sha256((SCHEMAS / name).read_bytes()).hexdigest() == CHECKSUMS[name]


def test_every_file_follows_its_schema(published: Published) -> None:
    projects = [published(text) for text in DESCRIPTIONS.values()]
    projects += [published(repository=repository) for repository in REPOSITORIES]
    projects += [published(license=name, **answers(NONE)) for name in PROMPTS["license"]]
    for schema, name in zip(CHECKSUMS, ("server.json", "manifest.json"), strict=True):
        assert_valid(SCHEMAS / schema, *(project.path / name for project in projects))
    assert_valid(FASTMCP_SCHEMA, projects[0].path / "fastmcp.json")


@pytest.mark.parametrize(
    ("name", "broken"),
    [("server.json", {"description": "x" * 101}), ("manifest.json", {"manifest_version": "0.3"})],
)
def test_a_file_that_does_not_follow_its_schema_is_found(
    name: str, broken: dict[str, str], published: Published, tmp_path: Path
) -> None:
    document = tmp_path / name
    document.write_text(json.dumps(loaded(published(), name) | broken), encoding="utf-8")
    schema = dict(zip(("server.json", "manifest.json"), CHECKSUMS, strict=True))[name]
    with pytest.raises(AssertionError):
        assert_valid(SCHEMAS / schema, document)


@pytest.mark.parametrize("kind", DESCRIPTIONS)
def test_only_the_registry_gets_a_shortened_description_which_ends_after_a_word(
    kind: str, published: Published
) -> None:
    project = published(DESCRIPTIONS[kind])
    text = joined(DESCRIPTIONS[kind])
    assert tomllib.loads(project.text("pyproject.toml"))["project"]["description"] == text
    assert loaded(project, "manifest.json")["description"] == (text or SLUG)
    server = loaded(project, "server.json")
    for field in ("description", "title"):
        shown = server[field]
        assert 0 < len(shown) <= 100
        if len(text) <= 100:
            assert shown == (text or SLUG)
        else:
            begin = shown.removesuffix("…")
            assert shown == f"{begin}…"
            assert text.startswith(f"{begin} ") or " " not in text[:99]


@pytest.mark.parametrize("kind", DESCRIPTIONS)
def test_no_text_is_lost_or_breaks_the_bundle(kind: str, published: Published) -> None:
    text = joined(DESCRIPTIONS[kind])
    manifest = loaded(published(DESCRIPTIONS[kind]), "manifest.json")
    assert manifest["author"] == {"name": text or PROMPTS["author_name"], "email": PROMPTS["author_email"]}
    assert manifest["description"] == (text or SLUG)


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_the_registry_has_a_name_that_the_owner_can_verify(repository: str, published: Published) -> None:
    project = published(repository=repository)
    server = loaded(project, "server.json")
    name = REPOSITORIES[repository]
    assert server["name"] == name
    assert f"\n<!-- mcp-name: {name} -->\n" in project.text("README.md")
    # The registry accepts `repository` only for these two hosts.
    source = {"github.com": "github", "gitlab.com": "gitlab"}.get(str(urlsplit(repository).hostname))
    if source:
        assert server["repository"] == {"url": repository, "source": source}
    else:
        assert server["websiteUrl"] == repository
        assert "repository" not in server
    urls = tomllib.loads(project.text("pyproject.toml"))["project"]["urls"]
    assert urls["Repository"] == repository


def publish_it(project: Project) -> str:
    return project.text("README.md").split("\n## Publish it\n")[1].partition("\n## ")[0]


@pytest.mark.parametrize("repository", REPOSITORIES)
def test_the_readme_logs_in_to_the_registry_as_the_owner_of_the_name(
    repository: str, published: Published
) -> None:
    text = publish_it(published(repository=repository, ci="none"))
    namespace = REPOSITORIES[repository].partition("/")[0]
    if namespace.startswith("io.github."):
        assert "`mcp-publisher login github`" in text
        return
    ((domain, key),) = re.findall(
        r"`mcp-publisher login (?:dns|http) --domain (\S+)( --private-key \S+)?`", text
    )
    assert key
    assert "https://modelcontextprotocol.io/registry/authentication" in text
    if namespace == "com.example":
        assert domain == "example.org"
        assert "Replace\n  `com.example`" in text
        for file in ("server.json", "Dockerfile", "README.md"):
            assert "com.example" in published(repository=repository, ci="none").text(file)
    else:
        assert domain == ".".join(reversed(namespace.split(".")))
        assert "com.example" not in text


@pytest.mark.parametrize("container", [True, False])
def test_the_readme_names_every_file_with_the_version(container: bool, published: Published) -> None:
    project = published(container=container)
    version = tomllib.loads(project.text("pyproject.toml"))["project"]["version"]
    found = {path for path, content in project.files().items() if version.encode() in content}
    found -= {"README.md", "pyproject.toml"}
    text = publish_it(project)
    assert {"server.json", "manifest.json"} <= found
    assert ("deploy/kubernetes/kustomization.yaml" in found) == container
    for path in (*found, "uv version --bump minor", "CHANGELOG.md"):
        assert f"`{path}`" in text, path


def test_the_readme_warns_before_the_buttons_are_published(published: Published) -> None:
    text = publish_it(published())
    assert f"https://pypi.org/project/{SLUG}/) is free or yours" in text
    assert text.index("free or yours") < text.index("1. ")


# The CI of a repository at this host: whether it runs there, as far as the template knows.
RUNS = {
    ("github", "https://github.com/ada/weather"): True,
    ("gitlab", "https://gitlab.com/ada/weather"): True,
    ("none", "https://codeberg.org/ada/weather"): True,
    ("github", "https://gitlab.com/ada/weather"): False,
    ("gitlab", "https://github.com/ada/weather"): False,
    ("github", "https://codeberg.org/ada/weather"): False,
    ("gitlab", "https://dev.azure.com/ada/tools/_git/weather"): False,
    ("github", "https://git.example.com/ada/weather"): None,
    ("gitlab", "https://git.example.com/ada/weather"): None,
}


@pytest.mark.parametrize(("ci", "repository"), RUNS)
def test_the_readme_says_where_ci_does_not_run(ci: str, repository: str, published: Published) -> None:
    text = publish_it(published(ci=ci, repository=repository))
    host = urlsplit(repository).hostname
    runs = RUNS[ci, repository]
    assert (f" does not run on `{host}`." in text) == (runs is False)
    assert (f" runs on `{host}` only if that is a " in text) == (runs is None)
    assert ("[choose another `ci`](#update)" in text) == (not runs)


IMAGES = {
    ("github", "https://github.com/Ada/Weather"): "ghcr.io/ada/weather",
    ("gitlab", "https://gitlab.com/Ada/Tools/Weather"): "registry.gitlab.com/ada/tools/weather",
}


@pytest.mark.parametrize("ci", ["github", "gitlab", "none"])
@pytest.mark.parametrize(
    "repository", [*(repository for _, repository in IMAGES), "https://git.example.com/a/b", ""]
)
def test_kubernetes_pulls_the_image_that_ci_pushes(ci: str, repository: str, published: Published) -> None:
    """Where CI pushes to a registry that the template does not know, the name is a placeholder."""
    project = published(ci=ci, repository=repository)
    (name,) = re.findall("newName: (.+)", project.text("deploy/kubernetes/kustomization.yaml"))
    assert name == IMAGES.get((ci, repository), f"registry.example.com/{SLUG}")


@pytest.mark.parametrize("repository", REPOSITORIES)
@pytest.mark.parametrize("chosen", [ALL, NONE, frozenset({"retry"})], ids=["all", "none", "retry"])
def test_a_new_project_says_the_same_everywhere(
    chosen: frozenset[str], repository: str, published: Published
) -> None:
    assert_passed(run_own_test(published(repository=repository, **answers(chosen))))


@pytest.mark.parametrize("kind", ["all", "empty", "2,000 characters", "one word of 300 characters"])
def test_a_project_with_any_text_says_the_same_everywhere(kind: str, published: Published) -> None:
    assert_passed(run_own_test(published(DESCRIPTIONS[kind])))


def parameters(project: Project, client: str) -> dict[str, str]:
    """Return the parameters of an install button, decoded as a browser does."""
    (address,) = re.findall(rf"\[!\[Install in {client}\]\([^)]*\)\]\(([^)]*)\)", project.text("README.md"))
    return dict(parse_qsl(urlsplit(address).query, strict_parsing=True))


@pytest.mark.parametrize("slug", ["a", "ab", "xyz", "abcd", "weather-2", "a" * 64])
@pytest.mark.parametrize("chosen", [NONE, frozenset({"caching"})], ids=["none", "caching"])
def test_the_buttons_start_the_published_package(
    chosen: frozenset[str], slug: str, published: Published
) -> None:
    project = published(project_slug=slug, **answers(chosen))
    start = {"command": "uvx", "args": [slug]}
    cursor, code = parameters(project, "Cursor"), parameters(project, "VS Code")
    assert cursor["name"] == code["name"] == slug
    values, inputs = {}, {}
    if chosen & set(API_PATTERNS):
        values = {"env": {"API_BASE_URL": "example", "API_KEY": ""}}
        inputs = {"env": {name: "${input:" + name + "}" for name in ("API_BASE_URL", "API_KEY")}}
        asked = {one["id"]: one for one in json.loads(code["inputs"])}
        assert asked["API_KEY"]["password"]
        assert asked["API_BASE_URL"]["default"] == "example"
        assert {one["type"] for one in asked.values()} == {"promptString"}
    else:
        assert code.keys() == {"name", "config"}
    assert json.loads(base64.b64decode(cursor["config"], validate=True)) == {**start, **values}
    assert json.loads(code["config"]) == {**start, **inputs}


@pytest.mark.parametrize("text", ['{"a": "b>~?"}', '["~~~~", ">>>>", "????"]', "[]", "{}", '"ab"', '"+/="'])
def test_the_encoding_in_the_readme_is_base64_that_a_url_can_contain(text: str) -> None:
    readme = (SKELETON / "README.md").read_text(encoding="utf-8")
    (macro,) = re.findall(r"^\{% set digits .+?^\{% endmacro %\}$", readme, flags=re.MULTILINE | re.DOTALL)
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    encoded = environment.from_string(macro + "{{ base64(text) }}").render(text=text)
    padded = text + " " * (-len(text) % 3)
    assert encoded == quote(base64.b64encode(padded.encode()), safe="")
    assert dict(parse_qsl(f"config={encoded}"))["config"] == base64.b64encode(padded.encode()).decode()


def test_a_secret_of_the_server_is_a_secret_of_every_client(published: Published) -> None:
    project = published()
    names = "AUTH_ISSUER API_KEY API_BASE_URL"
    script = (
        "import importlib, json, sys\n"
        "from pydantic import SecretStr\n"
        f"importlib.import_module('{PACKAGE_NAME}.server')\n"
        f"from {PACKAGE_NAME}.settings import Settings\n"
        "fields = {n: f for s in Settings.__subclasses__() for n, f in s.model_fields.items()}\n"
        "print(json.dumps({n: fields[n.lower()].annotation is SecretStr for n in sys.argv[1:]}))\n"
    )
    run = project.run("-c", script, *names.split())
    assert_passed(run)
    secret = json.loads(run.stdout)
    (package,) = loaded(project, "server.json")["packages"]
    shown = {one["name"]: one.get("isSecret", False) for one in package["environmentVariables"]}
    assert shown == {name: secret[name] for name in shown}
    assert set(secret.values()) == {True, False}


# A change that an owner makes in only one place, and the message of the project's own test.
DRIFT = {
    "a released version": (
        *("pyproject.toml", 'version = "0.1.0"', 'version = "0.2.0"'),
        "server.json: change version from '0.1.0' to '0.2.0'.",
    ),
    "another version of the package": (
        *("server.json", '      "version": "0.1.0"', '      "version": "0.1.1"'),
        "server.json: change version from 'two versions' to '0.1.0'.",
    ),
    "another description": (
        *("pyproject.toml", "A production MCP server.", "It has tides."),
        "manifest.json: change description from 'A production MCP server.' to 'It has tides.'.",
    ),
    "another repository": (
        *("pyproject.toml", f'Repository = "{GITHUB}"', 'Repository = "https://github.com/ada/tides"'),
        f"server.json: change repository from '{GITHUB}' to 'https://github.com/ada/tides'.",
    ),
    "another name in the registry": (
        *("server.json", "io.github.Ada-L/", "io.github.ada/"),
        "the comment `mcp-name` in README.md: change mcp-name from ['io.github.Ada-L/weather.py']"
        " to ['io.github.ada/weather.py'].",
    ),
    "no marker": (
        *("README.md", "<!-- mcp-name:", "<!-- name:"),
        "the comment `mcp-name` in README.md: change mcp-name from [] to ['io.github.Ada-L/weather.py'].",
    ),
    "another command": (
        *("README.md", f"-- uvx {SLUG}", f"-- uvx {SLUG}==0.1"),
        f"the command for Claude Code in README.md: change command from ['uvx', '{SLUG}==0.1']"
        f" to ['uvx', '{SLUG}'].",
    ),
    "another program": (
        *("manifest.json", '"--no-dev", ', ""),
        "manifest.json: change command of the bundle from ",
    ),
    "another default": (
        *("server.json", '"default": "example"', '"default": "https://example.com"'),
        "the button for Cursor in README.md: change values from ",
    ),
    "a variable fewer": (
        *("manifest.json", '"API_KEY": "${user_config.API_KEY}"', '"API_TOKEN": "${user_config.API_KEY}"'),
        "manifest.json: change variables from ",
    ),
    "a secret that everyone sees": (
        *("manifest.json", '"required": false,\n      "sensitive": true', '"required": false'),
        "manifest.json: change variables from ",
    ),
    "another meaning of a variable": (
        *("README.md", "| `API_KEY` | (empty) | Secret, sent", "| `API_KEY` | (empty) | Secret, given"),
        "the button for VS Code in README.md: change variables from ",
    ),
    "another Python": (
        *("pyproject.toml", 'requires-python = ">=3.11"', 'requires-python = ">=3.12"'),
        "manifest.json: change requires-python from '>=3.11' to '>=3.12'.",
    ),
    "another image in Kubernetes": (
        *("deploy/kubernetes/kustomization.yaml", "newTag: 0.1.0", 'newTag: "0.0.9"'),
        "kustomization.yaml: change version from '0.0.9' to '0.1.0'.",
    ),
    "another file": (
        *("fastmcp.json", '"path": "server.py"', '"path": "main.py"'),
        "fastmcp.json: change file from 'main.py' to 'server.py'.",
    ),
}


@pytest.mark.parametrize("drift", DRIFT)
def test_a_change_in_one_place_fails_with_a_sentence(drift: str, bake: Bake) -> None:
    file, old, new, sentence = DRIFT[drift]
    project = bake(repository=GITHUB)
    text = project.text(file)
    assert text.count(old) == 1
    (project.path / file).write_text(text.replace(old, new), encoding="utf-8")
    run = run_own_test(project)
    assert run.returncode == 1
    assert sentence in run.stdout
    assert "Traceback" not in run.stdout
    assert "KeyError" not in run.stdout


def test_without_a_repository_nothing_publishes_the_project(bake_once: Bake) -> None:
    without, published = bake_once(), bake_once(repository=GITHUB)
    files, others = without.files(), published.files()
    assert others.keys() - files.keys() == OWN_FILES | {".github/workflows/release.yml"}
    assert files.keys() <= others.keys()
    changed = {name for name in files if files[name] != others[name]}
    assert changed == {
        *("README.md", "pyproject.toml", ".github/workflows/ci.yml"),
        *("Dockerfile", "deploy/kubernetes/kustomization.yaml"),
    }
    for name, content in files.items():
        for word in ("mcp-name:", "mcpb", "server.json", "uvx", "registry.modelcontextprotocol"):
            assert word.encode() not in content.lower(), name
