"""A log that nobody reads stops nothing: lines are left out, and it is told how many."""

import logging
import os
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest

from {{ cookiecutter.package_name }}.runtime.logs import (
    LOST,
    UnblockedHandler,
)

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="a pipe cannot be asked there whether it is full"
)
ENOUGH = 1 << 20


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """Return the two ends of a pipe."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "w", encoding="utf-8") as stream:
        yield reading, stream


def log(handler: logging.Handler, text: str, times: int = 1) -> None:
    for _ in range(times):
        handler.handle(logging.makeLogRecord({"msg": text}))


def lines(reader: int) -> list[str]:
    """Return what stands in a pipe."""
    return os.read(reader, ENOUGH).decode().splitlines()


def test_a_line_is_written_at_once_and_whole(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    log(UnblockedHandler(stream), "tea for two ☕")
    assert lines(reader) == ["tea for two ☕"]


def test_a_full_pipe_holds_up_nobody_and_the_number_of_lost_lines_is_told(
    pipe: tuple[int, TextIO],
) -> None:
    reader, stream = pipe
    handler = UnblockedHandler(stream)
    log(handler, "x" * 999, times=1_100)
    kept = lines(reader)
    assert set(kept) == {"x" * 999}
    log(handler, "after")
    assert lines(reader) == [LOST % (1_100 - len(kept)), "after"]


def test_what_comes_after_half_a_line_begins_a_new_one(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    handler = UnblockedHandler(stream)
    log(handler, "x" * ENOUGH)
    log(handler, "lost")
    assert set(os.read(reader, ENOUGH)) == {ord("x")}
    log(handler, "after")
    assert lines(reader) == ["", LOST % 2, "after"]
