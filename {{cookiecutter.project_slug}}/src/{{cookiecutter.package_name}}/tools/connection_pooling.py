"""Example of connection pooling: get a path of the API."""

from typing import Annotated

from fastmcp.tools import tool
from pydantic import Field

from ..results import ResultMaxBytes
from ..runtime.api_client import ApiAnswer
from ..upstream import Api


@tool(
    title="Send an API request",
    description="Get a path of the API, without retries.",
    annotations={
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": True,
    },
)
async def api_request(
    endpoint: Annotated[
        str, Field(description="Path below the API's base URL, such as users/1.", max_length=500)
    ],
    api: Api,
    max_bytes: ResultMaxBytes,
) -> ApiAnswer:
    return (await api.get(endpoint)).within(max_bytes)
