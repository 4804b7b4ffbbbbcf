"""Run all middleware of a server as one, so that a request only pays for the hooks that exist.

FastMCP calls three hooks of each middleware for each message, and nearly all of them only pass it
on. Here a message only runs through the hooks that a middleware defines.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from pydantic import BaseModel

HOOKS = {
    "initialize": "on_initialize",
    "server/discover": "on_discover",
    "tools/call": "on_call_tool",
    "tools/list": "on_list_tools",
    "resources/read": "on_read_resource",
    "resources/list": "on_list_resources",
    "resources/templates/list": "on_list_resource_templates",
    "prompts/get": "on_get_prompt",
    "prompts/list": "on_list_prompts",
}


class Chain(Middleware):
    """Runs `layers` in the order in which FastMCP would: the first is the outermost.

    Layers define hooks. One that overrides `__call__` must stay outside of the chain.
    """

    def __init__(self, layers: Sequence[Middleware]) -> None:
        self.layers = layers
        self._notification = self._defined("on_message", "on_notification")
        self._request = self._defined("on_message", "on_request")
        self._requests = {
            method: self._defined("on_message", "on_request", hook)
            for method, hook in HOOKS.items()
        }

    async def __call__(self, context: MiddlewareContext[Any], call_next: CallNext[Any, Any]) -> Any:
        hooks = self._request
        if context.type == "notification":
            hooks = self._notification
        # FastMCP passes a request that it cannot parse to the first two hooks only, unchanged.
        elif isinstance(context.message, BaseModel):
            hooks = self._requests.get(context.method or "", hooks)
        for hook in hooks:
            call_next = partial(hook, call_next=call_next)
        return await call_next(context)

    async def check_resource_access(self, context: MiddlewareContext[Any]) -> None:
        """Ask each layer, as FastMCP does where it does not read the resource."""
        for layer in self.layers:
            await layer.check_resource_access(context)

    def _defined(self, *names: str) -> list[Callable[..., Any]]:
        """Return the hooks with these names that the layers define, the innermost first."""
        return [
            getattr(layer, name)
            for layer in reversed(self.layers)
            for name in reversed(names)
            if _defines(layer, name)
            # FastMCP's own `on_read_resource` calls this one.
            or (name == "on_read_resource" and _defines(layer, "check_resource_access"))
        ]


def _defines(layer: Middleware, name: str) -> bool:
    return getattr(type(layer), name) is not getattr(Middleware, name)


def chain(*layers: Middleware) -> list[Middleware]:
    """Return `layers` as one middleware, for the server's list of them."""
    return [Chain(layers)]
