"""Readiness checks open resources concurrently, with a timeout, and caches the report."""

import asyncio
from contextlib import suppress

import anyio
import pytest

from my_mcp_server.runtime.errors import (
    ToolFailure,
)
from my_mcp_server.runtime.readiness import (
    Readiness,
)


async def passing() -> None:
    """A check that passes."""


async def test_a_serving_process_without_failing_checks_is_ready() -> None:
    readiness = Readiness()
    assert (await readiness.report()).status == "starting"
    with readiness.serving(), readiness.reporting("database", passing):
        report = await readiness.report()
    assert (report.status, report.checks) == ("ready", {"database": "ok"})


async def test_a_failing_check_is_reported_by_its_type_or_its_readable_message() -> None:
    async def crash() -> None:
        raise OSError("/secret/path")

    async def refuse() -> None:
        raise ToolFailure("API_BASE_URL is not set.")

    readiness = Readiness()
    readiness.register("disk", crash)
    readiness.register("api", refuse)
    with readiness.serving():
        report = await readiness.report()
    assert report.status == "unready"
    assert report.checks == {"api": "API_BASE_URL is not set.", "disk": "OSError"}


async def test_checks_run_concurrently() -> None:
    meeting = {"first": anyio.Event(), "second": anyio.Event()}

    async def first() -> None:
        meeting["first"].set()
        await meeting["second"].wait()

    async def second() -> None:
        meeting["second"].set()
        await meeting["first"].wait()

    readiness = Readiness()
    readiness.register("first", first)
    readiness.register("second", second)
    with readiness.serving():
        assert (await readiness.report()).status == "ready"


async def test_a_check_that_hangs_fails_after_its_timeout() -> None:
    readiness = Readiness(timeout=0.01)
    readiness.register("slow", anyio.sleep_forever)
    with readiness.serving():
        assert (await readiness.report()).checks == {"slow": "No response within 0.01 seconds."}


async def test_a_check_that_cannot_be_cancelled_delays_no_report() -> None:
    stopped = asyncio.Event()
    started = 0

    async def stubborn() -> None:
        nonlocal started
        started += 1
        while not stopped.is_set():
            with suppress(asyncio.CancelledError):
                await stopped.wait()

    readiness = Readiness(timeout=0.01, cache_seconds=0)
    readiness.register("slow", stubborn)
    with readiness.serving():
        for _ in range(3):
            assert (await readiness.report()).status == "unready"
        assert started == 1  # it does not accumulate
        stopped.set()
        await anyio.wait_all_tasks_blocked()
        assert (await readiness.report()).checks == {"slow": "ok"}


@pytest.mark.parametrize("optional", [True, False])
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("worked", [True, False])
async def test_only_a_required_engine_that_never_worked_makes_the_process_unready(
    optional: bool, strict: bool, worked: bool
) -> None:
    down = not worked

    async def check() -> None:
        if down:
            raise ConnectionRefusedError

    readiness = Readiness(cache_seconds=0)
    readiness.register("engine", check, optional=optional)
    with readiness.serving():
        if worked:
            assert (await readiness.report(strict=strict)).status == "ready"
        down = True
        report = await readiness.report(strict=strict)
        assert report.checks == {"engine": "ConnectionRefusedError"}
        unready = not optional and (strict or not worked)
        assert report.status == ("unready" if unready else "degraded")
        down = False
        assert (await readiness.report(strict=strict)).status == "ready"


async def test_a_resource_that_was_just_opened_has_worked() -> None:
    """A call opened it, and no probe came before its outage."""

    async def fail() -> None:
        raise ConnectionRefusedError

    readiness = Readiness(cache_seconds=0)
    readiness.register("engine", fail)
    with readiness.serving():
        assert (await readiness.report()).status == "unready"
        with readiness.reporting("engine", fail, has_passed=True):
            assert (await readiness.report()).status == "degraded"
            assert (await readiness.report(strict=True)).status == "unready"


async def test_the_report_is_cached_for_one_second() -> None:
    now = 0.0
    runs = 0

    async def count() -> None:
        nonlocal runs
        runs += 1

    readiness = Readiness(clock=lambda: now)
    readiness.register("counted", count)
    with readiness.serving():
        async with anyio.create_task_group() as probes:
            for _ in range(20):
                probes.start_soon(readiness.report)
        assert runs == 1
        now = 1.0
        await readiness.report()
        assert runs == 2


@pytest.mark.parametrize("open_check", [True, False])
async def test_draining_is_reported_immediately(open_check: bool) -> None:
    readiness = Readiness()
    with readiness.serving():
        if open_check:
            readiness.register("database", passing)
        await readiness.report()
        readiness.drain()
        assert (await readiness.report()).status == "draining"


async def test_the_check_of_an_open_resource_replaces_an_earlier_check() -> None:
    async def refuse() -> None:
        raise ToolFailure("API_BASE_URL is not set.")

    readiness = Readiness()
    readiness.register("api", refuse)
    with readiness.serving():
        with readiness.reporting("api", passing):
            assert (await readiness.report()).checks == {"api": "ok"}
        assert (await readiness.report()).checks == {"api": "API_BASE_URL is not set."}


async def test_a_closed_resource_is_not_checked() -> None:
    readiness = Readiness()
    with readiness.serving():
        with readiness.reporting("database", passing):
            pass
        assert (await readiness.report()).checks == {}
