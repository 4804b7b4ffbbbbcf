"""What clients and models see of the server matches the snapshot, and is short.

The snapshot is in tests/surface, one file for each module of tools. To update it, run
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

SNAPSHOT = Path(__file__).with_name("surface")
FIELDS = (
    *("name", "title", "description", "mimeType"),
    *("inputSchema", "outputSchema", "annotations"),
)
MAX_TOKENS = 300
BYTES_PER_TOKEN = 4  # the example tools have 4.1 to 4.6 bytes per token

CHANGED = """\
The server does not match the snapshot in tests/surface:

{changes}

{advice}
To update the snapshot, run this, and commit the files:

    uv run pytest tests/test_surface.py --update-surface
"""
ADVICE = {
    Kind.BREAKING: "A breaking change fails existing clients: undo it, or release it as breaking.",
    Kind.BEHAVIOURAL: "No change breaks a client.",
    Kind.WORDING: "Only wording has changed, which models read.",
}


async def surface_by_module() -> dict[str, Surface]:
    """Return what clients see, by the name of its module."""
    modules: dict[str, Surface] = {}

    def add(name: str, component: Any, listed: Any) -> None:
        # Components without a function belong to the composition.
        source = getattr(getattr(component, "fn", None), "__module__", "server")
        fields = listed.model_dump(mode="json", by_alias=True, exclude_none=True)
        if "arguments" in fields:
            fields["inputSchema"] = schema_of(fields["arguments"])
        modules.setdefault(source.rpartition(".")[2], {})[name] = {
            field: fields[field] for field in FIELDS if fields.get(field, name) != name
        }

    # Without the middleware, which may change all tools.
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


def update(modules: dict[str, Surface]) -> None:
    """Write the files, and delete those of removed modules."""
    SNAPSHOT.mkdir(exist_ok=True)
    for path in SNAPSHOT.glob("*.json"):
        if path.stem not in modules:
            path.unlink()
    for name, surface in modules.items():
        text = json.dumps(surface, ensure_ascii=False, indent=2) + "\n"
        (SNAPSHOT / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")


def snapshot() -> Surface:
    surface: Surface = {}
    for path in SNAPSHOT.glob("*.json"):
        surface |= json.loads(path.read_text(encoding="utf-8"))
    return surface


@pytest.fixture(scope="module")
def modules() -> dict[str, Surface]:
    return asyncio.run(surface_by_module())


def test_the_surface_is_the_accepted_one(
    modules: dict[str, Surface], request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--update-surface"):
        update(modules)
    changes = compare(snapshot(), dict(components(modules)))
    if changes:
        lines = "\n".join(map(str, changes))
        pytest.fail(CHANGED.format(changes=lines, advice=ADVICE[changes[0].kind]), pytrace=False)


def test_a_tool_costs_a_model_at_most_300_tokens(modules: dict[str, Surface]) -> None:
    for name, fields in components(modules):
        # Clients only pass on these, not the result's schema and the annotations.
        seen = {"name": name} | {key: fields.get(key) for key in ("description", "inputSchema")}
        text = json.dumps(seen, ensure_ascii=False, separators=(",", ":"))
        tokens = len(text.encode()) / BYTES_PER_TOKEN
        assert tokens <= MAX_TOKENS, f"{name} takes about {tokens:.0f} tokens: shorten it"
