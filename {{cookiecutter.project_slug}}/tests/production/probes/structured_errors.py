"""Fail with a code of the tool's choice."""

from {{ cookiecutter.package_name }}.patterns.structured_errors import (
    CodedError,
    ErrorCode,
)


async def probe_coded_error(code: ErrorCode) -> str:
    raise CodedError(code, f"The code is {code}.")
