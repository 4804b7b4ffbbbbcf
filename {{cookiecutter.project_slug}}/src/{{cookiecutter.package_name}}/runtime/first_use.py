"""Open with the first call what takes time to open, once for all concurrent calls.

FastMCP's `Shared` opens one resource at a time, under one lock for all of them. While a database
does not respond, each call would wait for the attempts of all calls before it, and the tools that
need another resource would wait too. Here concurrent calls share one attempt, and its failure.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Annotated, Any, Generic, TypeVar

from fastmcp.dependencies import Depends, Shared

Resource = TypeVar("Resource")


def on_first_use(factory: Callable[[], AbstractAsyncContextManager[Resource]]) -> Any:
    """Return the dependency for a resource of the whole server, as `Annotated[T, on_first_use(f)]`.

    The first call opens it, and shutdown closes it. If it cannot be opened, the calls that wait for
    it fail, and the next call tries again.
    """

    @asynccontextmanager
    async def opening() -> AsyncIterator[Opening[Resource]]:
        async with AsyncExitStack() as stack:
            found = Opening(factory, stack)
            stack.push_async_callback(found.cancel)
            yield found

    async def resource(shared: Annotated[Opening[Resource], Shared(opening)]) -> Resource:
        return await shared.resource()

    return Depends(resource)


class Opening(Generic[Resource]):
    """A resource that is not open yet, or is being opened, or is open until `stack` is closed."""

    def __init__(
        self, factory: Callable[[], AbstractAsyncContextManager[Resource]], stack: AsyncExitStack
    ) -> None:
        self._factory = factory
        self._stack = stack
        self._attempt: asyncio.Task[Resource] | None = None

    async def resource(self) -> Resource:
        """Return the resource. A cancelled call leaves the attempt to the others."""
        if self._attempt is None:
            self._attempt = asyncio.create_task(self._stack.enter_async_context(self._factory()))
            self._attempt.add_done_callback(self._forget_failure)
        return await asyncio.shield(self._attempt)

    async def cancel(self) -> None:
        """Stop an attempt that has not ended."""
        if self._attempt is not None and not self._attempt.done():
            self._attempt.cancel()
            await asyncio.wait([self._attempt])

    def _forget_failure(self, attempt: asyncio.Task[Resource]) -> None:
        if attempt.cancelled() or attempt.exception() is not None:
            self._attempt = None
