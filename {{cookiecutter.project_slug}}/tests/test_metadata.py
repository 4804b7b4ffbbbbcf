"""What the registry and clients read about the server is what the project says.

`pyproject.toml` has the name, the version, the description and the address of the repository. The
table in the README describes the variables, and `server.json` says which of them clients ask for.
"""

import base64
import json
import re
import shlex
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

PROJECT = Path(__file__).parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# The registry accepts at most 100 characters.
MAX_DESCRIPTION = 100
Facts = dict[str, Any]


def loaded(name: str) -> Any:
    return json.loads((PROJECT / name).read_text(encoding="utf-8"))


def shortened(description: str) -> str:
    """Return a description that the registry accepts: it ends after a word."""
    if len(description) <= MAX_DESCRIPTION:
        return description
    return description[: MAX_DESCRIPTION - 1].rsplit(" ", 1)[0] + "…"


def variable(description: str | None, default: str | None, *, secret: bool) -> Facts:
    return {"description": description, "default": default, "secret": secret}


def from_project() -> Facts:
    """Return what every place must say."""
    server = loaded("server.json")
    asked = server["packages"][0].get("environmentVariables", [])
    values = {one["name"]: one.get("default", "") for one in asked}
    required = [one["name"] for one in asked if one.get("isRequired")]
    rows = re.findall(r"^\| `([A-Z_]+)` \| [^|]+ \| (.+) \|$", README, flags=re.MULTILINE)
    meanings = {name: meaning.replace("`", "") for name, meaning in rows}
    return {
        **{field: PYPROJECT[field] for field in ("name", "version", "license", "requires-python")},
        "description": PYPROJECT["description"] or PYPROJECT["name"],
        "shortened description": shortened(PYPROJECT["description"]) or PYPROJECT["name"],
        "author": PYPROJECT["authors"][0],
        "repository": PYPROJECT["urls"]["Repository"],
        "title": server["title"],
        "mcp-name": [server["name"]],
        "file": "server.py",
        "command": ["uvx", PYPROJECT["name"]],
        "command of the bundle": [
            *("uv", "run", "--directory", "${__dirname}", "--no-dev"),
            *PYPROJECT["scripts"],
        ],
        "values": values,
        "required values": {name: values[name] for name in values if name in required},
        "variables": {
            name: variable(meanings[name], default, secret=meanings[name].startswith("Secret"))
            for name, default in values.items()
        },
    }


def from_server_json() -> Facts:
    server = loaded("server.json")
    (package,) = server["packages"]
    return {
        "name": package["identifier"],
        "version": server["version"] if server["version"] == package["version"] else "two versions",
        "shortened description": server["description"],
        "repository": server.get("repository", {}).get("url") or server.get("websiteUrl"),
        "command": [package["runtimeHint"], package["identifier"]],
        "variables": {
            one["name"]: variable(
                one.get("description"), one.get("default", ""), secret=one.get("isSecret", False)
            )
            for one in package.get("environmentVariables", [])
        },
    }


def from_manifest_json() -> Facts:
    manifest = loaded("manifest.json")
    server = manifest["server"]
    start = server["mcp_config"]
    # Without a default, an optional variable gets its placeholder as the value.
    variables = {
        "${user_config." + name + "}": variable(
            one["description"], one.get("default"), secret=one.get("sensitive", False)
        )
        for name, one in manifest.get("user_config", {}).items()
    }
    return {
        **{field: manifest.get(field) for field in ("name", "version", "license", "description")},
        "requires-python": manifest["compatibility"]["runtimes"]["python"],
        "author": manifest["author"],
        "repository": manifest["repository"]["url"],
        "title": manifest["display_name"],
        "file": server["entry_point"],
        "command of the bundle": [start["command"], *start["args"]],
        "variables": {name: variables.get(value) for name, value in start.get("env", {}).items()},
    }


{% if cookiecutter.container %}
def from_kustomization_yaml() -> Facts:
    path = PROJECT / "deploy" / "kubernetes" / "kustomization.yaml"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:  # you deploy it differently
        return {}
    tags = re.findall(r"^ +newTag: \W?([\w.+-]+)", text, flags=re.MULTILINE)
    return {"version": tags[0]} if tags else {}


{% endif %}
def from_fastmcp_json() -> Facts:
    return {"file": loaded("fastmcp.json")["source"]["path"]}


def from_marker() -> Facts:
    return {"mcp-name": re.findall(r"^<!-- mcp-name: (\S+) -->$", README, flags=re.MULTILINE)}


def button(client: str) -> dict[str, str]:
    """Return the parameters of an install button in the README."""
    link = re.findall(rf"^\[!\[Install in {client}\]\([^)]*\)\]\((.+)\)$", README, re.MULTILINE)
    return dict(parse_qsl(urlsplit("".join(link)).query))


def from_cursor_button() -> Facts:
    parameters = button("Cursor")
    start = json.loads(base64.b64decode(parameters["config"], validate=True))
    return {
        "name": parameters["name"],
        "command": [start["command"], *start["args"]],
        "values": start.get("env", {}),
    }


def from_vs_code_button() -> Facts:
    parameters = button("VS Code")
    start = json.loads(parameters["config"])
    variables = {
        "${input:" + one["id"] + "}": variable(
            one["description"], one.get("default", ""), secret=one.get("password", False)
        )
        for one in json.loads(parameters.get("inputs", "[]"))
    }
    return {
        "name": parameters["name"],
        "command": [start["command"], *start["args"]],
        "variables": {name: variables.get(value) for name, value in start.get("env", {}).items()},
    }


def from_claude_code_command() -> Facts:
    line = next(line for line in README.splitlines() if line.startswith("claude mcp add "))
    options, _, command = line.partition(" -- ")
    values = [value for option, value in pairwise(shlex.split(options)) if option == "--env"]
    return {
        "name": shlex.split(options)[-1],
        "command": shlex.split(command),
        "required values": dict(value.split("=", 1) for value in values),
    }


@pytest.mark.parametrize(
    ("place", "read"),
    [
        ("server.json", from_server_json),
        ("manifest.json", from_manifest_json),
{% if cookiecutter.container %}
        ("kustomization.yaml", from_kustomization_yaml),
{% endif %}
        ("fastmcp.json", from_fastmcp_json),
        ("the comment `mcp-name` in README.md", from_marker),
        ("the button for Cursor in README.md", from_cursor_button),
        ("the button for VS Code in README.md", from_vs_code_button),
        ("the command for Claude Code in README.md", from_claude_code_command),
    ],
)
def test_every_place_says_the_same_about_the_server(place: str, read: Callable[[], Facts]) -> None:
    expected = from_project()
    differences = [
        f"{place}: change {field} from {found!r} to {expected[field]!r}."
        for field, found in read().items()
        if found != expected[field]
    ]
    if differences:
        pytest.fail("\n".join(differences), pytrace=False)
