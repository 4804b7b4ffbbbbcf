"""What a request asks for: a component of the server, or a list of them."""

from contextvars import ContextVar
from typing import Any

from fastmcp.server.middleware import MiddlewareContext

LISTS = frozenset({"tools/list", "resources/list", "resources/templates/list", "prompts/list"})
COMPONENTS = frozenset({"tools/call", "resources/read", "prompts/get", "completion/complete"})
# These are limited, timed and logged; the rest of the protocol is cheap.
METHODS = LISTS | COMPONENTS

MAX_NAME_LENGTH = 100

current_request: ContextVar[MiddlewareContext[Any] | None] = ContextVar(
    "current_request", default=None
)


async def name_of(context: MiddlewareContext[Any]) -> str:
    """Return the name of a tool or prompt, the URI of a resource, else the method.

    For a URI made from a template, this is the template, without the caller's values.
    """
    name = getattr(context.message, "name", None)
    if isinstance(name, str):
        return name[:MAX_NAME_LENGTH]
    uri = getattr(context.message, "uri", None)
    if uri is None or context.fastmcp_context is None:
        return str(context.method)
    server = context.fastmcp_context.fastmcp
    if await server.get_resource(str(uri)):
        return str(uri)[:MAX_NAME_LENGTH]
    template = await server.get_resource_template(str(uri))
    return template.uri_template[:MAX_NAME_LENGTH] if template else "unknown resource"


async def may_run_twice(context: MiddlewareContext[Any]) -> bool:
    """Return whether a request that was cut short can be repeated without doing its work twice.

    A tool can if it is annotated as read-only or idempotent. All other requests only read.
    """
    if context.method != "tools/call":
        return True
    if context.fastmcp_context is None:
        return False
    tool = await context.fastmcp_context.fastmcp.get_tool(context.message.name)
    hints = tool.annotations if tool else None
    return hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)


async def current_may_run_twice() -> bool:
    """The same for the request that is being served; False outside of one."""
    context = current_request.get()
    return context is not None and await may_run_twice(context)
