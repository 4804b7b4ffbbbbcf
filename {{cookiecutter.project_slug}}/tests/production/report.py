"""The pytest plugin that writes the checklist's verdicts at the end of a run."""

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import anyio
import pytest

import {{ cookiecutter.package_name }} as package

from . import wire
from .checklist import ITEMS, KEYS, Line, Outcome, counted, judge

# The fixture `observe`.
Observe = Callable[[object], None]

FOLDER = Path(__file__).parent
SOURCE = Path(package.__file__).parent
WIDTH = 100
MOST_SHOWN = 240
PLURAL = {"holds": "hold", "fails": "fail"}
COLOURS = {"holds": "green", "fails": "red"}


def chosen_patterns() -> set[str]:
    """Return the names of the server's modules, and of the sections of `utils.py`."""
    utils = SOURCE / "utils.py"
    folded = utils.read_text("utf-8") if utils.exists() else ""
    sections = re.findall(r"^# (\w+)$", folded, re.MULTILINE)
    return {path.stem for path in SOURCE.rglob("*.py")} | set(sections)


def keys_of(test: pytest.Item) -> list[str]:
    """Return the items that a test shows."""
    keys = [key for mark in test.iter_markers("checklist") for key in mark.args]
    if unknown := [key for key in keys if key not in KEYS]:
        raise pytest.UsageError(f"{test.nodeid}: the checklist has no item {unknown[0]!r}")
    return keys


def outcome_of(report: pytest.TestReport, keys: Collection[str]) -> Outcome | None:
    """Return the outcome of a phase of a test; setup and teardown only count if they fail."""
    if report.failed or (report.skipped and hasattr(report, "wasxfail")):
        return Outcome(report.nodeid, keys, "failed", says=said(report))
    if report.skipped:
        return Outcome(report.nodeid, keys, "skipped", says=said(report))
    if report.when == "call":
        return Outcome(report.nodeid, keys, "passed", report.user_properties)
    return None


def said(report: pytest.TestReport) -> str:
    """Return the message of a failed or skipped test in one line."""
    if expected := getattr(report, "wasxfail", None):
        return f"expected to fail: {expected}"
    match report.longrepr:
        case (_, _, str(reason)):
            text = reason.removeprefix("Skipped: ")
        case representation:
            crash = getattr(representation, "reprcrash", None)
            text = str(crash.message if crash else representation).strip()
    line = text.partition("\n")[0].removeprefix("AssertionError: ")
    return line if len(line) <= MOST_SHOWN else f"{line[:MOST_SHOWN]}..."


class Report:
    """The outcomes of a run's tests, of this project or of the server at `url`."""

    def __init__(
        self, config: pytest.Config, url: str, token: str, ignored: Collection[str]
    ) -> None:
        self.url = url
        self.token = token
        self._config = config
        self._ignored = {FOLDER / name for name in ignored}
        self._patterns = chosen_patterns()
        self._keys: dict[str, Collection[str]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._complete = False
        self._others_failed: set[str] = set()

    def pytest_sessionstart(self) -> None:
        """Look for the server before any test of it runs."""
        if self.url and not self._config.option.collectonly:
            try:
                anyio.run(wire.find, self.url, self.token)
            except wire.NotMcp as error:
                raise pytest.UsageError(str(error)) from error

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Deselect tests that a URL does not support, and those of patterns that are off.

        Tests that end a server run last.
        """
        own = [test for test in items if FOLDER in test.path.parents]
        ordered = iter(sorted(own, key=lambda test: bool(test.get_closest_marker("ends_server"))))
        items[:] = [next(ordered) if FOLDER in test.path.parents else test for test in items]
        silent = {test for test in own if not self._speaks(test, keys_of(test))}
        items[:] = [test for test in items if test not in silent]
        if silent:
            self._config.hook.pytest_deselected(items=list(silent))
        self._keys = {test.nodeid: keys_of(test) for test in own if test not in silent}
        files = {test.path for test in own} | self._ignored
        whole = not any("::" in argument for argument in self._config.args)
        self._complete = whole and files >= set(FOLDER.glob("test_*.py"))

    def _speaks(self, test: pytest.Item, keys: Collection[str]) -> bool:
        if self.url:
            return "deployed" in getattr(test, "fixturenames", ())
        shown = [item.pattern for item in ITEMS if item.key in keys]
        return not shown or any(not pattern or pattern in self._patterns for pattern in shown)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        if any(test.nodeid in self._keys for test in items):
            self._complete = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the first outcome of a test, unless a later phase fails."""
        keys = self._keys.get(report.nodeid)
        if not keys:
            self._others_failed |= {report.nodeid} if report.failed else set()
            return
        known = self._outcomes.get(report.nodeid)
        outcome = outcome_of(report, keys)
        if outcome and not (known and known.result == "failed"):
            self._outcomes[report.nodeid] = outcome

    def lines(self) -> list[Line]:
        """Return the verdicts. After a run of some tests, only those of their items."""
        not_run = (
            Outcome(test, keys, "not run")
            for test, keys in self._keys.items()
            if keys and test not in self._outcomes
        )
        lines = judge(
            [*self._outcomes.values(), *not_run],
            self._patterns,
            complete=self._complete,
            from_outside=bool(self.url),
        )
        if self.url:
            return sorted(lines, key=lambda line: line.verdict == "not observable")
        if self._complete:
            return lines
        shown = {key for outcome in self._outcomes.values() for key in outcome.keys}
        return [line for line in lines if line.item.key in shown]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        lines = self.lines()
        if self._config.option.collectonly or not self._outcomes:
            return
        where = f" of {wire.without_secrets(self.url)}" if self.url else ""
        terminalreporter.write_sep("=", f"production checklist{where}")
        for line in lines:
            colour = {COLOURS[line.verdict]: True} if line.verdict in COLOURS else {}
            terminalreporter.write(f"{line.item.name:<32}")
            terminalreporter.write(line.verdict, **colour)
            terminalreporter.write_line(f"{'':<{16 - len(line.verdict)}}{line.observed}".rstrip())
            if line.verdict == "fails":
                for text in self._remedy(line):
                    terminalreporter.write_line(text)
        terminalreporter.write_line("")
        for text in self._summary(lines):
            terminalreporter.write_line(text)

    def _remedy(self, line: Line) -> Iterator[str]:
        yield from textwrap.wrap(
            line.item.fix, WIDTH, initial_indent="    ", subsequent_indent="    "
        )
        for outcome in self._outcomes.values():
            if outcome.result == "failed" and line.item.key in outcome.keys:
                yield f"    {outcome.test}"

    def _summary(self, lines: list[Line]) -> Iterator[str]:
        numbers = Counter(line.verdict for line in lines)
        yield ", ".join(
            f"{number} {PLURAL.get(verdict, verdict) if number > 1 else verdict}"
            for verdict, number in numbers.items()
        )
        if left_out := len(ITEMS) - len(lines):
            yield f"Not every test was run: {counted(left_out, 'item')} left out."
        if self._others_failed:
            yield f"Not on the checklist: {counted(len(self._others_failed), 'failed test')}."
