"""A chain of middleware works like a list of middleware in FastMCP."""

from collections.abc import Sequence
from typing import Any

import pytest
from fastmcp import Client, FastMCP
from fastmcp.prompts import Prompt
from fastmcp.resources import Resource
from fastmcp.server.middleware import Middleware, MiddlewareContext

from my_mcp_server.runtime.middleware import (
    HOOKS,
    chain,
)

EVERY_MESSAGE = ["on_message", "on_request", "on_notification"]


def layer(name: str, trace: list[str], hooks: Sequence[str]) -> Middleware:
    """Return a middleware with these hooks, each of which records that it runs."""

    def traced(hook: str) -> Any:
        async def run(_self: Any, context: Any, call_next: Any) -> Any:
            trace.append(f"{name}.{hook} {context.method}")
            return await call_next(context)

        return run

    async def check(_self: Any, context: Any) -> None:
        trace.append(f"{name} checks {context.message.uri}")

    methods = {hook: traced(hook) for hook in hooks if hook != "check_resource_access"}
    if "check_resource_access" in hooks:
        methods["check_resource_access"] = check
    kind: type[Middleware] = type(name, (Middleware,), methods)
    return kind()


def layers(trace: list[str]) -> list[Middleware]:
    return [
        layer("everything", trace, [*EVERY_MESSAGE, *HOOKS.values()]),
        layer("nothing", trace, []),
        layer("access", trace, ["check_resource_access"]),
        layer("requests", trace, ["on_request"]),
        layer("calls", trace, ["on_call_tool", "on_message"]),
    ]


async def traced_session(middleware: Sequence[Middleware], trace: list[str], mode: str) -> None:
    async def answer() -> str:
        trace.append("answer")
        return "answered"

    server = FastMCP("test", tools=[answer], middleware=middleware)
    server.add_resource(Resource.from_function(answer, uri="test://answer"))
    server.add_prompt(Prompt.from_function(answer))
    async with Client(server, mode=mode) as client:
        await client.call_tool("answer")
        await client.read_resource("test://answer")
        await client.get_prompt("answer")
        for listed in (client.list_tools, client.list_resources, client.list_prompts):
            await listed()
        await client.list_resource_templates()
    await server._check_resource_access("test://answer")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_same_hooks_run_in_the_same_order(mode: str) -> None:
    listed: list[str] = []
    await traced_session(layers(listed), listed, mode)
    chained: list[str] = []
    await traced_session(chain(*layers(chained)), chained, mode)
    assert chained == listed
    assert {"answer", "access checks test://answer"} < set(listed)


async def test_an_invalid_request_does_not_reach_the_hook_of_its_method() -> None:
    trace: list[str] = []
    (chained,) = chain(*layers(trace))

    async def end(context: MiddlewareContext[dict[str, int]]) -> None:
        trace.append(f"refused {context.method}")

    await chained(MiddlewareContext(message={"name": 1}, method="tools/call"), end)
    assert trace == [
        "everything.on_message tools/call",
        "everything.on_request tools/call",
        "requests.on_request tools/call",
        "calls.on_message tools/call",
        "refused tools/call",
    ]
