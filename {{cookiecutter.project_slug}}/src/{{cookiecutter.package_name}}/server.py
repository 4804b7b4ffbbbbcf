{% set uses_api = cookiecutter.connection_pooling or cookiecutter.retry or cookiecutter.caching %}
{% set uses_database = cookiecutter.lazy_initialization or cookiecutter.state_management %}
{% set uses_redis = cookiecutter.caching or cookiecutter.rate_limiting or cookiecutter.state_management %}
"""The server: its tools, and the middleware around each call. This file only composes."""

from . import __version__
{% if cookiecutter.structured_errors and uses_database %}
from .database import DatabaseUnavailable
{% endif %}
{% if cookiecutter.authentication %}
from .patterns.authentication import (
    authenticate,
)
{% endif %}
{% if cookiecutter.health_check %}
from .patterns.health_check import (
    add_probes,
)
{% endif %}
{% if cookiecutter.lazy_initialization %}
from .patterns.lazy_initialization import (
{% if cookiecutter.structured_errors %}
    InvalidCursor,
{% endif %}
    database_readiness,
)
{% endif %}
{% if cookiecutter.rate_limiting %}
from .patterns.rate_limiting import (
{% if cookiecutter.structured_errors %}
    RateLimitExceeded,
{% endif %}
    RateLimiting,
    shared_rate_limit,
)
{% endif %}
{% if cookiecutter.structured_errors and cookiecutter.retry %}
from .patterns.retry import (
    RetryDeadlineExceeded,
)
{% endif %}
{% if cookiecutter.state_management %}
from .patterns.state_management import (
    state_readiness,
)
{% endif %}
{% if cookiecutter.structured_errors %}
from .patterns.structured_errors import (
    ErrorCode,
    StructuredErrors,
)
{% endif %}
{% if cookiecutter.structured_logging %}
from .patterns.structured_logging import (
    CallLog,
    JsonLines,
)
{% endif %}
{% if cookiecutter.telemetry %}
from .patterns.telemetry import (
    add_telemetry,
)
{% endif %}
{% if cookiecutter.structured_errors and uses_redis %}
from .redis_client import RedisUnavailable
{% endif %}
from .runtime.answers import SendableAnswers
{% if uses_api and cookiecutter.structured_errors %}
from .runtime.api_failures import (
    RequestRefused,
    UpstreamBusy,
    UpstreamFailure,
    UpstreamNotConfigured,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamTimeout,
)
{% endif %}
from .runtime.arguments import {{ "InvalidArguments, " if cookiecutter.structured_errors else "" }}ReadableArguments
from .runtime.deadlines import {{ "DeadlineExceeded, " if cookiecutter.structured_errors else "" }}Deadlines
from .runtime.discovery import CurrentCapabilities
from .runtime.errors import Failures
from .runtime.lifespan import runtime
from .runtime.limits import ResultLimit
from .runtime.middleware import chain
from .runtime.server import Server
{% if cookiecutter.caching %}
from .tools.caching import cached_fetch
{% endif %}
{% if cookiecutter.connection_pooling %}
from .tools.connection_pooling import api_request
{% endif %}
{% if cookiecutter.environment_config %}
from .tools.environment_config import config_settings
{% endif %}
{% if cookiecutter.health_check %}
from .tools.health_check import health_status
{% endif %}
{% if cookiecutter.lazy_initialization %}
from .tools.lazy_initialization import database_operation
{% endif %}
{% if cookiecutter.parallel_processing %}
from .tools.parallel_processing import batch_process
{% endif %}
from .tools.process_data import process_data
{% if cookiecutter.retry %}
from .tools.retry import resilient_api_call
{% endif %}
{% if cookiecutter.state_management %}
from .tools.state_management import increment_counter
{% endif %}
{% if cookiecutter.structured_errors %}
from .tools.structured_errors import validated_operation
{% endif %}
{% if uses_api %}
from .upstream import api_configuration
{% endif %}
{% if cookiecutter.structured_errors %}

# The code of each type of failure. A subclass without an entry has the code of its parent.
CODES: dict[type[Exception], ErrorCode] = {
    InvalidArguments: ErrorCode.VALIDATION_ERROR,
    DeadlineExceeded: ErrorCode.TIMEOUT,
{% if uses_api %}
    RequestRefused: ErrorCode.VALIDATION_ERROR,
    UpstreamBusy: ErrorCode.RATE_LIMITED,
    UpstreamFailure: ErrorCode.API_ERROR,
    UpstreamNotConfigured: ErrorCode.API_ERROR,
    UpstreamNotFound: ErrorCode.NOT_FOUND,
    UpstreamRejected: ErrorCode.VALIDATION_ERROR,
    UpstreamTimeout: ErrorCode.TIMEOUT,
{% endif %}
{% if cookiecutter.retry %}
    RetryDeadlineExceeded: ErrorCode.TIMEOUT,
{% endif %}
{% if uses_database %}
    DatabaseUnavailable: ErrorCode.API_ERROR,
{% endif %}
{% if cookiecutter.lazy_initialization %}
    InvalidCursor: ErrorCode.VALIDATION_ERROR,
{% endif %}
{% if cookiecutter.rate_limiting %}
    RateLimitExceeded: ErrorCode.RATE_LIMITED,
{% endif %}
{% if uses_redis %}
    RedisUnavailable: ErrorCode.API_ERROR,
{% endif %}
}
{% endif %}

mcp = Server(
    name="{{ cookiecutter.project_slug }}",
    version=__version__,
    instructions="Every tool returns a typed result. Errors explain how to fix the call.",
    lifespan=runtime{{ " | api_configuration" if uses_api else "" }}{{ " | database_readiness" if cookiecutter.lazy_initialization else "" }}{{ " | state_readiness" if cookiecutter.state_management else "" }}{{ " | shared_rate_limit" if cookiecutter.rate_limiting else "" }},
    # The first is the outermost: it sees the call first and the answer last.
    middleware=chain(
{% if cookiecutter.structured_logging %}
        CallLog(),
{% endif %}
{% if cookiecutter.structured_errors %}
        StructuredErrors(CODES),
{% endif %}
{% if cookiecutter.rate_limiting %}
        RateLimiting(),
{% endif %}
        ReadableArguments(),
        Failures(),
        ResultLimit(),
        Deadlines(),
        SendableAnswers(),
        CurrentCapabilities(),
    ),
    tools=[
        process_data,
{% if cookiecutter.lazy_initialization %}
        database_operation,
{% endif %}
{% if cookiecutter.connection_pooling %}
        api_request,
{% endif %}
{% if cookiecutter.retry %}
        resilient_api_call,
{% endif %}
{% if cookiecutter.caching %}
        cached_fetch,
{% endif %}
{% if cookiecutter.structured_errors %}
        validated_operation,
{% endif %}
{% if cookiecutter.parallel_processing %}
        batch_process,
{% endif %}
{% if cookiecutter.state_management %}
        increment_counter,
{% endif %}
    ],
    mask_error_details=True,
    list_page_size=1000,  # otherwise, FastMCP ignores an invalid cursor
    on_duplicate="error",
)
{% if cookiecutter.structured_logging %}
mcp.log_format = JsonLines()
{% endif %}
{% if cookiecutter.authentication %}
authenticate(mcp)
{% endif %}
{% if cookiecutter.environment_config %}
mcp.add_resource(config_settings)
{% endif %}
{% if cookiecutter.health_check %}
mcp.add_resource(health_status)
add_probes(mcp)
{% endif %}
{% if cookiecutter.telemetry %}
add_telemetry(mcp)
{% endif %}
