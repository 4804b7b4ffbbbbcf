"""The benchmarks run, and report a missed limit."""

import asyncio
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from benchmarks import serving
from benchmarks.contest import OURS, PLAIN
from benchmarks.serving import Memory, Plan, Results, Row

from .combinations import TEMPLATE

ONE_ROUND = "from benchmarks import {} as benchmark; benchmark.ROUNDS = 1; benchmark.main()"

ROW = Row("HTTP", "stateless", 13, 8, OURS, 1, 1.25, 800, 9, 20, 1000, 0)
MEMORY = Memory(OURS, 20_000, 100, 105, 0)
SMALLEST = Plan(sizes=(9,), clients=(), rounds=1, seconds=0.1, memory_calls=0, stdio=False)


def verdicts(*rows: Row, memory: Memory = MEMORY) -> list[str]:
    return [bar.cells[-1] for bar in Results(SMALLEST, [*rows], [memory]).bars]


@pytest.mark.matrix
@pytest.mark.parametrize("name", ["call", "generation", "startup", "telemetry"])
def test_a_benchmark_reports_its_ratio_and_its_limit(name: str) -> None:
    command = [sys.executable, "-c", ONE_ROUND.format(name)]
    printed = subprocess.run(command, cwd=TEMPLATE, check=True, capture_output=True, text=True).stdout
    assert re.search(r", ratio \d+\.\d\d \(at most [\d.]+\): (holds|MISSED)$", printed, re.MULTILINE)


@pytest.mark.matrix
def test_two_servers_answer_every_call_in_both_eras_and_the_page_shows_them() -> None:
    plan = replace(SMALLEST, contestants=(OURS, PLAIN))
    results = asyncio.run(serving.run(plan))
    assert [(row.contestant, row.era) for row in results.rows] == [
        (OURS, "stateless"),
        (PLAIN, "stateless"),
        (OURS, "handshake"),
        (PLAIN, "handshake"),
    ]
    for row in results.rows:
        assert row.errors == 0
        assert row.calls >= row.clients
        assert 0 < row.p50_ms <= row.p99_ms
        assert row.per_second > 0
    text = serving.page(results)
    for bar in results.bars:
        assert " | ".join(bar.cells) in text


def test_a_value_at_the_limit_meets_it() -> None:
    assert verdicts(ROW) == ["met", "met", "met"]
    assert serving.report(Results(SMALLEST, [ROW], [MEMORY])) == 0


@pytest.mark.parametrize(
    ("row", "memory", "missed"),
    [
        (replace(ROW, ratio=1.26), MEMORY, 0),
        (replace(ROW, tools=200, ratio=1.26), MEMORY, 0),
        (replace(ROW, era="handshake", ratio=1.16), MEMORY, 0),
        (ROW, replace(MEMORY, late=105.1), 1),
        (replace(ROW, errors=1), MEMORY, 2),
        (ROW, replace(MEMORY, errors=1), 2),
    ],
)
def test_a_missed_limit_is_reported_with_exit_code_1(
    row: Row, memory: Memory, missed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [index for index, verdict in enumerate(verdicts(row, memory=memory)) if verdict == "MISSED"] == [
        missed
    ]
    assert serving.report(Results(SMALLEST, [row], [memory])) == 1
    assert capsys.readouterr().out.count("MISSED") == 1
    assert "1 of 3 targets are missed" in serving.page(Results(SMALLEST, [row], [memory]))
