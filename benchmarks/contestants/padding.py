"""No-op tools, the same on every server, for servers of any size."""

import os
from collections.abc import Awaitable, Callable

NoOp = Callable[[str], Awaitable[str]]


def no_ops() -> list[NoOp]:
    """Return the number of tools that the environment variable `PADDING` sets."""
    return [_no_op(number) for number in range(int(os.environ.get("PADDING", "0")))]


def _no_op(number: int) -> NoOp:
    async def tool(text: str) -> str:
        """Return the text."""
        return text

    tool.__name__ = tool.__qualname__ = f"no_op_{number}"
    return tool
