"""Measure the calls per second of one, two and three replicas, and the cost of a call on each engine.

uv run python -m benchmarks.scaling           a few minutes on an idle machine
uv run python -m benchmarks.scaling --quick   half a minute

Prints the table of `docs/scaling.md`. All servers and engines run at once and take turns. Clients, replicas and
engines share one machine, so its cores limit the calls per second. The CPU time per call is more meaningful.
"""

import asyncio
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil

from tests.engines import Engine, PostgresEngine, RedisEngine
from tests.project import Project
from tests.running import UNLIMITED, Running
from tests.scaling.replicas import REPLICAS, replicas_of

from .generated import generated_server
from .raw_client import HttpClient

CLIENTS = 8
EMBEDDED = "memory and SQLite"


class Plan(NamedTuple):
    rounds: int
    calls: int  # per turn


FULL, QUICK = Plan(7, 300), Plan(3, 60)


@dataclass(frozen=True)
class Site:
    """Replicas that share an engine, or have none."""

    name: str
    servers: Sequence[Running]
    engine: Engine | None


@dataclass(frozen=True)
class Task:
    """A tool to call. `arguments` returns the arguments for a client number."""

    what: str
    tool: str
    arguments: Callable[[int], dict[str, object]]
    engines: Sequence[str]


TASKS = (
    Task(
        "process_data: the rate limit only",
        "process_data",
        lambda _: {"text": "tea for two"},
        (EMBEDDED, "Redis"),
    ),
    Task(
        "cached_fetch, a hit",
        "cached_fetch",
        lambda _: {"resource_id": "1"},
        (EMBEDDED, "Redis"),
    ),
    Task(
        "increment_counter, one for all clients",
        "increment_counter",
        lambda _: {"name": "shared"},
        (EMBEDDED, "Redis", "PostgreSQL"),
    ),
    Task(
        "increment_counter, one for each client",
        "increment_counter",
        lambda number: {"name": f"client-{number}"},
        (EMBEDDED, "Redis", "PostgreSQL"),
    ),
    Task(
        "database_operation, a page of 20",
        "database_operation",
        lambda _: {"limit": 20},
        (EMBEDDED, "PostgreSQL"),
    ),
)


@dataclass(frozen=True)
class Turn:
    seconds: float
    replicas_cpu: float
    engine_cpu: float
    calls: int


@contextmanager
def sites(source: Path) -> Iterator[list[Site]]:
    """Start three replicas without an engine, three on Redis and three on PostgreSQL."""
    project = Project(source.parent, "benchmarked")
    usual = {**UNLIMITED, "API_BASE_URL": "example", "CACHE_TTL_SECONDS": "3600"}
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory()))
        redis = stack.enter_context(RedisEngine())
        postgres = stack.enter_context(PostgresEngine())
        shared: dict[str, tuple[Engine | None, dict[str, str]]] = {
            EMBEDDED: (None, {"STATE_URL": f"sqlite:///{home / 'state.db'}"}),
            "Redis": (redis, dict.fromkeys(("CACHE_URL", "RATE_LIMIT_URL", "STATE_URL"), redis.url)),
            "PostgreSQL": (postgres, dict.fromkeys(("DATABASE_URL", "STATE_URL"), postgres.url)),
        }
        started = []
        for name, (engine, variables) in shared.items():
            folder = home / name.partition(" ")[0]
            folder.mkdir()
            replicas = stack.enter_context(replicas_of(project, folder, **{**usual, **variables}))
            started.append(Site(name, replicas.servers, engine))
        yield started


async def turn(site: Site, replicas: int, task: Task, calls: int) -> Turn:
    """Measure `calls` calls to the first `replicas` servers, by clients with one connection each."""
    servers = site.servers[:replicas]
    clients = [HttpClient(servers[number % replicas].port, "stateless") for number in range(CLIENTS)]
    numbers = itertools.count()

    async def one(client: HttpClient, number: int) -> None:
        while next(numbers) < calls:
            result = await client.call_tool(task.tool, task.arguments(number))
            assert not result.get("isError"), result

    for number, client in enumerate(clients):
        await client.connect()
        await client.call_tool(task.tool, task.arguments(number))
    before = [cpu_of(servers), engine_cpu(site)]
    start = time.perf_counter()
    await asyncio.gather(*(one(client, number) for number, client in enumerate(clients)))
    seconds = time.perf_counter() - start
    after = [cpu_of(servers), engine_cpu(site)]
    for client in clients:
        await client.disconnect()
    return Turn(seconds, after[0] - before[0], after[1] - before[1], calls)


def cpu_of(servers: Sequence[Running]) -> float:
    """Return the CPU seconds of server processes so far."""
    times = [psutil.Process(server.process.pid).cpu_times() for server in servers]
    return sum(each.user + each.system for each in times)


def engine_cpu(site: Site) -> float:
    """Return the CPU seconds of an engine so far."""
    return site.engine.cpu_seconds if site.engine else 0.0


async def measure(found: Sequence[Site], plan: Plan) -> dict[tuple[str, str, int], list[Turn]]:
    """Return the turns by task, engine and number of replicas, without the warm-up round."""
    turns: dict[tuple[str, str, int], list[Turn]] = {}
    settings = [
        (task, site, replicas)
        for task in TASKS
        for replicas in range(1, REPLICAS + 1)
        for site in found
        if site.name in task.engines
    ]
    for number in range(plan.rounds + 1):
        for task, site, replicas in settings:
            measured = await turn(site, replicas, task, plan.calls)
            if number:  # the first round fills pools and caches
                turns.setdefault((task.what, site.name, replicas), []).append(measured)
        print(f"round {number} of {plan.rounds}", file=sys.stderr, flush=True)
    return turns


# The processor milliseconds of each operation, the median of several rounds in which they take turns.
OPERATIONS = """
import asyncio, os, statistics, time
from benchmarked.patterns.caching import CacheKey, LoadingCache, MemoryCache, RedisCache
from benchmarked.patterns.rate_limiting import LocalLimit, SharedLimit
from benchmarked.redis_client import open_redis

async def load():
    return {"id": 1, "name": "Ada", "email": "ada@example.com"}

async def main():
    async with open_redis("REDIS_URL", os.environ["REDIS_URL"], seconds=0.5) as server:
        limits = LocalLimit(60_000_000, 1_000_000, 1000), SharedLimit(server, 60_000_000, 1_000_000)
        caches = LoadingCache(MemoryCache(3600, 1000)), LoadingCache(RedisCache(server, 3600, 1 << 20))
        key = CacheKey(None, ("resources", "1"))
        operations = [(limit.wait, "caller") for limit in limits] + [(cache.get_or_load, key, load) for cache in caches]
        taken = [[] for _ in operations]
        for _ in range(9):
            for (operation, *arguments), seconds in zip(operations, taken):
                await operation(*arguments)
                before = time.process_time()
                for _ in range(1000):
                    await operation(*arguments)
                seconds.append(time.process_time() - before)
        print(*(f"{statistics.median(seconds):.3f}" for seconds in taken))

asyncio.run(main())
"""


def operations(project: Project) -> str:
    """Return the table of what one operation costs in a process that does nothing else."""
    with RedisEngine() as redis:
        done = project.run("-c", OPERATIONS, REDIS_URL=redis.url)
    assert done.returncode == 0, done.stderr
    local_limit, shared_limit, local_hit, shared_hit = done.stdout.split()
    return "\n".join(
        [
            "| | In memory | Redis |",
            "|---|---|---|",
            f"| a check of the rate limit | {local_limit} ms | {shared_limit} ms |",
            f"| a hit of the cache | {local_hit} ms | {shared_hit} ms |",
        ]
    )


def table(turns: dict[tuple[str, str, int], list[Turn]]) -> str:
    lines = [
        "| Calls | Engine | Calls per second with 1, 2, 3 replicas | CPU per call of a replica | of the engine | against"
        " the default |",
        "|---|---|---|---|---|---|",
    ]
    for task in TASKS:
        for name in task.engines:
            cells = [turns[task.what, name, replicas] for replicas in range(1, REPLICAS + 1)]
            rates = [statistics.median(each.calls / each.seconds for each in cell) for cell in cells]
            pairs = zip(cells[0], turns[task.what, EMBEDDED, 1], strict=True)
            ratio = statistics.median(
                (a.replicas_cpu / a.calls) / (b.replicas_cpu / b.calls) for a, b in pairs
            )
            replica, engine = (
                statistics.median(getattr(each, part) / each.calls * 1000 for each in cells[0])
                for part in ("replicas_cpu", "engine_cpu")
            )
            shown = ", ".join(f"{rate:.0f}" for rate in rates)
            of_engine = "" if name == EMBEDDED else f"{engine:.2f} ms"
            of_default = "" if name == EMBEDDED else f"{ratio:.2f}"
            lines.append(
                f"| {task.what} | {name} | {shown} | {replica:.2f} ms | {of_engine} | {of_default} |"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    plan = QUICK if "--quick" in arguments else FULL
    with generated_server() as source, sites(source) as found:
        turns = asyncio.run(measure(found, plan))
        print(f"{os.cpu_count()} processors, {CLIENTS} clients, load {os.getloadavg()[0]:.1f}\n")
        print(table(turns), end="\n\n")
    with generated_server() as source:
        print(operations(Project(source.parent, "benchmarked")))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
