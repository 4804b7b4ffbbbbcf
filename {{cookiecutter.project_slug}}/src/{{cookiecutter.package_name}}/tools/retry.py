"""Example of retries: get a path of the API, and retry transient failures."""

from functools import partial
from typing import Annotated

from fastmcp.tools import tool
from pydantic import Field

from ..patterns.retry import (
    Retries,
)
from ..results import ResultMaxBytes
from ..runtime.api_client import ApiAnswer
from ..upstream import Api


@tool(
    title="Send an API request with retries",
    description="Get a path of the API, with retries of transient failures.",
    annotations={
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": True,
    },
)
async def resilient_api_call(
    endpoint: Annotated[
        str, Field(description="Path below the API's base URL, such as users/1.", max_length=500)
    ],
    api: Api,
    retries: Retries,
    max_bytes: ResultMaxBytes,
) -> ApiAnswer:
    answer = await retries.run(partial(api.get, endpoint))
    return answer.within(max_bytes)
