"""The failures that a caller may read.

With masking on, FastMCP hides the text of every exception but its own `ToolError`. What a tool
wants a model to know, and to act on, is therefore a `ToolFailure`: one sentence, and whether
trying again can help.
"""

import logging
from typing import Any

from fastmcp.exceptions import ToolError


class ToolFailure(ToolError):
    """A failure whose message reaches the client.

    `retryable` says whether the same call may succeed later. `details` are further facts, as JSON
    values.
    """

    def __init__(self, message: str, *, retryable: bool = False, **details: Any) -> None:
        super().__init__(message, log_level=logging.WARNING)
        self.retryable = retryable
        self.details = details
