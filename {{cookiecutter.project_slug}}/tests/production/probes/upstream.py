"""Ask the API as it is asked without retries and cache."""

from {{ cookiecutter.package_name }}.upstream import (
    Api,
    ApiAnswer,
)


async def probe_api(path: str, api: Api) -> ApiAnswer:
    return await api.get(path)
