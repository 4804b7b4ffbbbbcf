"""What clients and models see of the server is what was agreed on, and no burden to them.

It stands in tests/surface, in one file for each module of tools. To agree to what it is now, run
`uv run pytest tests/test_surface.py --update-surface`, and commit the files.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastmcp import FastMCP

from {{ cookiecutter.package_name }}.server import (
    mcp,
)

from .changes import Component, Kind, Surface, compare

AGREED = Path(__file__).with_name("surface")
FIELDS = (
    *("name", "title", "description", "mimeType"),
    *("inputSchema", "outputSchema", "annotations"),
)
MAX_TOKENS = 300
BYTES_PER_TOKEN = 4  # tokenizers made one of 4.1 to 4.6 bytes of the example tools

CHANGED = """\
The server is not what was agreed on in tests/surface:

{changes}

{advice}
To agree to it, run this, and commit the files:

    uv run pytest tests/test_surface.py --update-surface
"""
ADVICE = {
    Kind.BREAKING: "What is breaking fails clients of today: undo it, or release it as such.",
    Kind.BEHAVIOURAL: "No change breaks a client.",
    Kind.WORDING: "Only words have changed, which models read.",
}


async def surface_by_module() -> dict[str, Surface]:
    """Return what clients see, by the name of the module that it comes from."""
    modules: dict[str, Surface] = {}

    def add(name: str, component: Any, listed: Any) -> None:
        # What was made from no function came from the composition.
        source = getattr(getattr(component, "fn", None), "__module__", "server")
        fields = listed.model_dump(mode="json", by_alias=True, exclude_none=True)
        if "arguments" in fields:
            fields["inputSchema"] = schema_of(fields["arguments"])
        modules.setdefault(source.rpartition(".")[2], {})[name] = {
            field: fields[field] for field in FIELDS if fields.get(field, name) != name
        }

    # Without the middleware, which may say of all tools what is none of each.
    bare = FastMCP("bare", tools=await mcp.list_tools(run_middleware=False))
    for tool in await bare.list_tools():
        add(tool.name, tool, tool.to_mcp_tool())
    for resource in await mcp.list_resources():
        add(str(resource.uri), resource, resource.to_mcp_resource())
    for template in await mcp.list_resource_templates():
        add(template.uri_template, template, template.to_mcp_template())
    for prompt in await mcp.list_prompts():
        add(f"prompt {prompt.name}", prompt, prompt.to_mcp_prompt())
    return modules


def schema_of(arguments: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the arguments of a prompt in the form of a tool's parameters."""
    return {
        "properties": {
            argument["name"]: {"description": argument.get("description", "")}
            for argument in arguments
        },
        "required": [argument["name"] for argument in arguments if argument.get("required")],
    }


def components(modules: dict[str, Surface]) -> Iterator[tuple[str, Component]]:
    for surface in modules.values():
        yield from surface.items()


def agree_to(modules: dict[str, Surface]) -> None:
    """Write the files, and delete those of modules that are gone."""
    AGREED.mkdir(exist_ok=True)
    for path in AGREED.glob("*.json"):
        if path.stem not in modules:
            path.unlink()
    for name, surface in modules.items():
        text = json.dumps(surface, ensure_ascii=False, indent=2) + "\n"
        (AGREED / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")


def agreed_surface() -> Surface:
    surface: Surface = {}
    for path in AGREED.glob("*.json"):
        surface |= json.loads(path.read_text(encoding="utf-8"))
    return surface


@pytest.fixture(scope="module")
def modules() -> dict[str, Surface]:
    return asyncio.run(surface_by_module())


def test_the_surface_is_the_accepted_one(
    modules: dict[str, Surface], request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--update-surface"):
        agree_to(modules)
    changes = compare(agreed_surface(), dict(components(modules)))
    if changes:
        lines = "\n".join(map(str, changes))
        pytest.fail(CHANGED.format(changes=lines, advice=ADVICE[changes[0].kind]), pytrace=False)


def test_a_tool_takes_no_more_than_300_tokens_of_a_model(modules: dict[str, Surface]) -> None:
    for name, fields in components(modules):
        # Clients pass on no more than this; the result's schema and the annotations they keep.
        seen = {"name": name} | {key: fields.get(key) for key in ("description", "inputSchema")}
        text = json.dumps(seen, ensure_ascii=False, separators=(",", ":"))
        tokens = len(text.encode()) / BYTES_PER_TOKEN
        assert tokens <= MAX_TOKENS, f"{name} takes about {tokens:.0f} tokens: shorten it"
