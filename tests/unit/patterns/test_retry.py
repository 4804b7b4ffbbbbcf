"""Details of retries: transient faults, pauses, and retries of API requests."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any

import httpx2 as httpx
import pytest
from fastmcp import Client, FastMCP
from fastmcp.tools import tool

from my_mcp_server.patterns.retry import (
    Retries,
    RetryDeadlineExceeded,
)
from my_mcp_server.runtime.api_client import (
    IdempotencyKey,
)
from my_mcp_server.runtime.deadlines import (
    Deadlines,
)
from my_mcp_server.runtime.errors import (
    ToolFailure,
)
from my_mcp_server.upstream import (
    Api,
)

from ...patterns.test_retry import Flaky, Sleep, make_retrier, status_error
from ...upstream import DROPPED, RESET, TRUNCATED, Answer, answer, local_upstream


async def request(endpoint: str, api: Api, retries: Retries) -> Any:
    """Get a path of the API with retries, like a tool."""
    return (await retries.run(partial(api.get, endpoint))).data


def transport_error(kind: type[httpx.TransportError], method: str = "GET") -> Exception:
    return kind("", request=httpx.Request(method, "http://api.example.com"))


def with_a_key(error: Any) -> Exception:
    """Return the error of a request with an idempotency key."""
    error.request.extensions["idempotency_key"] = "key"
    assert isinstance(error, httpx.HTTPError)
    return error


def in_doubt(sentence: str, cause: Exception) -> ToolFailure:
    """Return a failure like that of the API client after a write."""
    failure = ToolFailure(sentence, retryable=True)
    failure.put_in_doubt()
    failure.__cause__ = cause
    return failure


@pytest.mark.parametrize(
    "failure",
    [
        status_error(429),
        status_error(502),
        status_error(503),
        status_error(504),
        status_error(503, "PUT"),
        transport_error(httpx.ConnectError),
        transport_error(httpx.ConnectTimeout),
        transport_error(httpx.ReadTimeout),
        transport_error(httpx.ReadError),
        transport_error(httpx.WriteError),
        transport_error(httpx.RemoteProtocolError),
        transport_error(httpx.ConnectError, "POST"),
        transport_error(httpx.ConnectTimeout, "POST"),
        with_a_key(status_error(503, "POST")),
        with_a_key(status_error(429, "PATCH")),
        with_a_key(transport_error(httpx.ReadTimeout, "POST")),
        with_a_key(transport_error(httpx.RemoteProtocolError, "POST")),
    ],
    ids=repr,
)
async def test_a_transient_fault_is_retried(failure: Exception) -> None:
    call = Flaky(failure)
    assert await make_retrier().run(call) == "answer"
    assert call.attempts == 2


@pytest.mark.parametrize(
    "failure",
    [
        status_error(400),
        status_error(401),
        status_error(404),
        status_error(500),
        status_error(503, "POST"),
        status_error(503, "POST", retry_after="0"),
        status_error(429, "PATCH"),
        with_a_key(status_error(422, "POST")),
        with_a_key(status_error(500, "POST")),
        transport_error(httpx.ReadTimeout, "POST"),
        transport_error(httpx.ReadError, "POST"),
        transport_error(httpx.RemoteProtocolError, "POST"),
        transport_error(httpx.PoolTimeout),
        transport_error(httpx.UnsupportedProtocol),
        ValueError("not an HTTP error"),
        ToolFailure("The API redirects in a loop.", retryable=True),
    ],
    ids=repr,
)
async def test_permanent_faults_and_unsafe_requests_are_not_retried(failure: Exception) -> None:
    call = Flaky(failure)
    with pytest.raises(type(failure)) as raised:
        await make_retrier().run(call)
    assert raised.value is failure
    assert call.attempts == 1


async def test_a_readable_failure_is_classified_by_its_cause() -> None:
    transient, final = ToolFailure("The API answered 503."), ToolFailure("The API answered 400.")
    transient.__cause__, final.__cause__ = status_error(503), status_error(400)
    call = Flaky(transient, final)
    with pytest.raises(ToolFailure, match="400"):
        await make_retrier().run(call)
    assert call.attempts == 2


@pytest.mark.parametrize("attempts", [1, 2, 4])
async def test_after_the_last_attempt_the_last_failure_is_raised(attempts: int) -> None:
    failures = [status_error(503) for _ in range(10)]
    call = Flaky(*failures)
    with pytest.raises(httpx.HTTPStatusError) as raised:
        await make_retrier(retry_attempts=attempts).run(call)
    assert call.attempts == attempts
    assert raised.value is failures[attempts - 1]


async def test_pauses_are_random_up_to_a_bound_that_doubles() -> None:
    sleep = Sleep()
    retrier = make_retrier(
        sleep,
        retry_attempts=5,
        retry_first_pause_seconds=1,
        retry_longest_pause_seconds=3,
        retry_deadline_seconds=59,
    )
    for _ in range(100):
        await retrier.run(Flaky(*[status_error(503)] * 4))
    for nth, bound in enumerate([1, 2, 3, 3]):
        pauses = sleep.pauses[nth::4]
        assert min(pauses) >= 0
        assert min(pauses) < bound / 5
        assert bound * 4 / 5 < max(pauses) <= bound


async def test_retry_after_may_be_a_date() -> None:
    sleep = Sleep()
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=7), usegmt=True)
    await make_retrier(sleep).run(Flaky(status_error(503, retry_after=date)))
    assert 5 < sleep.pauses[0] <= 7


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "-7",
        "7.5",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Thu, 01 Jan 2099 00:00:00",
        "Thu, 01 Jan 2099 99999999999999999999:00:00 GMT",
        "Thu, 32 Jan 2099 00:00:00 GMT",
    ],
)
async def test_a_past_or_invalid_retry_after_is_ignored(value: str) -> None:
    sleep = Sleep()
    retrier = make_retrier(sleep, retry_first_pause_seconds=0.001)
    assert await retrier.run(Flaky(status_error(503, retry_after=value))) == "answer"
    assert 0 <= sleep.pauses[0] <= 0.001


@pytest.mark.parametrize("value", ["3600", "9" * 400, "Thu, 01 Jan 2099 00:00:00 GMT"])
async def test_a_retry_after_beyond_the_deadline_fails_immediately(value: str) -> None:
    sleep = Sleep()
    call = Flaky(status_error(429, retry_after=value))
    with pytest.raises(httpx.HTTPStatusError, match="429"):
        await make_retrier(sleep).run(call)
    assert call.attempts == 1
    assert sleep.pauses == []


@pytest.mark.parametrize(
    ("hints", "retryable"),
    [
        ({"readOnlyHint": True}, True),
        ({"readOnlyHint": False, "idempotentHint": True}, True),
        ({"readOnlyHint": False, "idempotentHint": False}, False),
        ({}, False),
    ],
)
async def test_after_the_deadline_only_idempotent_tools_are_retryable(
    hints: dict[str, bool], retryable: bool
) -> None:
    failures: list[RetryDeadlineExceeded] = []

    @tool(annotations=hints)
    async def work() -> None:
        try:
            await make_retrier(retry_deadline_seconds=0.02).run(asyncio.Event().wait)
        except RetryDeadlineExceeded as failure:
            failures.append(failure)

    async with Client(FastMCP("test", tools=[work], middleware=[Deadlines()])) as client:
        await client.call_tool("work")
    assert [failure.retryable for failure in failures] == [retryable]
    assert [failure.in_doubt for failure in failures] == [not retryable]


async def test_a_failure_reports_that_an_earlier_attempt_may_have_done_the_work() -> None:
    timed_out = in_doubt(
        "The API did not answer.", with_a_key(transport_error(httpx.ReadTimeout, "POST"))
    )
    refused = ToolFailure("The connection to the API failed.", retryable=True)
    refused.__cause__ = transport_error(httpx.ConnectError, "POST")
    with pytest.raises(ToolFailure, match="The connection to the API failed") as raised:
        await make_retrier(retry_attempts=2).run(Flaky(timed_out, refused))
    assert raised.value.in_doubt
    assert not raised.value.retryable


async def test_a_cancelled_call_is_not_retried() -> None:
    attempts = 0
    started = asyncio.Event()

    async def hang() -> None:
        nonlocal attempts
        attempts += 1
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(make_retrier().run(hang))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert attempts == 1


async def test_concurrent_calls_count_their_attempts_separately() -> None:
    retrier = make_retrier(retry_attempts=3)
    calls = [Flaky(status_error(503), status_error(503)) for _ in range(50)]
    assert await asyncio.gather(*map(retrier.run, calls)) == ["answer"] * 50
    assert {call.attempts for call in calls} == {3}


@pytest.fixture
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRY_FIRST_PAUSE_SECONDS", "0.001")


@pytest.mark.usefixtures("_short_pauses")
async def test_a_tool_succeeds_when_the_api_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    outages = [(answer(503), answer(503)), (DROPPED, RESET), (TRUNCATED, answer(429))]
    async with local_upstream() as upstream:
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        async with Client(FastMCP("test", tools=[request])) as client:
            for outage in outages:
                upstream.requests.clear()
                upstream.answers.extend(outage)
                result = await client.call_tool("request", {"endpoint": "users/1"})
                assert result.data == {"ok": True}
                assert upstream.paths == ["/users/1"] * 3


async def create_issue(api: Api, retries: Retries, key: IdempotencyKey) -> int:
    answer = await retries.run(partial(api.post, "issues", json={}, idempotency_key=key))
    return answer.status


async def create_issue_without_a_key(api: Api, retries: Retries) -> int:
    return (await retries.run(partial(api.post, "issues", json={}))).status


@pytest.mark.usefixtures("_short_pauses")
async def test_every_attempt_of_a_write_sends_the_key_of_its_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with local_upstream() as upstream:
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        async with Client(FastMCP("test", tools=[create_issue])) as client:
            for _ in range(2):
                upstream.answers.extend([answer(503), DROPPED])
                assert (await client.call_tool("create_issue")).data == 200
    keys = [headers["idempotency-key"] for _, headers in upstream.requests]
    assert [keys.count(key) for key in keys] == [3] * 6
    assert upstream.methods == ["POST"] * 6


@pytest.mark.usefixtures("_short_pauses")
@pytest.mark.parametrize(
    "fault", [answer(503, headers={"Retry-After": "0"}), DROPPED, RESET, TRUNCATED], ids=repr
)
async def test_a_write_without_a_key_is_sent_once(
    fault: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local_upstream(fault) as upstream:
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        async with Client(FastMCP("test", tools=[create_issue_without_a_key])) as client:
            result = await client.call_tool("create_issue_without_a_key", raise_on_error=False)
    assert result.content[0].text.endswith("check before you repeat it.")
    assert upstream.methods == ["POST"]


@pytest.mark.usefixtures("_short_pauses")
async def test_a_tool_retries_when_a_response_takes_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_TIMEOUT_SECONDS", "0.1")
    async with local_upstream(answer(pause_seconds=5)) as upstream:
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        async with Client(FastMCP("test", tools=[request])) as client:
            result = await client.call_tool("request", {"endpoint": "users/1"})
    assert result.data == {"ok": True}
    assert len(upstream.requests) >= 2


@pytest.mark.usefixtures("_short_pauses")
async def test_a_tool_explains_the_failure_if_the_api_does_not_recover(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with local_upstream() as upstream:
        monkeypatch.setenv("API_BASE_URL", upstream.url)
        server = FastMCP("test", tools=[request], mask_error_details=True)
        async with Client(server) as client:
            for status, requests in ((503, 4), (404, 1)):
                upstream.requests.clear()
                upstream.default = answer(status)
                result = await client.call_tool(
                    "request", {"endpoint": "users/1"}, raise_on_error=False
                )
                assert result.is_error
                assert "The API" in result.content[0].text
                assert len(upstream.requests) == requests
