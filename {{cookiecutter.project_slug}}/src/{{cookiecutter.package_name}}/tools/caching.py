"""Example of caching: fetch a resource of the API, or return the copy that is still fresh."""

from typing import Annotated, Any

from fastmcp.tools import ToolResult, tool
from pydantic import BaseModel, Field, JsonValue

from ..patterns.caching import (
    Cache,
    cache_key,
)
from ..results import ResultMaxBytes, cut, json_size
from ..upstream import Api


class Resource(BaseModel):
    id: str
    data: JsonValue
    hint: str = Field("", description="What was left out of data that is too long.")


@tool(
    title="Fetch a resource",
    description="Fetch a resource of the API by its identifier. Answers may be a little old.",
    output_schema=Resource.model_json_schema(),
    annotations={
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": True,
    },
)
async def cached_fetch(
    resource_id: Annotated[
        str, Field(description="Identifier of the resource.", min_length=1, max_length=200)
    ],
    api: Api,
    cache: Cache,
    max_bytes: ResultMaxBytes,
) -> ToolResult:
    async def load() -> Any:
        return (await api.get_resource("resources", resource_id)).data

    data, from_cache = await cache.get_or_load(cache_key("resources", resource_id), load)
    shortened, hint = cut(data, max_bytes - json_size(resource_id))
    resource = Resource(id=resource_id, data=shortened, hint=hint)
    # In the metadata, because programs may need it but models do not.
    return ToolResult(structured_content=resource, meta={"from_cache": from_cache})
