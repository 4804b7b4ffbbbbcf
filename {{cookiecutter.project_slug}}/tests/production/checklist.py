"""The production checklist: its items, and how test outcomes decide each of them.

A test that shows an item has the mark `@pytest.mark.checklist("key")`. It can report what it
observed with `record_property("observed", "exit 0 after 1.2 s")`. If it shows several items, the
key of an item replaces `"observed"`.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["holds", "fails", "not chosen", "not observable", "not run"]


@dataclass(frozen=True)
class Item:
    """A requirement for production, and how to fix it.

    `pattern` provides it, if it is optional; every other item always applies.
    """

    key: str
    name: str
    fix: str
    pattern: str = ""


ITEMS = (
    Item(
        "module-level-server",
        "Module-level server",
        "Create the server once, as `mcp` at the top level of its `server.py`, and let the root"
        " `server.py` import it from there: hosts load that file and look for the name.",
    ),
    Item(
        "environment-configuration",
        "Settings from the environment",
        "Make every setting a field of a class derived from `Settings` (`settings.py`), and check"
        " all of them in `load` of `__main__.py`: an invalid value is one line and exit code 2.",
    ),
    Item(
        "connection-pooling",
        "Connection pooling",
        "Open one client for all calls and inject it (`upstream_api` in `upstream.py`); `POOL_*`"
        " bounds its connections. A client created inside a tool opens a new connection each time.",
        pattern="connection_pooling",
    ),
    Item(
        "retry",
        "Retry of transient faults",
        "Inject `Retries`, and run the request through `retries.run`; `is_transient` decides what"
        " is retried, `RETRY_*` how often and how long.",
        pattern="retry",
    ),
    Item(
        "caching",
        "Caching",
        "Inject `Cache`, and use a key from `cache_key`; `CACHE_TTL_SECONDS` and"
        " `CACHE_MAX_ENTRIES` limit it.",
        pattern="caching",
    ),
    Item(
        "structured-errors",
        "Structured errors",
        "Raise a `ToolFailure` (`runtime/errors.py`) with one sentence for the model, and do not"
        " catch it in the tool: a failure that is returned as data is not an `isError` result.",
    ),
    Item(
        "health-check",
        "Health check",
        "Keep `add_probes(mcp)` in `server.py`: `GET /livez` depends on nothing, `GET /readyz` is"
        " 200 or 503 and runs the checks of `readiness.reporting`.",
        pattern="health_check",
    ),
    Item(
        "logging",
        "Logging",
        "Keep `configure_logging` in `load` of `__main__.py`: one handler, on stderr, at"
        " `LOG_LEVEL`. Write with `logging`, never with `print`.",
    ),
    Item(
        "telemetry",
        "Traces and metrics",
        "Keep `add_telemetry(mcp)` in `server.py`, install the extra `telemetry`, and set"
        " `OTEL_EXPORTER_OTLP_ENDPOINT` to the URL of your collector.",
        pattern="telemetry",
    ),
    Item(
        "no-circular-imports",
        "No circular imports",
        "Import downwards only: `server.py` imports tools, tools import patterns, patterns import"
        " `settings.py` and `runtime/`. The test names the module that cannot be imported first.",
    ),
    Item(
        "no-work-at-import",
        "No work at import",
        "Move the work that the test names out of the top level of its module: into the lifespan,"
        " or into a resource that opens on first use.",
    ),
    Item(
        "rate-limiting",
        "Rate limiting",
        "Keep `RateLimiting()` in the middleware of `server.py`; `RATE_LIMIT_PER_MINUTE` and"
        " `RATE_LIMIT_BURST` are the limits of each caller.",
        pattern="rate_limiting",
    ),
    Item(
        "graceful-shutdown",
        "Graceful shutdown",
        "Serve through `runtime/http.py`, whose `Drain` completes in-flight calls;"
        " `SHUTDOWN_GRACE_SECONDS` is their time. Plain `mcp.run` and `fastmcp run` cut them off.",
    ),
    Item(
        "both-protocol-eras",
        "Both protocol eras",
        "Serve `http_app` of a current FastMCP (`Server` in `runtime/server.py`), and let every"
        " proxy pass `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name`.",
    ),
    Item(
        "several-workers",
        "Any worker answers any client",
        "Pass `stateless_http=True` (`Server` in `runtime/server.py`), and keep state in"
        " a store that the workers share: `STATE_URL`, a database.",
    ),
    Item(
        "shared-state",
        "State shared by all workers",
        "Set `STATE_URL` to a file or an engine if production has several workers or replicas:"
        " each process has its own `memory://`.",
        pattern="state_management",
    ),
    Item(
        "restart",
        "Calls after a restart",
        "Do not keep anything that a call needs only in the process: use stateless HTTP"
        " (`runtime/server.py`), and stores in files or databases.",
    ),
    Item(
        "cancelled-calls",
        "Cancelled calls end",
        "Do not catch cancellation: write `except Exception`, close resources in `finally`, and"
        " keep `json_response=False` (`runtime/server.py`), or no disconnect is noticed.",
    ),
    Item(
        "clean-exit-on-stdio",
        "Clean exit on stdio",
        "Serve through `runtime/stdio.py`: the end of stdin, SIGTERM and one SIGINT end the process"
        " even if a thread hangs.",
    ),
    Item(
        "pure-stdout",
        "Only protocol on stdout",
        "Keep `reserve_stdio` before the server is loaded (`runtime/command.py`), and write to the"
        " log, which is on stderr.",
    ),
    Item(
        "empty-environment",
        "Start with an empty environment",
        "Give every setting a default and read it when it is first needed; a call that needs"
        " it raises a `ToolFailure` that names the variable.",
    ),
    Item(
        "tool-deadlines",
        "A deadline for every tool",
        "Keep `Deadlines()` innermost in the middleware of `server.py`; `TOOL_DEADLINE_SECONDS` is"
        " below 60, after which clients give up.",
    ),
    Item(
        "readable-arguments",
        "Readable argument errors",
        "Keep `ReadableArguments()` in the middleware of `server.py`: bad arguments are answered"
        " with the fields and the reasons, in under 2 KiB.",
    ),
    Item(
        "masked-errors",
        "Masked errors",
        "Keep `Failures()` and `mask_error_details=True` in `server.py`; raise a `ToolFailure`"
        " for what a client may read.",
    ),
    Item(
        "described-tools",
        "Tools described",
        "Give every tool a title, a description, the four hints as annotations, and each of its"
        " parameters a description.",
    ),
    Item(
        "host-and-origin",
        "Host and Origin checks",
        "Use `HostAndOrigin` (`Server` in `runtime/server.py`), or FastMCP's"
        " `host_origin_protection=True`; `PUBLIC_URL` or `ALLOWED_HOSTS` names the server's public"
        " host, `ALLOWED_ORIGINS` the web pages that may call it.",
    ),
    Item(
        "body-limit",
        "Limit of request bodies",
        "Keep the limit of the MCP SDK (4 MiB), and set one in the proxy too: a larger body is"
        " answered with 413 before it is read.",
    ),
    Item(
        "malformed-messages",
        "Malformed messages",
        "Answer a malformed message with a protocol error: status 400 or an `error`,"
        " without a traceback or internals of the validation library.",
    ),
    Item(
        "loopback-bind",
        "Listens on this machine only",
        "Leave `HTTP_HOST` at 127.0.0.1; a public address without authentication needs"
        " `ALLOW_UNAUTHENTICATED=true` (`check_address` in `runtime/http.py`).",
    ),
    Item(
        "authentication",
        "Authentication",
        "Set `AUTH_ISSUER`, `AUTH_AUDIENCE` and `AUTH_JWKS_URL`, and keep `authenticate(mcp)` in"
        " `server.py`. Otherwise, anyone who reaches the server can call its tools.",
        pattern="authentication",
    ),
    Item(
        "responsive-under-load",
        "Responsive while tools work",
        "Do not block the event loop: await I/O, and write a tool that computes as a plain"
        " `def`, which FastMCP runs in a thread.",
    ),
)
KEYS = frozenset(item.key for item in ITEMS)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a test for items, and the properties that it recorded.

    `says` is its message if it did not pass.
    """

    test: str
    keys: Collection[str]
    result: Literal["passed", "failed", "skipped", "not run"]
    properties: Sequence[tuple[str, object]] = ()
    says: str = ""

    def observed(self, key: str) -> list[str]:
        names = {key, "observed"} if len(self.keys) == 1 else {key}
        return [str(value) for name, value in self.properties if name in names]


@dataclass(frozen=True)
class Line:
    item: Item
    verdict: Verdict
    observed: str


def judge(
    outcomes: Iterable[Outcome],
    patterns: Collection[str],
    *,
    complete: bool = True,
    from_outside: bool = False,
) -> list[Line]:
    """Return a verdict for each item.

    `patterns` are those of the project. A run is `complete` if no test was left out; `from_outside`
    it checks another server by its URL. An item that no test shows does not hold.
    """
    known = list(outcomes)
    lines = []
    for item in ITEMS:
        tests = [outcome for outcome in known if item.key in outcome.keys]
        if tests:
            verdict, observed = judge_tests(item.key, tests, from_outside=from_outside)
        elif from_outside:
            verdict, observed = "not observable", ""
        elif item.pattern and item.pattern not in patterns:
            verdict, observed = "not chosen", ""
        elif complete:
            verdict, observed = "fails", "no test shows it"
        else:
            verdict, observed = "not run", ""
        lines.append(Line(item, verdict, observed))
    return lines


def judge_tests(key: str, tests: Sequence[Outcome], *, from_outside: bool) -> tuple[Verdict, str]:
    """Judge one item by the tests that show it: it holds if all of them ran and passed."""
    if failed := [test for test in tests if test.result == "failed"]:
        return "fails", "; ".join(dict.fromkeys(test.says for test in failed))
    passed = [test for test in tests if test.result == "passed"]
    if skipped := [test for test in tests if test.result == "skipped"]:
        return "not observable" if from_outside else "not run", skipped[0].says
    if len(passed) < len(tests):
        return "not run", f"{len(passed)} of {len(tests)} tests passed, the others did not run"
    observed = dict.fromkeys(text for test in passed for text in test.observed(key))
    return "holds", "; ".join(observed) or f"{counted(len(passed), 'test')} passed"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
