"""The calls in the tests of every tool, inside a project and from outside."""

from typing import Any

# A call of each tool that the example API or a test server can answer.
CALLS: dict[str, dict[str, Any]] = {
    "process_data": {"text": "tea for two"},
    "database_operation": {"query": "a", "limit": 2},
    "api_request": {"endpoint": "users/1"},
    "resilient_api_call": {"endpoint": "users"},
    "cached_fetch": {"resource_id": "a/b"},
    "validated_operation": {"data": "[1, 2]"},
    "batch_process": {"items": ["tea for two", "two for tea"]},
    "increment_counter": {"name": "cups"},
}
