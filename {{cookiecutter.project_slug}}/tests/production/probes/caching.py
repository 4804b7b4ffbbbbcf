"""Call the API for values that are not in the cache."""

from typing import Any

from {{ cookiecutter.package_name }}.patterns.caching import (
    Cache,
    cache_key,
)
from {{ cookiecutter.package_name }}.upstream import (
    Api,
)


async def probe_api_with_cache(path: str, api: Api, cache: Cache) -> dict[str, Any]:
    async def load() -> Any:
        return (await api.get(path)).data

    data, from_cache = await cache.get_or_load(cache_key("probe", path), load)
    return {"data": data, "from_cache": from_cache}
