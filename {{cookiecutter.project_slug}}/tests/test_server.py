"""Rules for every tool, resource and prompt of the server, including yours."""

import importlib
import json
import pkgutil
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmcp import Client
from fastmcp.prompts import Prompt
from fastmcp.tools import Tool
from pydantic import SecretStr

import {{ cookiecutter.package_name }}.tools as tools_package
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
MAX_ERROR_BYTES = 2048
HINTS = {"read_only_hint", "destructive_hint", "idempotent_hint", "open_world_hint"}
REGISTRATION = {
    "tool": "add it to `tools` of `Server(...)`",
    "resource": "add a line `mcp.add_resource({name})`",
    "prompt": "add a line `mcp.add_prompt({name})`",
}
# The keywords that bound each type: one of them is enough.
VALUES = {"enum", "const"}
BOUNDS = {
    "string": ({"maxLength", "format", *VALUES}, "max_length=200"),
    "integer": ({"maximum", "exclusiveMaximum", *VALUES}, "ge=0, le=1000"),
    "number": ({"maximum", "exclusiveMaximum", *VALUES}, "ge=0, le=1000"),
    "array": ({"maxItems", *VALUES}, "max_length=100"),
    "object": ({"maxProperties", "properties", *VALUES}, "max_length=100"),
    "boolean": ({"type"}, ""),
}
TEXT = r'"type": ?"string"'
COMBINED = {"$ref", "anyOf", "oneOf", "allOf"}
{% if cookiecutter.environment_config %}
# Variables without a settings class: they locate the others.
SOURCES = {"ENV_FILE": "", "SECRETS_DIR": "/run/secrets"}
{% else %}
SOURCES: dict[str, str] = {}
{% endif %}


def fail_with(problems: Iterable[str]) -> None:
    """Fail with one line for each problem and its fix."""
    if lines := list(problems):
        pytest.fail("\n".join(lines), pytrace=False)


async def registered() -> list[Any]:
    return [
        *await mcp.list_tools(),
        *await mcp.list_resources(),
        *await mcp.list_resource_templates(),
        *await mcp.list_prompts(),
    ]


def defined() -> Iterator[tuple[str, str, str, Any]]:
    """Return the module, the kind, the name and the function of everything in `tools/`."""
    for module in pkgutil.iter_modules(tools_package.__path__):
        path = f"{tools_package.__name__}.{module.name}"
        for name, value in vars(importlib.import_module(path)).items():
            meta = getattr(value, "__fastmcp__", None)
            if meta and value.__module__ == path:
                yield module.name, meta.type, name, value


async def test_everything_in_tools_is_registered() -> None:
    functions = [origin(getattr(component, "fn", None)) for component in await registered()]
    fail_with(
        f"tools/{module}.py: `{name}` is not registered. In server.py, import it and"
        f" {REGISTRATION[kind].format(name=name)}."
        for module, kind, name, function in defined()
        if origin(function) not in functions
    )


async def test_everything_in_tools_has_a_test() -> None:
    tests = "".join(
        path.read_text(encoding="utf-8") for path in (PROJECT / "tests" / "tools").glob("*.py")
    )
    modules = {origin(function): module for module, _, _, function in defined()}
    fail_with(
        f"tools/{module}.py: no test uses `{name}`. Call it in tests/tools/test_{module}.py."
        for component in await registered()
        if (module := modules.get(origin(getattr(component, "fn", None))))
        and (name := address(component)) not in tests
    )


async def test_the_readme_calls_only_tools_of_the_server() -> None:
    tools = {tool.name for tool in await mcp.list_tools()}
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    fail_with(
        f"README.md: `fastmcp call` names `{tool}`, which is not a tool."
        " Name another one, or delete the line."
        for tool in re.findall(r"^uv run fastmcp call \S+ (\w+)", readme, flags=re.MULTILINE)
        # The recipe for a new tool calls the tool that it defines.
        if tool not in tools and f"async def {tool}(" not in readme
    )


def origin(function: Any) -> tuple[str, str]:
    """Return where a function was defined: FastMCP wraps those with dependencies."""
    return getattr(function, "__module__", ""), getattr(function, "__qualname__", "")


def address(component: Any) -> str:
    """Return the name, or the URI up to its first parameter."""
    uri = getattr(component, "uri", None) or getattr(component, "uri_template", None)
    return str(uri or component.name).partition("{")[0]


async def test_every_tool_is_described_for_models_and_people() -> None:
    fail_with(problem for tool in await mcp.list_tools() for problem in tool_problems(tool))


def tool_problems(tool: Tool) -> Iterator[str]:
    if not tool.title:
        yield f"{tool.name} has no title: add `title=` to its decorator."
    if not tool.description:
        yield f"{tool.name} has no description: add `description=` to its decorator."
    elif len(re.findall(r"[.!?](?:\s|$)", tool.description)) > 3:
        yield f"{tool.name}: shorten its description to at most three sentences."
    hints = tool.annotations.model_dump(exclude_none=True) if tool.annotations else {}
    if missing := sorted(HINTS - hints.keys()):
        yield f"{tool.name}: add {', '.join(map(camel_case, missing))} to its annotations."
    schema = tool.output_schema or {"x-fastmcp-wrap-result": True}
    if schema.get("x-fastmcp-wrap-result"):
        yield f"{tool.name}: annotate its result with a pydantic model, so that it can get fields."
    for name, parameter in tool.parameters["properties"].items():
        if "description" not in parameter:
            yield f"{tool.name}: add `Field(description=...)` to its parameter `{name}`."
        yield from (f"{tool.name}: {text}" for text in input_problems(name, parameter))


def camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def input_problems(path: str, schema: dict[str, Any]) -> Iterator[str]:
    """Yield what clients do not support in a parameter, and where it is unbounded."""
    kind = schema.get("type")
    if schema.keys() & COMBINED or isinstance(kind, list):
        yield f'give `{path}` one type, not a union; an absent text is "".'
    elif kind not in BOUNDS:
        if not schema.keys() & VALUES:
            yield f"annotate `{path}` with a type that JSON has, such as `str`."
    else:
        keywords, example = BOUNDS[kind]
        if not schema.keys() & keywords:
            yield f"bound `{path}`, for example with `Field({example})`."
    if isinstance(items := schema.get("items"), dict):
        yield from input_problems(f"{path}[]", items)
    for name, inner in schema.get("properties", {}).items():
        yield from input_problems(f"{path}.{name}", inner)


async def test_every_resource_and_prompt_is_described() -> None:
    resources = [*await mcp.list_resources(), *await mcp.list_resource_templates()]
    described = [*resources, *await mcp.list_prompts()]
    fail_with(
        f"{address(component)} has no description: write a docstring, or add `description=`."
        for component in described
        if not component.description
    )
    fail_with(problem for prompt in await mcp.list_prompts() for problem in prompt_problems(prompt))


def prompt_problems(prompt: Prompt) -> Iterator[str]:
    for argument in prompt.arguments or []:
        if not argument.description:
            yield f"{prompt.name}: add `Field(description=...)` to its argument `{argument.name}`."
        elif "JSON schema" in argument.description and not re.search(TEXT, argument.description):
            yield f"{prompt.name}: annotate `{argument.name}` with `str`; prompts only take text."


@pytest.mark.parametrize("era", ERAS)
async def test_a_bad_call_of_any_tool_gets_a_short_and_readable_error(era: str) -> None:
    # One of these values, or all of these names, would make the error too long.
    unknown = {f"unknown_{number:0200}": "canary" * 1000 for number in range(20)}
    async with Client(mcp, mode=era) as client:
        for tool in await mcp.list_tools():
            result = await client.call_tool(tool.name, unknown, raise_on_error=False)
            assert result.is_error, tool.name
            text = result.content[0].text
            assert 0 < text.count("unknown_") <= 5
            assert "canary" not in text
            assert len(text.encode()) < MAX_ERROR_BYTES


async def test_the_text_of_an_unknown_exception_never_reaches_the_client() -> None:
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


def test_the_version_is_that_of_pyproject_toml() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert mcp.version == __version__
    # The second where the package is on the path, but not installed.
    assert __version__ in {project["version"], "0+unknown"}


def variables() -> dict[str, str]:
    """Return every variable that the server reads, with its default."""

    def shown(default: Any) -> str:
        value = default.get_secret_value() if isinstance(default, SecretStr) else default
        if isinstance(value, bool | int):
            return json.dumps(value)
        return f"{value:g}" if isinstance(value, float) else str(value or "")

    every: set[type[Settings]] = {ServingSettings, *Settings.__subclasses__()}
    return {
        name.upper(): shown(field.default)
        for settings in every
        if settings.__module__.startswith(f"{PACKAGE}.")
        for name, field in settings.model_fields.items()
    }


def test_the_readme_lists_every_variable_with_its_default() -> None:
    expected = {**SOURCES, **variables()}
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`|\(empty\)) \|", readme, flags=re.MULTILINE)
    listed = dict(rows)
    fail_with(
        f"README.md: add a row `{name}` with the default `{default}` to the table of variables."
        for name, default in expected.items()
        if listed.get(name) != default
    )
    assert listed.keys() <= expected.keys()
    assert len(rows) == len(listed)


def test_the_example_env_file_has_every_variable_with_its_default() -> None:
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    lines = re.findall(r"^# ([A-Z_]+)=(.*)$", example, flags=re.MULTILINE)
    expected = variables()
    fail_with(
        f".env.example: add the line `# {name}={default}`."
        for name, default in expected.items()
        if (name, default) not in lines
    )
    fail_with(f".env.example: remove {name}." for name, _ in lines if name not in expected)
    assert len(lines) == len(expected)
