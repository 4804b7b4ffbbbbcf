"""A log that is not read does not block the server: lines are dropped and counted."""

import logging
import os
import sys
from collections.abc import Iterator
from typing import TextIO

import fastmcp
import pytest

from my_mcp_server.runtime.logs import (
    CHATTY,
    LIBRARIES,
    LOST,
    PACKAGE,
    UnblockedHandler,
    configure_logging,
)

asks_pipes = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows cannot tell whether a pipe is full"
)
ENOUGH = 1 << 20


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """Return the two ends of a pipe."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb"), os.fdopen(writing, "w", encoding="utf-8") as stream:
        yield reading, stream


@pytest.fixture
def _logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo `configure_logging`, which changes loggers for the whole process."""
    monkeypatch.setattr(fastmcp.settings, "log_enabled", fastmcp.settings.log_enabled)
    for name in ("", PACKAGE, *LIBRARIES, *CHATTY):
        logger = logging.getLogger(name)
        for attribute in ("handlers", "propagate", "level"):
            monkeypatch.setattr(logger, attribute, getattr(logger, attribute))


def log(handler: logging.Handler, text: str, times: int = 1) -> None:
    for _ in range(times):
        handler.handle(logging.makeLogRecord({"msg": text}))


def lines(reader: int) -> list[str]:
    """Return the lines in a pipe."""
    return os.read(reader, ENOUGH).decode().splitlines()


@asks_pipes
def test_a_line_is_written_immediately_and_completely(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    log(UnblockedHandler(stream), "tea for two ☕")
    assert lines(reader) == ["tea for two ☕"]


@asks_pipes
def test_a_full_pipe_does_not_block_and_the_number_of_lost_lines_is_logged(
    pipe: tuple[int, TextIO],
) -> None:
    reader, stream = pipe
    handler = UnblockedHandler(stream)
    log(handler, "x" * 999, times=1_100)
    kept = lines(reader)
    assert set(kept) == {"x" * 999}
    log(handler, "after")
    assert lines(reader) == [LOST % (1_100 - len(kept)), "after"]


@asks_pipes
def test_a_partly_written_line_is_ended_before_the_next_one(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    handler = UnblockedHandler(stream)
    log(handler, "x" * ENOUGH)
    log(handler, "lost")
    assert set(os.read(reader, ENOUGH)) == {ord("x")}
    log(handler, "after")
    assert lines(reader) == ["", LOST % 2, "after"]


@pytest.mark.usefixtures("_logging_as_it_was")
def test_debug_applies_to_this_package_and_not_to_library_logs_of_calls(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    configure_logging()
    for name in (*LIBRARIES, *CHATTY, "fastmcp.server.server", "sqlalchemy.engine", "any.other"):
        logging.getLogger(name).debug("canary")
    logging.getLogger(f"{PACKAGE}.tools").debug("own")
    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == ["own"]
