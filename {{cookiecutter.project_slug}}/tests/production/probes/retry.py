"""Call the API, with retries of transient failures."""

from functools import partial

from {{ cookiecutter.package_name }}.patterns.retry import (
    Retries,
)
from {{ cookiecutter.package_name }}.runtime.api_client import (
    ApiAnswer,
)
from {{ cookiecutter.package_name }}.upstream import (
    Api,
)


async def probe_api_with_retries(path: str, api: Api, retries: Retries) -> ApiAnswer:
    return await retries.run(partial(api.get, path))
