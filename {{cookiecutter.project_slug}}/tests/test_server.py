{% set uses_api = cookiecutter.connection_pooling or cookiecutter.retry or cookiecutter.caching %}
"""The server as a whole: what it offers, and that every tool answers in both protocol eras."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

{% if uses_api or cookiecutter.lazy_initialization %}
import pytest
{% endif %}
from fastmcp import Client
from fastmcp.tools import Tool
from fastmcp.utilities.tests import asgi_server
from pydantic import SecretStr

from {{ cookiecutter.package_name }} import (
    __version__,
)
from {{ cookiecutter.package_name }}.runtime.serving import (
    ServingSettings,
)
from {{ cookiecutter.package_name }}.server import (
    mcp,
)
from {{ cookiecutter.package_name }}.settings import (
    Settings,
)

PROJECT = Path(__file__).parents[1]
PACKAGE = "{{ cookiecutter.package_name }}"
ERAS = ["auto", "legacy"]
# What is longer, clients refuse, cut, or put aside.
MAX_RESULT_BYTES = 50_000
HINTS = {"read_only_hint", "destructive_hint", "idempotent_hint", "open_world_hint"}

# What stands around a call, the outermost first.
MIDDLEWARE = [
{% if cookiecutter.structured_logging %}
    "CallLog",
{% endif %}
{% if cookiecutter.structured_errors %}
    "StructuredErrors",
{% endif %}
{% if cookiecutter.rate_limiting %}
    "RateLimiting",
{% endif %}
    "ReadableArguments",
    "Failures",
    "ResultLimit",
    "Deadlines",
    "SendableAnswers",
    "CurrentCapabilities",
]
# A call of every tool that must succeed.
CALLS: dict[str, dict[str, Any]] = {
    "process_data": {"text": "tea for two"},
{% if cookiecutter.lazy_initialization %}
    "database_operation": {"query": "a", "limit": 2},
{% endif %}
{% if cookiecutter.connection_pooling %}
    "api_request": {"endpoint": "users/1"},
{% endif %}
{% if cookiecutter.retry %}
    "resilient_api_call": {"endpoint": "users"},
{% endif %}
{% if cookiecutter.caching %}
    "cached_fetch": {"resource_id": "a/b"},
{% endif %}
{% if cookiecutter.structured_errors %}
    "validated_operation": {"data": "[1, 2]"},
{% endif %}
{% if cookiecutter.parallel_processing %}
    "batch_process": {"items": ["tea for two", "two for tea"]},
{% endif %}
{% if cookiecutter.state_management %}
    "increment_counter": {"name": "cups"},
{% endif %}
}
{% if cookiecutter.state_management %}
# The tools that change something.
WRITERS = {"increment_counter"}
{% else %}
# The tools that change something.
WRITERS: set[str] = set()
{% endif %}
{% if cookiecutter.structured_errors %}
# A call of each kind that must fail, and its code.
FAILURES: list[tuple[str, dict[str, Any], str]] = [
    ("process_data", {}, "VALIDATION_ERROR"),
{% if cookiecutter.lazy_initialization %}
    ("database_operation", {"cursor": "none of ours"}, "VALIDATION_ERROR"),
{% endif %}
{% if cookiecutter.connection_pooling %}
    ("api_request", {"endpoint": "https://elsewhere.example"}, "VALIDATION_ERROR"),
    ("api_request", {"endpoint": "users/0"}, "NOT_FOUND"),
    ("api_request", {"endpoint": "issues?state=lost"}, "VALIDATION_ERROR"),
{% endif %}
{% if cookiecutter.retry %}
    ("resilient_api_call", {"endpoint": "//elsewhere.example"}, "VALIDATION_ERROR"),
    ("resilient_api_call", {"endpoint": "users/0"}, "NOT_FOUND"),
{% endif %}
]
{% endif %}
{% if cookiecutter.environment_config or cookiecutter.health_check %}
RESOURCES = [
{% if cookiecutter.environment_config %}
    "config://settings",
{% endif %}
{% if cookiecutter.health_check %}
    "health://status",
{% endif %}
]
{% else %}
RESOURCES: list[str] = []
{% endif %}
{% if cookiecutter.environment_config %}
# Variables that no settings class has: they say where the others are.
SOURCES = {"ENV_FILE": "", "SECRETS_DIR": "/run/secrets"}
{% else %}
SOURCES: dict[str, str] = {}
{% endif %}
{% if uses_api or cookiecutter.lazy_initialization %}


@pytest.fixture(autouse=True)
def _self_sufficient(monkeypatch: pytest.MonkeyPatch{{ ", tmp_path: Path" if cookiecutter.lazy_initialization else "" }}) -> None:
{% if uses_api %}
    monkeypatch.setenv("API_BASE_URL", "example")
{% endif %}
{% if cookiecutter.lazy_initialization %}
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'users.db'}")
{% endif %}
{% endif %}


def schemas(node: Any) -> Iterator[dict[str, Any]]:
    """Return a JSON schema and every schema inside it."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from schemas(value)


async def listed_tools() -> list[Tool]:
    return list(await mcp.list_tools())


async def test_the_server_offers_exactly_these_tools_and_resources() -> None:
    assert [tool.name for tool in await listed_tools()] == list(CALLS)
    assert [str(resource.uri) for resource in await mcp.list_resources()] == RESOURCES


def test_what_stands_around_a_call_stands_in_this_order() -> None:
    names = [type(middleware).__name__ for middleware in mcp.middleware]
    assert [name for name in names if name in MIDDLEWARE] == MIDDLEWARE


async def test_every_tool_is_described_for_a_model_and_for_a_person() -> None:
    for tool in await listed_tools():
        assert tool.title
        assert tool.description
        assert len(re.findall(r"[.!?](?:\s|$)", tool.description)) <= 3
        assert tool.output_schema is not None
        assert tool.annotations is not None
        assert tool.annotations.model_dump(exclude_none=True).keys() >= HINTS
        assert tool.annotations.read_only_hint == (tool.name not in WRITERS)
        for parameter in tool.parameters["properties"].values():
            assert parameter["description"]


async def test_every_input_schema_is_one_that_all_clients_understand() -> None:
    for tool in await listed_tools():
        for schema in schemas(tool.parameters):
            assert not schema.keys() & {"$ref", "$defs", "anyOf", "oneOf", "allOf"}, tool.name
            assert not isinstance(schema.get("type"), list), tool.name


async def test_every_input_is_bounded() -> None:
    bounds = {"string": "maxLength", "integer": "maximum", "array": "maxItems"}
    for tool in await listed_tools():
        for schema in schemas(tool.parameters):
            kind = schema.get("type")
            assert kind not in bounds or bounds[kind] in schema, tool.name


async def test_every_tool_and_resource_answers_in_both_eras() -> None:
    async with asgi_server(mcp, stateless_http=True) as http:
        for era in ERAS:
            async with http.client(mode=era) as client:
                for tool, arguments in CALLS.items():
                    result = await client.call_tool(tool, arguments)
                    text = result.content[0].text
                    assert result.structured_content, (era, tool)
                    assert result.structured_content == json.loads(text), (era, tool)
                    assert len(text.encode()) <= MAX_RESULT_BYTES, (era, tool)
                for uri in RESOURCES:
                    (content,) = await client.read_resource(uri)
                    assert content.mime_type == "application/json", (era, uri)


async def test_a_bad_call_is_answered_legibly_and_briefly() -> None:
    # One of these values, or all of these names, would be too long an answer.
    unknown = {f"unknown_{number:0200}": "canary" * 1000 for number in range(20)}
    for era in ERAS:
        async with Client(mcp, mode=era) as client:
            for tool in CALLS:
                result = await client.call_tool(tool, unknown, raise_on_error=False)
                assert result.is_error
                text = result.content[0].text
                assert 0 < text.count("unknown_") <= 5
                assert "canary" not in text
                assert len(text.encode()) < 2048


async def test_what_an_unknown_exception_says_stays_inside() -> None:
    def fail() -> None:
        raise RuntimeError("canary")

    mcp.add_tool(Tool.from_function(fail))
    try:
        async with Client(mcp) as client:
            result = await client.call_tool("fail", raise_on_error=False)
    finally:
        mcp.local_provider.remove_tool("fail")
    assert result.is_error
    assert "canary" not in str(result)
{% if cookiecutter.structured_errors %}


async def test_a_failure_has_its_code() -> None:
    async with Client(mcp) as client:
        for name, arguments, code in FAILURES:
            result = await client.call_tool(name, arguments, raise_on_error=False)
            assert result.is_error
            assert result.structured_content["error"]["code"] == code, (name, arguments)
{% endif %}


async def test_the_answer_of_a_tool_has_the_form_it_promises() -> None:
    async with Client(mcp) as client:
        result = await client.call_tool("process_data", {"text": "tea\nfor two"})
    assert result.structured_content == {"words": 3, "lines": 2, "characters": 11}


def test_the_version_is_that_of_the_package() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {__version__, mcp.version} == {project["version"]}


def test_the_readme_lists_every_variable_with_its_default() -> None:
    def shown(default: Any) -> str:
        value = default.get_secret_value() if isinstance(default, SecretStr) else default
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int):
            return str(value)
        return f"{value:g}" if isinstance(value, float) else str(value or "")

    variables = dict(SOURCES)
    every: set[type[Settings]] = {ServingSettings, *Settings.__subclasses__()}
    for settings in every:
        if settings.__module__.startswith(f"{PACKAGE}."):
            for name, field in settings.model_fields.items():
                variables[name.upper()] = shown(field.default)
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`|\(empty\)) \|", readme, flags=re.MULTILINE)
    assert dict(rows) == variables
    assert len(rows) == len(variables)
