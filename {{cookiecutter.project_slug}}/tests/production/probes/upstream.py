"""Call the API without retries and cache."""

from {{ cookiecutter.package_name }}.runtime.api_client import (
    ApiAnswer,
)
from {{ cookiecutter.package_name }}.upstream import (
    Api,
)


async def probe_api(path: str, api: Api) -> ApiAnswer:
    return await api.get(path)
