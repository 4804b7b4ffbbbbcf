"""Typical faults, each a change in one place of the template: `mutations.py` checks that the proof finds them."""

from collections.abc import Sequence
from dataclasses import dataclass

from matrix.template import Combination

from .combinations import ALL, DECLARATION, NONE, PATTERNS


@dataclass(frozen=True)
class Fault:
    """The fault in words, the text to replace (once in its file), its replacement, and where it should be found.

    Without combinations: in the project with only the file's pattern, or without patterns. `tests` names the
    template's own tests, for faults that the proof of the combinations does not cover.
    """

    what: str
    old: str
    new: str
    combinations: Sequence[Combination] = ()
    processes: bool = False
    tests: str = ""

    def proven_in(self, where: str) -> list[Combination]:
        stem = where.rpartition("/")[2].partition(".")[0]
        chosen = [*self.combinations] or [frozenset({stem}) if stem in PATTERNS else NONE]
        # Every combination is proven with and without the additive prompts.
        return [DECLARATION.core(combination) for combination in chosen]


def only(*patterns: str) -> Combination:
    return frozenset(patterns)


ON_REDIS = "tests/test_on_redis.py -k share"

# Keyed by a path in the generated package, the project or the template.
FAULTS: dict[str, list[Fault]] = {
    "patterns/lazy_initialization.py": [
        Fault(
            "a probe reads the settings of the database",
            "partial(check_postgres, url, DatabaseSettings())",
            "lambda: check_postgres(url, DatabaseSettings())",
        ),
        Fault(
            "a page has one row more than requested",
            "for row in rows[:limit]]",
            "for row in rows[: limit + 1]]",
        ),
        Fault(
            "`_` in a query matches any character",
            '.replace("%", "!%").replace("_", "!_")',
            '.replace("%", "!%")',
        ),
        Fault(
            "example rows are written to a user's own table",
            "INSERT INTO example_users (id",
            "INSERT INTO users (id",
        ),
        Fault(
            "a cursor may contain a number that is too large for the database",
            " and int(number) <= LARGEST_ID",
            "",
        ),
    ],
    "tools/lazy_initialization.py": [
        Fault(
            "the tool ignores the cursor and returns the first page",
            "users.search(query, limit, cursor)",
            "users.search(query, limit)",
        ),
        Fault(
            "users that do not fit on a shortened page are lost",
            "if len(page.items) < len(found):",
            "if not page.items:",
        ),
    ],
    "patterns/connection_pooling.py": [
        Fault(
            "the number of connections is not bounded",
            "max_connections=settings.pool_max_connections",
            "max_connections=None",
        ),
        Fault(
            "a call waits indefinitely for a connection",
            '{"pool": settings.pool_wait_seconds}',
            '{"pool": None}',
        ),
    ],
    "tools/connection_pooling.py": [
        Fault("a GET is annotated as not read-only", '"readOnlyHint": True', '"readOnlyHint": False'),
    ],
    "patterns/retry.py": [
        Fault("500, which is not transient, is retried", "{429, 502, 503, 504}", "{429, 500, 502, 503, 504}"),
        Fault(
            "one attempt fewer than configured",
            "stop_after_attempt(self._settings.retry_attempts)",
            "stop_after_attempt(self._settings.retry_attempts - 1)",
        ),
        Fault(
            "the next attempt comes before `Retry-After` allows it",
            "return max(self._jitter(state)",
            "return min(self._jitter(state)",
        ),
        Fault(
            "a retry is allowed when the budget is exhausted",
            "        if self._left < 1:\n            return False",
            "        if self._left < 1:\n            return True",
        ),
        Fault(
            "a POST is sent twice",
            "return passing and repeatable",
            "return passing",
        ),
        Fault(
            "a POST with an idempotency key is not retried",
            ' or "idempotency_key" in request.extensions',
            "",
        ),
        Fault(
            "the last failure hides that an earlier attempt may have done the work",
            "in_doubt = failure.in_doubt",
            "in_doubt = False",
        ),
        Fault(
            "a write is retryable after the deadline of its attempts",
            "if in_doubt or not await current_may_run_twice():",
            "if in_doubt:",
        ),
        Fault(
            "the deadline does not stop an attempt in progress",
            "with anyio.move_on_after(deadline):",
            "with anyio.move_on_after(None):",
        ),
    ],
    "tools/retry.py": [
        Fault(
            "the tool does not retry",
            "answer = await retries.run(partial(api.get, endpoint))",
            "answer = await partial(api.get, endpoint)()",
        ),
    ],
    "patterns/caching.py": [
        Fault(
            "an empty answer counts as a miss",
            "        if value is not MISSING:",
            "        if value and value is not MISSING:",
        ),
        Fault(
            "a caller can modify the value that the next one gets",
            "return Found(value if value is MISSING else deepcopy(value), None)",
            "return Found(value, None)",
        ),
        Fault(
            "one caller gets a value fetched for another",
            "return CacheKey(token_identity(), parts)",
            "return CacheKey(None, parts)",
        ),
        Fault(
            "a load that was invalidated in progress is cached",
            "if self._loading.get(key) is loading:",
            "if loading is not None:",
        ),
        Fault(
            "a call after an invalidation joins a load from before it",
            "key=lambda key, loading, stamp, _: (key, loading, stamp)",
            "key=lambda key, *_: key",
        ),
        Fault(
            "an invalidation only removes the caller's own values",
            "return self.parts[: len(key.parts)] == key.parts",
            "return self.parts[: len(key.parts)] == key.parts and self.caller == key.caller",
        ),
        Fault(
            "an invalidation keeps the keys below its own",
            "return self.parts[: len(key.parts)] == key.parts",
            "return self.parts == key.parts",
        ),
        Fault("loads continue after the server has closed", "await opened.close()", "pass"),
        Fault(
            "replicas join a load from before another's invalidation",
            "key=lambda key, loading, stamp, _: (key, loading, stamp)",
            "key=lambda key, loading, *_: (key, loading)",
            tests=ON_REDIS,
        ),
        Fault(
            "a replica keeps what another has invalidated",
            "if redis.call('GET', KEYS[i]) ~= ARGV[i + 2] then return 0 end",
            "if redis.call('GET', KEYS[i]) == '' then return 0 end",
            tests=ON_REDIS,
        ),
        Fault(
            "an invalidation is lost while Redis is down",
            "        if self._pending:\n            await self._invalidate_pending()\n",
            "",
            tests=ON_REDIS,
        ),
        Fault(
            "a failure of Redis is a failure of the call",
            "        except RedisUnavailable:\n            return Found(MISSING, None)\n",
            "        except RedisUnavailable:\n            raise\n",
            tests=ON_REDIS,
        ),
        Fault(
            "values on Redis do not expire",
            "redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[1])",
            "redis.call('SET', KEYS[1], ARGV[3])",
            tests=ON_REDIS,
        ),
        Fault(
            "a value of any size is sent to Redis",
            "if len(text) > self._max_value_bytes:",
            "if not text:",
            tests=ON_REDIS,
        ),
        Fault(
            "sessions are kept by a replica of several",
            "        refuse_sessions(url, http_sessions=self.http_sessions)\n",
            "",
        ),
        Fault(
            "the password of the cache is shown",
            "cache_url: MemoryOrRedis = SecretStr(MEMORY)",
            "cache_url: MemoryOrRedis | Any = SecretStr(MEMORY)",
        ),
    ],
    "tools/caching.py": [
        Fault(
            "every resource has the same key",
            'cache_key("resources", resource_id), load',
            'cache_key("resources"), load',
        ),
    ],
    "patterns/structured_errors.py": [
        Fault("a failure is not marked as an error", "            is_error=True,\n", ""),
        Fault(
            "a subclass has its most general ancestor's code",
            "for kind in type(error).__mro__ if",
            "for kind in reversed(type(error).__mro__) if",
        ),
        Fault(
            "a failed resource has no code",
            "info.message, data) from error",
            "info.message) from error",
        ),
    ],
    "tools/structured_errors.py": [
        Fault(
            "an array is rejected",
            "if not isinstance(value, dict | list):",
            "if not isinstance(value, dict):",
        ),
    ],
    "patterns/environment_config.py": [
        Fault(
            "settings are shown by field, not by variable",
            "values[field.upper()] = value",
            "values[field] = value",
        ),
    ],
    "tools/environment_config.py": [
        Fault(
            "the resource has the media type of plain text",
            'mime_type="application/json"',
            'mime_type="text/plain"',
        ),
    ],
    "environment_config.toml": [
        Fault(
            "a profile needs more time to shut down than containers have",
            "shutdown_grace_seconds = 60",
            "shutdown_grace_seconds = 61",
            tests="tests/test_container.py -k 'grace_period and all'",
        ),
        Fault(
            "the production profile sets an invalid deadline",
            "tool_deadline_seconds = 30",
            "tool_deadline_seconds = 90",
        ),
    ],
    "settings.py": [
        Fault(
            "the `.env` file has precedence over the environment",
            "            Variables(settings_cls, os.environ),\n            Variables(settings_cls, _env_file()),\n",
            "            Variables(settings_cls, _env_file()),\n            Variables(settings_cls, os.environ),\n",
            [only("environment_config")],
        ),
        Fault(
            "an invalid secret is printed",
            "        hide_input_in_errors=True,\n",
            "",
            [NONE, only("environment_config")],
        ),
        Fault(
            "a blank variable is an error",
            "if value and value.strip()",
            "if value is not None",
            [NONE, only("environment_config")],
        ),
        Fault(
            "surrounding whitespace is part of a value",
            "        value = value.strip()\n",
            "",
            [NONE, only("environment_config")],
        ),
        Fault(
            "choices are case-sensitive",
            "if choice.lower() == value.lower()",
            "if choice == value",
            [NONE, only("environment_config")],
        ),
        Fault(
            "an invalid line of the `.env` file is ignored",
            "if line.error or (line.key and line.value is None):",
            "if False:",
            [only("environment_config")],
        ),
        Fault(
            "a byte order mark hides the first variable",
            'path.read_text(encoding="utf-8-sig")',
            'path.read_text(encoding="utf-8")',
            [only("environment_config")],
        ),
        Fault(
            "a misspelled key of a profile is ignored",
            'unknown = [name for name in values if name.lower() not in known - {"environment"}]',
            "unknown: list[str] = []",
            [only("environment_config")],
        ),
        Fault(
            "the exit code does not report an invalid setting",
            "EXIT_BAD_SETTINGS = 2",
            "EXIT_BAD_SETTINGS = 0",
            processes=True,
        ),
    ],
    "__init__.py": [
        Fault(
            "the version is in the code too",
            '__version__ = version("{{ cookiecutter.project_slug }}")',
            '__version__ = "0.1.0"',
            tests="tests/test_installing.py -k name_and_version",
        ),
        Fault(
            "FastMCP reads the `.env` file of the current folder",
            'os.environ.setdefault("FASTMCP_ENV_FILE", os.devnull)',
            'os.environ.setdefault("UNREAD", os.devnull)',
            processes=True,
        ),
    ],
    "patterns/health_check.py": [
        Fault(
            "every probe reads the settings",
            "settings = lru_cache(HealthCheckSettings)",
            "settings = HealthCheckSettings",
        ),
        Fault(
            "READINESS_STRICT has no effect",
            "strict=settings().readiness_strict",
            "strict=not settings",
        ),
        Fault(
            "a draining process reports that it is ready",
            'report.status in ("ready", "degraded")',
            'report.status != "unready"',
        ),
        Fault("memory is reported in the wrong unit", "rss / 2**20", "rss / 2**10"),
    ],
    "tools/health_check.py": [
        Fault(
            "the report describes a coroutine instead of its result",
            "describe_health(await readiness.report())",
            "describe_health(readiness.report())",
        ),
    ],
    "patterns/parallel_processing.py": [
        Fault(
            "there are as many tasks as items",
            "for _ in range(min(workers, len(items))):",
            "for _ in range(len(items)):",
        ),
        Fault(
            "results are in completion order",
            "return [outcomes[index] for index in range(len(items))]",
            "return list(outcomes.values())",
        ),
        Fault(
            "an unexpected failure is not logged",
            '                batch_log.exception("Item %d of a batch failed", index)\n',
            "",
        ),
    ],
    "tools/parallel_processing.py": [
        Fault("the schema does not limit the batch size", "min_length=1, max_length=100", "min_length=1"),
        Fault("results are omitted without a hint", "        hint=page.hint,\n", ""),
    ],
    "patterns/state_management.py": [
        Fault(
            "a command that is repeated after a lost answer is applied twice",
            "if redis.call('EXISTS', KEYS[2]) == 1 then return 1 end\n",
            "",
            tests="tests/scaling/test_shared_state.py -k 'lost_answer and redis-False'",
        ),
        Fault(
            "the number of keys on Redis is not limited",
            "redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4])",
            "false",
            tests="tests/scaling/test_shared_limits_and_cache.py -k cap_of_keys",
        ),
        Fault(
            "a write does not check the version that it is based on",
            "        if self._entries.get(key, ABSENT).version != new.version - 1:\n            return False\n",
            "",
        ),
        Fault(
            "an update in the database does not check the version either",
            '" WHERE key = :key AND version = :version - 1",',
            '" WHERE key = :key",',
        ),
        Fault(
            "the store exceeds its limit by one key",
            "len(self._entries) >= self._max_keys",
            "len(self._entries) > self._max_keys",
        ),
        Fault("two workers have separate counts", "if self.workers > 1 and", "if self.workers > 2 and"),
        Fault(
            "an update repeats forever on a value of another program",
            'rb"([1-9][0-9]*) (.*)"',
            'rb"([-+0-9]*) (.*)"',
            tests=ON_REDIS,
        ),
        Fault(
            "an update of a serializable database fails instead of being repeated",
            "                if not failure.engine_code.startswith(ROLLED_BACK):\n                    raise\n",
            "                if failure:\n                    raise\n",
            tests=ON_REDIS,
        ),
        Fault(
            "a key of PostgreSQL can be written two billion times only",
            "version BIGINT NOT NULL",
            "version INTEGER NOT NULL",
            tests=ON_REDIS,
        ),
        Fault(
            "a row of another program is a crash",
            "with suppress(ValueError, TypeError, RecursionError):\n        if version",
            "with suppress(ZeroDivisionError):\n        if version",
        ),
        Fault(
            "replicas on PostgreSQL overwrite each other's updates",
            "WHERE key = :key FOR UPDATE",
            "WHERE key = :key",
            tests=ON_REDIS,
        ),
        Fault(
            "replicas on PostgreSQL repeat each other's updates",
            "if is_postgres(url):\n                    yield",
            "if not url:\n                    yield",
            tests=ON_REDIS,
        ),
        Fault(
            "Redis does not compare versions",
            "if version ~= ARGV[2] then return 0 end\n",
            "",
            tests=ON_REDIS,
        ),
        Fault(
            "Redis remembers every write forever",
            "redis.call('SET', KEYS[2], '', 'PX', ARGV[5])",
            "redis.call('SET', KEYS[2], '')",
            tests=ON_REDIS,
        ),
        Fault(
            "a write that may be stored is called retryable",
            "            if failure.may_be_applied:\n                failure.put_in_doubt()\n",
            "",
            tests=ON_REDIS,
        ),
        Fault(
            "updates of a key wait for each other's time limits",
            "anyio.move_on_after(TURN_SECONDS)",
            "anyio.move_on_after(3600)",
        ),
        Fault(
            "updates of a key do not take turns",
            "lock = self._locks.setdefault(key, anyio.Lock())",
            "lock = anyio.Lock()",
        ),
    ],
    "tools/state_management.py": [
        Fault("the tool always adds 1", "else 0) + by", "else 0) + min(by, 1)"),
        Fault("an update breaks a valid call", "le=1_000_000", "le=1_000"),
    ],
    "patterns/authentication.py": [
        Fault(
            "a token for another audience is accepted",
            'aud={"essential": True, "value": rules.audience}',
            'aud={"essential": True}',
        ),
        Fault(
            "a token of another issuer is accepted",
            'iss={"essential": True, "value": rules.issuer}',
            'iss={"essential": True}',
        ),
        Fault("a token needs no end", 'exp={"essential": True}', 'exp={"essential": False}'),
        Fault("a token needs no subject", 'sub={"essential": True}', 'sub={"essential": False}'),
        Fault(
            "a token may be valid forever",
            'if not claims["exp"] <= time.time() + self._rules.longest + self._rules.clock_skew:',
            'if not claims["exp"]:',
        ),
        Fault(
            "clocks may not differ",
            "leeway=rules.clock_skew",
            "leeway=0",
        ),
        Fault(
            "an encryption key verifies tokens",
            'and data.get("use", "sig") == "sig"',
            "",
        ),
        Fault(
            "a private key is accepted as a public one",
            "if key is None or key.is_private:",
            "if key is None:",
        ),
        Fault(
            "each invented key id costs the provider a request",
            "self._allowance -= 1",
            "self._allowance -= 0",
        ),
        Fault(
            "an outage of the provider ends the use of known keys",
            """            with suppress(VerificationUnavailable):
                await self._requests.finish()
            return self._known(kid)""",
            """            await self._requests.finish()
            return self._known(kid)""",
        ),
        Fault(
            "tokens of known keys wait for a provider that is down",
            "if now - self._asked <= self._seconds:",
            "if now < self._asked:",
        ),
        Fault(
            "a withdrawn key stays valid",
            "if now - self._fetched <= self._seconds / 2:",
            "if now >= self._fetched:",
        ),
        Fault(
            "an outage of the provider counts as an invalid token",
            "return unavailable(error)",
            'return Refusal(HTTPStatus.UNAUTHORIZED, str(error), "invalid_token", scopes)',
            tests="tests/test_authentication.py -k known_keys",
        ),
        Fault(
            "a token that may only read may write",
            "if missing and await self._writes(message):",
            "if missing and not message:",
        ),
        Fault(
            "a 403 names only the scopes that are missing",
            "refusal = lacking(missing, auth.all_scopes, user.username)",
            "refusal = lacking(missing, missing, user.username)",
        ),
        Fault(
            "the endpoint is open",
            'if scope["type"] == "http" and route_path(scope) == self._auth.path:',
            'if scope["type"] == "http" and not self._auth.path:',
        ),
        Fault(
            "the metadata is only at the path of the endpoint",
            "paths = dict.fromkeys((urlsplit(self.metadata_url).path, METADATA_PATH))",
            "paths = dict.fromkeys((urlsplit(self.metadata_url).path,))",
        ),
        Fault(
            "an address fills the log with rejections",
            "if count > REJECTIONS_PER_MINUTE:\n            return",
            "if count < 0:\n            return",
        ),
        Fault(
            "several workers keep logins to themselves",
            'if self.environment == "production" or self.workers > 1:',
            'if self.environment == "production":',
        ),
        Fault(
            "codes are sent to any address",
            "allowed_client_redirect_uris=[*LOOPBACK_URIS, *settings.auth_redirect_uris]",
            "allowed_client_redirect_uris=None",
            tests="tests/test_authentication.py -k codes_sent_anywhere",
        ),
        Fault(
            "users are not asked before a client gets their login",
            "require_authorization_consent=True",
            "require_authorization_consent=False",
            tests="tests/test_authentication.py -k logs_in_with_consent",
        ),
        Fault(
            "the event loop waits for the provider",
            "proxy = await anyio.to_thread.run_sync(self._create, abandon_on_cancel=True)",
            "proxy = self._create()",
            tests="tests/test_authentication.py -k event_loop_is_free",
        ),
        Fault(
            "an outage of the store fails the request",
            "        except VerificationUnavailable as error:\n            await self._auth.refuse",
            "        except ZeroDivisionError as error:\n            await self._auth.refuse",
            tests="tests/scaling/test_logins.py -k 'outage and redis'",
        ),
    ],
    "runtime/encrypted_store.py": [
        Fault(
            "logins are stored in clear text",
            "return TTLClampWrapper(encrypted,",
            "return TTLClampWrapper(plain_store(url),",
            tests="tests/test_authentication.py -k replicas",
        ),
        Fault(
            "the certificate of Redis is verified by another authority than the URL names",
            "return RedisStore(client=redis.Redis.from_pool(pool))",
            "return RedisStore(url=url)",
            tests="tests/scaling/test_logins.py -k certificate",
        ),
        Fault(
            "a process takes ten connections of PostgreSQL",
            "min_size=0, max_size=CONNECTIONS",
            "max_size=10",
            tests="tests/scaling/test_logins.py -k 'few_connections and postgres'",
        ),
        Fault(
            "PostgreSQL is never asked again if it was down at first",
            "                self._pool = None  # one that could not be set up has been closed\n",
            "",
            tests="tests/scaling/test_logins.py -k 'finds_it_later and postgres'",
        ),
        Fault(
            "a request waits for a store that does not respond",
            "with anyio.fail_after(SECONDS):",
            "with anyio.fail_after(None):",
            tests="tests/scaling/test_logins.py -k 'outage and silent and postgres'",
        ),
    ],
    "patterns/rate_limiting.py": [
        Fault(
            "each replica has its own limit on Redis",
            "digest(caller)}",
            "digest(caller, str(id(self)))}",
            tests="tests/scaling/test_shared_limits_and_cache.py -k one_limit_holds",
        ),
        Fault(
            "one agent uses the quota of all callers",
            'self._wait(f"{kind} {caller_name()}")',
            "self._wait(caller_name()[:0])",
        ),
        Fault(
            "each worker allows the whole burst",
            "math.ceil(settings.rate_limit_burst / settings.workers)",
            "settings.rate_limit_burst",
        ),
        Fault(
            "memory grows with every caller",
            "if len(self._due) > self._max_callers:",
            "if not self._due:",
        ),
        Fault(
            "callers are locked out when the clock of Redis is set back",
            "local was_set_back = due > now + room",
            "local was_set_back = false",
            tests=ON_REDIS,
        ),
        Fault(
            "each replica allows the whole limit",
            "return await shared.wait(caller)",
            "return await self._local.wait(caller)",
            tests=ON_REDIS,
        ),
        Fault(
            "calls fail while Redis is down",
            'if self._settings.rate_limit_fail == "closed":',
            "if caller:",
            tests=ON_REDIS,
        ),
        Fault(
            "a limit that fails closed lets calls through",
            'if self._settings.rate_limit_fail == "closed":',
            "if not caller:",
            tests=ON_REDIS,
        ),
        Fault(
            "Redis has the names of callers",
            'keys = [f"{NAMESPACE}:limit:v1:{digest(caller)}"]',
            'keys = [f"{NAMESPACE}:limit:v1:{caller}"]',
            tests=ON_REDIS,
        ),
    ],
    "patterns/structured_logging.py": [
        Fault(
            "argument values are logged",
            "[argument[:60] for argument in list(arguments)[:20]]",
            "[str(argument)[:60] for argument in list(arguments.values())[:20]]",
        ),
        Fault(
            "a password in a URL is logged", '    text = URL_PASSWORD.sub(rf"\\1{REDACTED}\\2", text)\n', ""
        ),
        Fault(
            "a failed call is logged as successful",
            'outcome = "error" if getattr(result, "is_error", False) else "ok"',
            'outcome = "ok"',
        ),
    ],
    "patterns/telemetry.py": [
        Fault(
            "the last flush takes longer than containers allow",
            "FLUSH_SECONDS = 3\n",
            "FLUSH_SECONDS = 30\n",
            tests="tests/test_container.py -k 'grace_period and all'",
        ),
        Fault(
            "the HTTP header is the parent although the client's span is known",
            "parent = own if own.is_valid else around",
            "parent = around if around.is_valid else own",
        ),
        Fault(
            "the HTTP header is ignored",
            "if not around.is_valid and isinstance(ctx.request, Request):",
            "if False and isinstance(ctx.request, Request):",
        ),
        Fault(
            "baggage of clients reaches the API",
            "return trace.set_span_in_context(trace.NonRecordingSpan(parent)), links",
            "return propagate.extract(dict(ctx.meta or {})), links",
        ),
        Fault(
            "FastMCP adds a span of its own to each request",
            "with suppress_fastmcp_telemetry(), _current(span):",
            "with _current(span):",
        ),
        Fault(
            "a client can create any number of metric series",
            "if await find(name) is not None and len(self._known) < MAX_KNOWN_NAMES:",
            "if len(self._known) < MAX_KNOWN_NAMES:",
        ),
        Fault(
            "a method that a client invents is a name",
            "if not is_handshake and self._handler(method) is None:",
            'if method == "":',
        ),
        Fault("a span contains the values in a URI", "return template.uri_template", "return uri"),
        Fault(
            "a failed call is measured as successful",
            "failure = failure_of_result(result)",
            "failure = {}",
        ),
        Fault(
            "spans always name the caller",
            "        if self._callers:\n",
            "        if self._callers or True:\n",
        ),
        Fault(
            "a request to the API does not pass the trace on",
            "request.headers.update(headers)",
            "pass",
        ),
        Fault(
            "log records do not name the trace",
            "if span.is_valid and not hasattr",
            "if not span.is_valid and not hasattr",
        ),
        Fault(
            "the SDK fills the log while the collector is down",
            "if now - self._kept.get(record.name, -math.inf) < SDK_LOG_SECONDS:",
            "if now < 0:",
        ),
        Fault(
            "the end waits for the collector without limit",
            "timeout=max(0, seconds)",
            "timeout=None",
        ),
        Fault(
            "what is left at the end is not sent",
            "if not await flush(providers.flushes, seconds):",
            "if not await flush((), seconds):",
        ),
        Fault(
            "metrics are served by one of several workers",
            'if metrics and told.get("workers", 1) > 1:',
            'if metrics and told.get("workers", 1) > 64:',
        ),
        Fault("metrics are served to everyone", "if is_public(host):", 'if host == "public":'),
        Fault(
            "OTEL_SDK_DISABLED has no effect",
            "return frozenset() if self.is_disabled else names",
            "return names",
        ),
        Fault(
            "the server does not start without the extra",
            "    except ImportError:\n",
            "    except ZeroDivisionError:\n",
        ),
        Fault(
            "a call waits until the collector has its span",
            "        yield BatchSpanProcessor(OTLPSpanExporter())",
            "        from opentelemetry.sdk.trace.export import SimpleSpanProcessor\n\n"
            "        yield SimpleSpanProcessor(OTLPSpanExporter())",
            tests="tests/test_telemetry.py -k 'delays_no_call and silent'",
        ),
        Fault(
            "the collector gets the whole grace period",
            "min(FLUSH_SECONDS, end.seconds_left() - RESERVED_SECONDS)",
            "end.seconds_left() - RESERVED_SECONDS",
            tests="tests/test_telemetry.py -k 'delays_no_call and silent'",
        ),
    ],
    "server.py": [
        Fault(
            "a rate limit error is not structured",
            "{% if cookiecutter.structured_errors %}\n        StructuredErrors(CODES),\n{% endif %}\n{% if cookiecutter.rate_limiting %}\n        RateLimiting(),\n{% endif %}\n",
            "{% if cookiecutter.rate_limiting %}\n        RateLimiting(),\n{% endif %}\n{% if cookiecutter.structured_errors %}\n        StructuredErrors(CODES),\n{% endif %}\n",
            [only("structured_errors", "rate_limiting")],
        ),
        Fault(
            "a tool is imported but not registered",
            "{% if cookiecutter.parallel_processing %}\n        batch_process,\n{% endif %}\n",
            "",
            [only("parallel_processing")],
        ),
        Fault(
            "a failure is mapped to the wrong code",
            "UpstreamNotFound: ErrorCode.NOT_FOUND",
            "UpstreamNotFound: ErrorCode.API_ERROR",
            [only("structured_errors", "connection_pooling")],
        ),
        Fault(
            "a request that the API rejects is not the caller's fault",
            "UpstreamRejected: ErrorCode.VALIDATION_ERROR",
            "UpstreamRejected: ErrorCode.API_ERROR",
            [only("structured_errors", "connection_pooling")],
        ),
        Fault(
            "a failure has no code when one of two patterns is off",
            "{% if uses_database %}\n    DatabaseUnavailable: ErrorCode.API_ERROR,",
            "{% if cookiecutter.lazy_initialization %}\n    DatabaseUnavailable: ErrorCode.API_ERROR,",
            [only("structured_errors", "state_management")],
        ),
    ],
    "__main__.py": [
        Fault(
            "the version and the help need valid settings",
            "    parse_flags(COMMAND, __version__)\n    with bad_settings_in_one_line():\n        import_fastmcp()\n",
            "    with bad_settings_in_one_line():\n        import_fastmcp()\n        parse_flags(COMMAND, __version__)\n",
            processes=True,
        ),
        Fault(
            "a variable of a pattern without a tool counts as a misspelled key",
            "            importlib.import_module(module.name)\n",
            "            pass\n",
            tests="tests/test_checklist.py -k without_a_tool",
        ),
        Fault(
            "an invalid FastMCP setting causes a traceback",
            "    with bad_settings_in_one_line():\n        import_fastmcp()\n        from .runtime.command",
            "    if True:\n        from .runtime.command",
            processes=True,
        ),
        Fault(
            "an invalid setting is reported at the first call, not at startup",
            "    check_settings()\n",
            "",
            processes=True,
        ),
    ],
    "upstream.py": [
        Fault(
            "an API that is down takes every replica out of the balancer",
            'partial(authorization, settings))\n        with readiness.reporting("api", api.ping, has_passed=True):',
            'partial(authorization, settings))\n        with readiness.reporting("api", api.ping):',
            [only("connection_pooling")],
        ),
        Fault(
            "a probe reads the settings of the API",
            "partial(check_configuration, UpstreamSettings())",
            "lambda: check_configuration(UpstreamSettings())",
            [only("connection_pooling")],
        ),
        Fault(
            "the API does not get its key",
            'return f"Bearer {key}" if key else ""',
            'return ""',
            [only("connection_pooling")],
        ),
    ],
    "runtime/api_urls.py": [
        Fault(
            "a path can leave the base URL",
            "        or not path.startswith(base.path)\n",
            "",
            [only("connection_pooling")],
        ),
        Fault(
            "an identifier with a slash changes the path",
            'return quote(text, safe="")',
            "return quote(text)",
            [only("caching")],
        ),
        Fault(
            "an empty identifier addresses the whole collection",
            'if text in ("", ".", ".."):',
            'if text in (".", ".."):',
            [only("caching")],
        ),
        Fault(
            "an ampersand in a parameter starts another one",
            "urlencode(pairs, quote_via=quote)",
            "urlencode(pairs, quote_via=lambda text, *_: text)",
            [only("retry")],
        ),
    ],
    "runtime/api_failures.py": [
        Fault(
            "the API's reason contains the server's credential",
            "text = text.replace(secret, REDACTED)",
            "text = str(text)",
            [only("connection_pooling")],
        ),
        Fault(
            "the API's reason has control characters and line breaks",
            "line = redacted(_one_line(reason), secrets)",
            "line = redacted(reason, secrets)",
            [only("connection_pooling")],
        ),
        Fault(
            "the length of the API's reason is not limited",
            "return text if len(text) <= MAX_REASON_LENGTH else",
            "return text if text else",
            [only("connection_pooling")],
        ),
    ],
    "runtime/api_client.py": [
        Fault(
            "a write that may have been applied is retryable",
            "            failure.put_in_doubt()\n            if attempt.accepted:",
            "            if attempt.accepted:",
            [only("retry")],
        ),
        Fault(
            "a write with an unreadable result is repeated",
            "raise failure from None",
            "raise",
            [only("retry")],
        ),
        Fault(
            "a redirect turns a write into a GET",
            "if request.method not in SAFE_METHODS:",
            "if response.status_code == SEE_OTHER:",
            [only("connection_pooling")],
        ),
        Fault(
            "a tool can set the credential by a header",
            "or name.lower() in own:",
            "or name.lower() in ():",
            [only("connection_pooling")],
        ),
        Fault(
            "a header has a line break",
            "if not HEADER_VALUE.fullmatch(value):",
            "if not HEADER_VALUE.match(value):",
            [only("connection_pooling")],
        ),
        Fault(
            "one caller's session is used for another",
            "CookieJar(DefaultCookiePolicy(allowed_domains=()))",
            "CookieJar()",
            [only("connection_pooling")],
        ),
        Fault(
            "NaN is sent as JSON",
            "allow_nan=False, ensure_ascii",
            "allow_nan=True, ensure_ascii",
            [only("connection_pooling")],
        ),
        Fault(
            "the error does not name the invalid field of a response",
            "f\"{_field(problem['loc'])} (",
            'f"a field (',
            [only("connection_pooling")],
        ),
        Fault(
            "a redirect response does not release its connection",
            "async with aclosing(answer) as response:",
            "for response in [answer]:",
            [only("connection_pooling")],
        ),
        Fault(
            "a response over the limit is accepted",
            "if len(body) > max_bytes:",
            "if len(body) > max_bytes + 1:",
            [only("connection_pooling")],
        ),
        Fault(
            "a slow response has no total timeout",
            "with anyio.fail_after(seconds):",
            "with anyio.fail_after(None):",
            tests="tests/test_upstream_faults.py -k only-connection_pooling",
        ),
        Fault(
            "a gzip bomb is decompressed before its size is checked",
            "unpack.decompress(chunk, room)",
            "unpack.decompress(chunk)",
            tests="tests/test_upstream_faults.py -k only-caching",
        ),
        Fault(
            "invalid JSON is accepted",
            'raise UpstreamFailure("The API did not return JSON.") from error',
            "return ApiAnswer(status=status, data=None)",
            [only("retry")],
        ),
    ],
    "example_api.py": [
        Fault(
            "an unknown user crashes the example API",
            'case ["users", key] if key in USERS:',
            'case ["users", key]:',
            [only("connection_pooling")],
        ),
        Fault(
            "the example API creates an issue twice with one key",
            "if key in self._created:",
            "if key in ():",
            [only("connection_pooling")],
        ),
    ],
    "database.py": [
        Fault(
            "a failed TLS handshake is retryable",
            "return not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)",
            "return isinstance(error, ssl.SSLCertVerificationError)",
            [only("lazy_initialization")],
        ),
        Fault(
            "a probe reports a busy pool as an outage",
            "pool.checkedout() >= pool.size()",
            "pool.checkedout() < 0",
            tests=ON_REDIS,
        ),
        Fault(
            "replicas that create a table at the same time fail",
            "ATTEMPTS_TO_CREATE = 3",
            "ATTEMPTS_TO_CREATE = 1",
            tests="tests/scaling/test_postgres_faults.py -k eight_replicas",
        ),
        Fault(
            "a full disk is an unexpected error",
            "errors: tuple[type[Exception], ...] = (SQLAlchemyError, OSError)",
            "errors: tuple[type[Exception], ...] = (OSError,)",
            tests="tests/test_surroundings.py -k full_disk",
        ),
        Fault("the engine stays open", "await engine.dispose()", "pass", [only("lazy_initialization")]),
        Fault(
            "a cancelled write locks the file",
            "return await _to_its_end(_within(self._seconds, work))",
            "return await _within(self._seconds, work)",
            [only("state_management")],
        ),
        Fault(
            "a write is rolled back",
            "await connection.commit()",
            "await connection.rollback()",
            [only("state_management")],
        ),
        Fault(
            "a temporary failure is not retryable",
            "DatabaseUnavailable(sentence, retryable=True)",
            "DatabaseUnavailable(sentence)",
            [only("lazy_initialization")],
        ),
        Fault(
            "a permanent failure is retryable",
            "    sqlite3.SQLITE_ERROR,\n",
            "",
            [only("lazy_initialization")],
        ),
        Fault(
            "a URL that the driver refuses is retryable",
            "    if isinstance(cause.__cause__ or cause, ValueError):\n        return True\n",
            "",
            [only("lazy_initialization")],
        ),
        Fault(
            "a missing driver is not reported until the first call",
            'if importlib.util.find_spec("asyncpg") is None:',
            "if not query and not query.isascii():",
            [only("lazy_initialization")],
        ),
        Fault(
            "a write with a lost answer is retryable",
            "                committing = True\n",
            "",
            [only("lazy_initialization")],
        ),
        Fault(
            "an unknown option of the database URL is accepted",
            "if name not in OPTIONS:",
            "if not name:",
            [only("lazy_initialization")],
        ),
        Fault(
            "only the first host of the database URL is tried",
            "*others, last = addresses",
            "last, *others = addresses[:1]",
            [only("lazy_initialization")],
        ),
        Fault(
            "a table that another process creates at once fails the call",
            '("23505", "42P07", "42710")',
            '("23505",)',
            [only("lazy_initialization")],
        ),
        Fault(
            "a cancelled statement that fails logs its values",
            "task.add_done_callback(_discard_error)",
            "pass",
            [only("lazy_initialization")],
        ),
    ],
    "redis_client.py": [
        Fault(
            "a wrong password is retryable",
            '"WRONGPASS": ("Redis refuses the password: check the URL.", False)',
            '"WRONGPASS": ("Redis refuses the password: check the URL.", True)',
            [only("caching")],
        ),
        Fault(
            "a missing package is not reported until the first call",
            'if importlib.util.find_spec("redis") is None:',
            "if not kind:",
            [only("caching")],
        ),
        Fault(
            "the message about an invalid URL has the password",
            'raise ValueError("must name a host, such as redis://host:6379/0")',
            'raise ValueError(f"must name a host, such as redis://host:6379/0, not {url}")',
            [only("caching")],
        ),
        Fault(
            "every call waits while Redis is down",
            "if now < self._paused_until:",
            "if now < 0:",
            [only("caching")],
        ),
        Fault(
            "every call waits again when the pause is over",
            "            self._paused_until = now + self._seconds + self._pause_seconds\n",
            "",
            [only("caching")],
        ),
        Fault(
            "a command has no time limit",
            "asyncio.timeout(self._seconds)",
            "asyncio.timeout(None)",
            [only("caching")],
        ),
        Fault(
            "an outage is logged by each call",
            "known = self._outage is not None and self._outage.sentence == fault.sentence",
            "known = False",
            [only("caching")],
        ),
        Fault(
            "a command is not repeated on a new connection",
            "Retry(NoBackoff(), 1,",
            "Retry(NoBackoff(), 0,",
            tests=ON_REDIS,
        ),
        Fault(
            "calls beyond the connections are refused",
            "        max_connections=CONNECTIONS,\n        timeout=seconds,\n",
            "        max_connections=CONNECTIONS,\n        timeout=0,\n",
            tests=ON_REDIS,
        ),
    ],
    "runtime/first_use.py": [
        Fault(
            "each waiting call repeats a failed opening",
            "        return await asyncio.shield(self._attempt)\n",
            "        attempt = self._attempt\n"
            "        await asyncio.wait([attempt])\n"
            "        return attempt.result() if self._attempt is attempt else await self.resource()\n",
            [only("lazy_initialization")],
        ),
        Fault(
            "a cancelled call fails those that wait with it",
            "await asyncio.shield(self._attempt)",
            "await self._attempt",
            [only("lazy_initialization")],
        ),
        Fault(
            "a failed opening is kept",
            "            self._attempt = None\n",
            "            pass\n",
            [only("lazy_initialization")],
        ),
        Fault(
            "shutdown leaves an attempt behind",
            "            stack.push_async_callback(found.cancel)\n",
            "",
            [only("state_management")],
        ),
    ],
    "runtime/outgoing.py": [
        Fault(
            "a watcher never learns the status",
            "for tell in watching:\n                    tell(status)",
            "for tell in watching:\n                    str(status)",
            [only("telemetry")],
        ),
    ],
    "results.py": [
        Fault(
            "a result may exceed the limit by one byte",
            "if size > room:",
            "if size > room + 1:",
            [only("parallel_processing")],
        ),
        Fault(
            "the limit counts characters instead of bytes",
            "return len(to_json(value))",
            "return len(to_json(value).decode())",
            [only("lazy_initialization")],
        ),
        Fault(
            "an oversized item is missing from every page",
            "if items and not kept:",
            "if not items and not kept:",
            [only("lazy_initialization")],
        ),
        Fault(
            "data is shortened without a hint",
            "if shortened is data:\n        return data",
            "if shortened:\n        return shortened",
            [only("connection_pooling")],
        ),
    ],
    "tests/changes.py": [
        Fault(
            "a lower maximum is classified as harmless",
            "(after > before) == (keyword in LOWER_BOUNDS)",
            "(after > before) == (keyword in UPPER_BOUNDS)",
        ),
        Fault(
            "a new required parameter is classified as harmless",
            "side is INPUT and name in needed_after",
            "side is RESULT and name in needed_after",
        ),
    ],
    "tests/test_surface.py": [
        Fault(
            "a test run accepts any change",
            'if request.config.getoption("--update-surface"):',
            "if request.config:",
            tests="tests/test_surface.py",
        ),
    ],
    "runtime/deadlines.py": [
        Fault(
            "a response waits for a hanging thread",
            "await asyncio.wait([call], timeout=CLEAN_UP_SECONDS)",
            "await asyncio.wait([call])",
        ),
        Fault(
            "the number of hanging threads is not limited",
            "self._abandoned.total() >= self._max_abandoned",
            "self._abandoned.total() > 1000",
        ),
        Fault(
            "a call that may have done its work does not say so",
            "exceeded.put_in_doubt()",
            "exceeded.retryable = False",
        ),
        Fault("resources have no deadline", "not in METHODS:", "not in {'tools/call'}:"),
    ],
    "runtime/containment.py": [
        Fault(
            "a tool that exits ends the process",
            "            return self._coroutine.send(value)\n"
            "        except (SystemExit, KeyboardInterrupt) as error:",
            "            return self._coroutine.send(value)\n        except ZeroDivisionError as error:",
        ),
        Fault(
            "an exception outside of the middleware reaches the client",
            "    except BaseException as error:",
            "    except (SystemExit, KeyboardInterrupt) as error:",
        ),
    ],
    "runtime/limits.py": [
        Fault("the size of a resource is not limited", "if size > limit:", "if size > 100 * limit:"),
    ],
    "runtime/exchange.py": [
        Fault(
            "a call continues after its client has disconnected",
            "                    call.cancel()\n",
            "",
            processes=True,
        ),
        Fault(
            "a proxy closes the connection of a long call",
            "            if waiting.cancelled_caught:\n                await self._stream(PING)\n",
            "",
        ),
        Fault(
            "progress is not reported",
            '        await self._stream(_event({"jsonrpc": "2.0", "method": method, **told}))\n',
            "",
        ),
        Fault(
            "calls bypass the token check",
            "            holder.app = SingleExchange(inner)\n",
            "            route.app = SingleExchange(inner)\n",
        ),
        Fault(
            "an unknown protocol revision is accepted",
            "        and request.headers.get(VERSION_HEADER, DEFAULT_VERSION) in HANDSHAKE_PROTOCOL_VERSIONS\n",
            "",
        ),
    ],
    "runtime/middleware.py": [
        Fault(
            "the first middleware is innermost",
            "for layer in reversed(self.layers)",
            "for layer in self.layers",
        ),
        Fault(
            "a middleware for resources only has no effect",
            '            or (name == "on_read_resource" and _defines(layer, "check_resource_access"))\n',
            "",
        ),
        Fault(
            "a malformed request fails in a hook",
            "elif isinstance(context.message, BaseModel):",
            "elif context.message is not None:",
        ),
    ],
    "runtime/answers.py": [
        Fault(
            "a lone surrogate breaks the response",
            "return sendable(await call_next(context))",
            "return await call_next(context)",
        ),
        Fault(
            "a question that cannot reach the client is an unexpected error",
            "    for unreachable in (error, cause):",
            "    for unreachable in ():",
        ),
    ],
    "runtime/discovery.py": [
        Fault(
            "the server advertises a capability that the protocol has removed",
            "result.capabilities.logging = None",
            "pass",
        ),
    ],
    "runtime/arguments.py": [
        Fault("the error grows with the input", "in report[:MAX_PROBLEMS]:", "in report:"),
        Fault(
            "a string argument is parsed as JSON",
            '    if "string" in types:\n        return text\n',
            "",
        ),
        Fault(
            "a list sent as text is rejected",
            "return value if kind in types else text",
            "return text",
        ),
    ],
    "runtime/messages.py": [
        Fault(
            "a body with an excessive declared size is read",
            "if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:",
            "if False:",
            tests="tests/test_network_edge.py -k declared_too_large",
        ),
        Fault(
            "a request with an invalid id counts as a notification",
            "    if isinstance(value, int) and not isinstance(value, bool):",
            "    if value is None or isinstance(value, int):",
        ),
        Fault("the error for a malformed request has no id", "_id_in(body)) from", "None) from"),
        Fault("the last argument counts as the id", "and not _is_closed(body)", "and not body"),
        Fault(
            "the size of a body is not limited",
            "        if len(body) > MAX_BODY_BYTES:\n            raise",
            "        if len(body) < 0:\n            raise",
        ),
        Fault(
            "the error repeats names of any length",
            "len(value) <= limit and len(json.dumps(value)) <= limit",
            "len(value) >= 0 <= limit",
            tests="tests/test_malformed_messages.py -k two_hundred",
        ),
        Fault(
            "the server keeps request bodies",
            "    return bytes(body)\n",
            "    KEPT.append(bytes(100_000) + body)\n    return bytes(body)\n\n\nKEPT: list[bytes] = []\n",
            tests="tests/test_load.py -k abandoned",
        ),
    ],
    "runtime/drain.py": [
        Fault("shutdown waits for completed calls", "self._calls.discard(task)", "pass"),
        Fault(
            "a second signal is ignored",
            "if self._readiness.draining:",
            "if False:",
            tests="tests/test_stopping.py -k second_signal",
        ),
        Fault(
            "a load balancer has no time to check readiness",
            "await asyncio.sleep(self._delay_seconds)",
            "pass",
        ),
        Fault(
            "a connection closes without notice",
            'if self._closing and message["type"] ==',
            'if not self and message["type"] ==',
        ),
        Fault("a call starts after the grace period", "elif self._grace_is_over:", "elif not self:"),
        Fault("an endless stream delays shutdown", "elif is_endless(scope):", "elif not self:"),
        Fault(
            "shutdown waits for a hanging startup",
            "if server is None or server.started:",
            "if server is None or server:",
        ),
        Fault(
            "connections are accepted until the last call completes",
            "            await close_port(server)\n",
            "",
            tests="tests/test_stopping.py -k keeps_sending",
        ),
        Fault(
            "a blocked event loop keeps the process alive",
            "leave_within(seconds, 128 + number)",
            "pass",
            tests="tests/test_stopping.py -k delay_shutdown",
        ),
    ],
    "runtime/readiness.py": [
        Fault(
            "a resource that a call has opened counts as one that never worked",
            "        if has_passed:\n",
            "        if not name:\n",
        ),
        Fault(
            "every probe runs the checks",
            "now - self._cached[0] >= self._cache_seconds",
            "now - self._cached[0] >= 0",
        ),
        Fault(
            "concurrent probes each run the checks",
            "async with self._lock:",
            "async with anyio.Lock():",
        ),
        Fault(
            "an outage of a shared engine makes every replica unready",
            "optional if strict else optional | self._passed_once",
            "optional",
        ),
        Fault(
            "a check that hangs delays the probe",
            "timeout=self._timeout)",
            "timeout=None)",
        ),
        Fault(
            "a closed resource is still checked",
            "                del self._checks[name]\n",
            "                pass\n",
        ),
    ],
    "runtime/requests.py": [
        Fault(
            "a write is retryable after its deadline",
            "return hints is not None and bool(hints.read_only_hint or hints.idempotent_hint)",
            "return True",
        ),
        Fault(
            "the log contains the values in a URI",
            'return template.uri_template[:MAX_NAME_LENGTH] if template else "unknown resource"',
            "return str(uri) if template else str(uri)",
            [only("structured_logging")],
        ),
    ],
    "runtime/lifespan.py": [
        Fault(
            "the server does not report when it is ready",
            "        with readiness.serving():\n            try:",
            "        if loop:\n            try:",
        ),
    ],
    "runtime/caller.py": [
        Fault(
            "two users of one client share cached values",
            'token.subject or claims.get("sub"))',
            "None)",
            [only("caching")],
        ),
        Fault(
            "users of two issuers share an identity",
            'claims.get("iss"), token.client_id',
            "None, token.client_id",
            [only("authentication")],
        ),
    ],
    "runtime/errors.py": [
        Fault(
            "no failure is retryable",
            "self.retryable = retryable",
            "self.retryable = False and retryable",
            [only("structured_errors")],
        ),
        Fault(
            "the log repeats the text of a failure's cause",
            "[type(failure.__cause__).__name__]",
            "[str(failure.__cause__)]",
        ),
        Fault(
            "a client can inject lines into the log",
            'reason = " ".join(str(failure).split())',
            "reason = str(failure)",
        ),
        Fault(
            "the text of an unknown exception reaches the client",
            "        except Exception as error:\n            raise unexpected(error) from error",
            "        except ZeroDivisionError as error:\n            raise unexpected(error) from error",
        ),
        Fault(
            "each failure is logged twice",
            "log_level=logging.DEBUG)",
            "log_level=logging.WARNING)",
        ),
    ],
    "runtime/serving.py": [
        Fault(
            "the default grace period is longer than that of containers",
            "shutdown_grace_seconds: float = Field(20,",
            "shutdown_grace_seconds: float = Field(21,",
            tests="tests/test_container.py -k 'grace_period and none'",
        ),
        Fault(
            "a session lives in one process",
            "http_sessions: bool = False",
            "http_sessions: bool = True",
            tests="tests/test_load.py -k no_client",
        ),
        Fault(
            "the server listens on all interfaces",
            'http_host: str = "127.0.0.1"',
            'http_host: str = "0.0.0.0"',
            processes=True,
        ),
    ],
    "runtime/server.py": [
        Fault(
            "a call continues after its client has disconnected",
            "json_response=False,",
            "json_response=True,",
            tests="tests/test_load.py -k disconnected",
        ),
        Fault(
            "the first handshake-era call delays all callers",
            '_ = getattr(self, "_state_store", None)',
            "pass",
            tests="tests/test_load.py -k wait_for_imports",
        ),
        Fault(
            "the SDK answers malformed messages",
            "                Middleware(WellFormedMessages, path=path),\n",
            "",
            tests="tests/test_malformed_messages.py -k two_hundred",
        ),
        Fault(
            "any web page may call the server",
            "        app.add_middleware(\n            HostAndOrigin,\n",
            "        dict(\n            app=HostAndOrigin,\n",
            processes=True,
        ),
        Fault(
            "the call of a disconnected client is not cancelled",
            "json_response=False",
            "json_response=True",
            processes=True,
        ),
        Fault(
            "a public address is served without authentication",
            "            app.add_middleware(PublicAddress)\n",
            "            pass\n",
        ),
        Fault(
            "`fastmcp run` does not answer malformed lines on stdin",
            "await serve_wire(self, reserve_stdio())",
            "await super().run_stdio_async(show_banner=False)",
            tests="tests/test_starting.py -k fastmcp_run_on_stdio",
        ),
        Fault("the host of PUBLIC_URL is unknown", "*([public.hostname] if public.hostname else [])", ""),
    ],
    "runtime/guards.py": [
        Fault("any web page may read responses", "fnmatchcase(with_port(origin), entry)", "entry"),
        Fault(
            "a refusal does not name the setting",
            "PlainTextResponse(explanation, status)",
            'PlainTextResponse("", status)',
        ),
        Fault("every refusal is logged", "            self._logged.add(value)\n", ""),
        Fault(
            "a loopback address of an IPv6 socket counts as public",
            '(getattr(address, "ipv4_mapped", None) or address)',
            "address",
        ),
    ],
    "runtime/paths.py": [
        Fault(
            "a mounted server is not guarded", "    return below if root and", "    return path if root and"
        ),
        Fault("a slash after the path is a redirect", 'if path == f"{self._path}/":', "if False:"),
        Fault("the prefix of PUBLIC_URL must be stripped", 'path.startswith(f"{self._prefix}/")', "False"),
    ],
    "runtime/proxies.py": [
        Fault(
            "any client can claim to be any caller",
            "if peer is None or not self._trusts(peer):",
            "if peer is None:",
        ),
        Fault("a caller can put an address before its own", "for hop in reversed(hops):", "for hop in hops:"),
        Fault(
            "a header that the proxy passes on is trusted",
            "if hops and self._caller(peer, hops) != self._caller(peer, named):",
            "if False:",
        ),
    ],
    "runtime/connections.py": [
        Fault(
            "the server waits forever for an incomplete request",
            "            self._timer = self.loop.call_later(read_timeout_seconds(), self._give_up)\n",
            "            pass\n",
            tests="tests/test_network_edge.py -k in_time",
        ),
        Fault(
            "a response is cut off by the timeout of its request",
            "is_arriving=cycle is None or cycle.more_body or cycle.response_complete",
            "is_arriving=True",
            tests="tests/test_network_edge.py -k longer_than_its_request",
        ),
    ],
    "runtime/descriptors.py": [
        Fault(
            "a socket gets the number of a closed stream",
            "            closed.append(name)\n",
            "            os.close(opened)\n",
            tests="tests/test_starting.py -k without_its_streams",
        ),
    ],
    "runtime/http.py": [
        Fault(
            "the uvicorn command serves on a public address",
            "    check_address(mcp, server.config.host)\n",
            "",
            tests="tests/test_starting.py -k public_address",
        ),
        Fault(
            "a worker imports from the current folder",
            '        os.environ[SAFE_PATH] = "1"\n',
            "",
            tests="tests/test_settings_sources.py -k workers",
        ),
        Fault("several workers keep sessions", "settings.http_sessions and settings.workers > 1", "False"),
        Fault(
            "a worker that is slow to start is replaced",
            "timeout_worker_healthcheck=START_SECONDS",
            "timeout_worker_healthcheck=5",
        ),
        Fault(
            "workers outlive their supervisor",
            "    end_with_supervisor()\n",
            "",
            processes=True,
        ),
        Fault(
            "a blocked worker outlives its supervisor",
            "signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)",
            "signal.raise_signal(signal.SIGTERM)",
            tests="tests/test_stopping.py -k SIGKILL",
        ),
        Fault(
            "a hanging worker keeps a signal from the others",
            "                process.process.terminate()\n",
            "                pass\n",
            tests="tests/test_stopping.py -k ignores_signals",
        ),
    ],
    "runtime/logs.py": [
        Fault(
            "at DEBUG, libraries log what a client has sent",
            "root.setLevel(max(level, logging.INFO))",
            "root.setLevel(level)",
        ),
        Fault("dropped log lines are not reported", "if self._lost and has", "if self._torn and has"),
        Fault(
            "the log is mixed with the protocol",
            "UnblockedHandler(sys.stderr)",
            "logging.StreamHandler(sys.stdout.buffer)",
            processes=True,
        ),
    ],
    "runtime/flags.py": [
        Fault(
            "a flag has different rules than its variable",
            'dest="http_port", help',
            'dest="http_port", type=int, help',
        ),
    ],
    "runtime/ending.py": [
        Fault(
            "the process waits for a hanging thread",
            "        _wait_and_leave(0, code, _last_words())\n    sys.exit",
            "        pass\n    sys.exit",
            tests="tests/test_stopping.py -k hanging_thread",
        ),
        Fault(
            "a process that exits in time is killed",
            "    if _running():\n",
            "    if code:\n",
            tests="tests/test_stopping.py -k without_hanging",
        ),
    ],
    "runtime/stdio.py": [
        Fault("output of a library is mixed with the protocol", "    os.dup2(2, 1)\n", "", processes=True),
        Fault(
            "a signal kills a process without cleanup",
            "for number in STOP_SIGNALS:",
            "for number in ():",
            processes=True,
        ),
        Fault(
            "a child process reads messages from stdin",
            "    os.dup2(null, 0)\n",
            "",
            tests="tests/test_stopping.py -k neither_reads_nor_writes",
        ),
        Fault(
            "a malformed line is not answered",
            "            self._refusals.put(refused)\n",
            "",
        ),
        Fault(
            "a client that does not read blocks the event loop",
            "            if not _has_room(self._sink):\n                return False\n",
            "",
        ),
        Fault(
            "the end of stdin cancels in-flight calls",
            "                self._wait_for_answers(wait_seconds)\n",
            "",
        ),
        Fault(
            "a hanging thread keeps a process alive after the end of stdin",
            "                at_end()\n",
            "",
            tests="tests/test_stopping.py -k on_stdio",
        ),
        Fault(
            "a blocked event loop keeps a process alive after a signal",
            "        at_once()\n",
            "        loop.call_soon_threadsafe(at_once)\n",
            tests="tests/test_stopping.py -k on_stdio",
        ),
    ],
    "pyproject.toml": [
        Fault(
            "the address of the repository has another name on PyPI",
            'Repository = "{{',
            'Source = "{{',
            tests="tests/test_publishing.py -k new_project_says",
        ),
        Fault(
            "a package is missing when one of two patterns is off",
            "cookiecutter.lazy_initialization or cookiecutter.state_management %}",
            "cookiecutter.lazy_initialization %}",
            tests="tests/test_dependencies.py -k only-state_management",
        ),
        Fault(
            "the development group lacks a package that the tests import",
            'dev = [\n    "httpx2>=2.11,<3",\n',
            "dev = [\n",
            tests="tests/test_dependencies.py -k none",
        ),
        Fault("assertions in tests are a lint error", '    "S", # assert\n', ""),
        Fault("the formatter would change every file", "line-length = 100", "line-length = 88"),
    ],
    "hooks/post_gen_project.py": [
        Fault(
            "server.json stays in a project without a repository",
            '".mcpbignore", "manifest.json", "server.json"),',
            '".mcpbignore", "manifest.json"),',
            tests="tests/test_publishing.py -k without_a_repository",
        ),
        Fault(
            "tests of patterns that are off remain",
            '.partition(".")[0].removeprefix("test_")',
            '.partition(".")[0]',
        ),
        Fault(
            "the patterns folder remains without patterns",
            '== {f"{folder}/__init__.py"}',
            "== {folder}",
        ),
        Fault(
            "the database module is deleted while a pattern uses it",
            '"database": ("lazy_initialization", "state_management")',
            '"database": ("lazy_initialization",)',
            [only("state_management")],
        ),
        Fault(
            "the API client is deleted while a pattern uses it",
            '"upstream": API_PATTERNS',
            '"upstream": ("connection_pooling", "retry")',
            [only("caching")],
        ),
        Fault(
            "the module for long results is deleted while a tool uses it",
            '        "parallel_processing",\n    ),',
            "    ),",
            [only("parallel_processing")],
        ),
        Fault(
            "a shared module is deleted with one of its owners",
            "return not all(\n        answers.get(owner) is False",
            "return not any(\n        answers.get(owner) is False",
            [only("retry", "connection_pooling")],
        ),
        Fault(
            "the first import of each module is missing in utils.py",
            "for module in modules.values() for name in module.imports}",
            "for module in modules.values() for name in module.imports[1:]}",
            [only("self_contained", "retry")],
        ),
        Fault(
            "the last import counts as the first line of the body",
            "source.splitlines(keepends=True)[end:]",
            "source.splitlines(keepends=True)[end - 1 :]",
            [only("self_contained", "retry")],
        ),
        Fault(
            "utils.py imports from the parent of the package",
            '"." * max(level - 1, 0)',
            '"." * level',
            [only("self_contained", "caching")],
        ),
        Fault(
            "names are not sorted as the linter sorts them",
            "kind = 0 if len(name) > 1 and name.isupper() else 1 if name[:1].isupper() else 2",
            "kind = 0",
            [ALL],
        ),
        Fault(
            "a pattern is missing in utils.py",
            '    "rate_limiting",\n    "structured_logging",\n    "authentication",\n    "telemetry",\n)\n# Modules',
            '    "structured_logging",\n    "authentication",\n    "telemetry",\n)\n# Modules',
            [only("self_contained", "rate_limiting")],
        ),
        Fault(
            "a finished project reports that the hooks did not run",
            "if path == HOOKS_RAN:",
            'if path == "":',
            [only("retry")],
        ),
        Fault(
            "a user's file is deleted because it has a pattern's name",
            " if name not in TOOLLESS)",
            ")",
            tests="tests/test_overwriting.py -k 'overwriting and to-rate_limiting'",
        ),
        Fault(
            "a file that Cookiecutter kept is deleted",
            "if path not in kept and is_plain",
            "if is_plain",
            tests="tests/test_overwriting.py -k 'keeping and to-retry'",
        ),
        Fault(
            "a symbolic link is deleted",
            " and not any(step.is_symlink() for step in inside)",
            " and inside != []",
            tests="tests/test_overwriting.py -k link",
        ),
        Fault(
            "a user's own utils.py is deleted",
            "return path.read_bytes().startswith(HEADER.strip().encode())",
            "return path.is_file()",
            tests="tests/test_overwriting.py -k utils",
        ),
        Fault(
            "a user's own pattern is deleted with the template's",
            "if beside <= {module,",
            "if not beside <= {",
            tests="tests/test_overwriting.py -k 'overwriting and to-self_contained'",
        ),
        Fault(
            "the hook changes files that it does not list",
            "if path not in template_paths(package):\n        return text",
            'if path not in template_paths(package):\n        return ""',
            tests="tests/test_finish.py -k 'may_change and all'",
        ),
        Fault(
            "the next steps are printed for an existing project",
            " and not (project / EXISTED).exists()",
            "",
            tests="tests/test_next_steps.py -k prints_nothing",
        ),
        Fault(
            "a closed console makes the generation fail",
            "except (OSError, ValueError):\n        with suppress",
            "except LookupError:\n        with suppress",
            tests="tests/test_next_steps.py -k cannot_be_written",
        ),
        Fault(
            "a console that lacks some characters makes the generation fail",
            '.encode(encoding, "backslashreplace")',
            ".encode(encoding)",
            tests="tests/test_next_steps.py -k lack",
        ),
        Fault(
            "the printed folder is not quoted",
            "{literal}{shell_quoted(path)}",
            "{literal}{path}",
            tests="tests/test_next_steps.py -k 'one_after and none'",
        ),
        Fault(
            "the first call names a tool that not every project has",
            "call server.py process_data text=",
            "call server.py api_request text=",
            tests="tests/test_next_steps.py -k 'one_after and none'",
        ),
        Fault(
            "the saved answers are left next to the project",
            "Path(answers[SAVED]).unlink()",
            "Path(answers[SAVED]).exists()",
            tests="tests/test_continuing.py -k 'every_other_answer and quotes and not triple'",
        ),
        Fault(
            "a project without CI has its canary",
            'answers["ci"] != "none"',
            "True",
            tests="tests/test_ci.py -k without_ci",
        ),
        Fault(
            "the commit of a packed branch is not recorded",
            'return packed[1] if packed else ""',
            'return ""',
            tests="tests/test_record.py -k 'files_of_git and packed'",
        ),
        Fault(
            "a worktree records the commit of the main one",
            'read(own / "HEAD")',
            'read(common / "HEAD")',
            tests="tests/test_record.py -k 'files_of_git and worktree'",
        ),
        Fault(
            "a password for the template's repository is recorded",
            'return re.sub(r"^(https?://)[^/@]*@", r"\\1", plain)',
            "return plain",
            tests="tests/test_record.py -k password",
        ),
        Fault(
            "an abbreviated address is recorded, which git cannot clone",
            "return origin_of(folder) or given",
            "return given",
            tests="tests/test_record.py -k full_address",
        ),
        Fault(
            "new answers are recorded although existing files are kept",
            " and not kept and not path.is_symlink()",
            " and not path.is_symlink()",
            tests="tests/test_record.py -k keeps_existing",
        ),
        Fault(
            "generating over a project forgets which files to skip",
            'if "skip" in (known',
            'if "skipped" in (known',
            tests="tests/test_record.py -k keeps_skip",
        ),
        Fault(
            "the record has the order of the replay file",
            'shape = json.loads(read(folder / "cookiecutter.json")) if folder else answers',
            "shape = answers",
            tests="tests/test_record.py -k any_order",
        ),
    ],
    "tests/__init__.py": [
        Fault(
            "a project does not report that its hooks did not run",
            "raise SystemExit(",
            "print(",
            tests="tests/test_overwriting.py -k hooks_did_not_run",
        ),
    ],
    "cookiecutter.json": [
        Fault(
            "the slug cannot be asked for without the name",
            "cookiecutter.project_name | default('') | slugify",
            "cookiecutter.project_name | slugify",
            tests="tests/test_continuing.py -k asked_for_again",
        ),
        Fault(
            "Cookiecutter deletes a folder before it copies it",
            '    "_jinja2_env_vars"',
            '    "_copy_without_render": ["*/tools"],\n    "_jinja2_env_vars"',
            tests="tests/test_overwriting.py -k 'overwriting and nothing'",
        ),
    ],
    "hooks/pre_gen_project.py": [
        Fault(
            "an address with credentials is accepted",
            '"contains credentials": "@" in rest,\n',
            "",
            tests="tests/test_refusals.py -k page_of_a_repository",
        ),
        Fault(
            "a refused address is printed with its password",
            "shown(without_secrets(repository))",
            "shown(repository)",
            tests="tests/test_refusals.py -k page_of_a_repository",
        ),
        Fault(
            "an address of a wiki is accepted",
            'path.lower().endswith(".wiki")',
            'path.endswith("/wiki")',
            tests="tests/test_refusals.py -k page_of_a_repository",
        ),
        Fault(
            "only the start of an address is checked",
            're.fullmatch(name, segment) and segment.strip("-")',
            "re.match(name, segment)",
            tests="tests/test_refusals.py -k page_of_a_repository",
        ),
        Fault(
            "leaving out a pattern is refused",
            "if not isinstance(answers[name], bool):",
            "if not answers[name]:",
        ),
        Fault(
            "a folder name that is invalid on Windows is accepted",
            "elif module in WINDOWS_RESERVED:",
            "elif module in MODULES:",
            tests="tests/test_refusals.py -k con",
        ),
        Fault(
            "a project may have the name of an indirect dependency",
            '"click", ',
            "",
            tests="tests/test_refusals.py -k 'indirect and Click'",
        ),
        Fault(
            "a package may shadow a module of a dependency",
            "DISTRIBUTIONS + MODULES,",
            "DISTRIBUTIONS,",
            tests="tests/test_refusals.py -k slug_may_be",
        ),
        Fault(
            "nobody is named in the copyright line",
            'if answers["author_name"].split():',
            'if "author_name" in answers:',
            tests="tests/test_refusals.py -k blank_author",
        ),
        Fault(
            "only the start of an e-mail address is checked",
            'if re.fullmatch(r"[A-Za-z0-9.!#',
            'if re.match(r"[A-Za-z0-9.!#',
            tests="tests/test_refusals.py -k email",
        ),
        Fault(
            "a user's own utils.py is overwritten with the patterns",
            "path.exists() and not generated",
            "path.exists() and not path.name",
            tests="tests/test_overwriting.py -k utils",
        ),
        Fault(
            "existing files are not listed",
            "    if paths:\n",
            "    if not project:\n",
            tests="tests/test_overwriting.py -k 'keeping and to-retry'",
        ),
        Fault(
            "only the first bad answer is reported",
            "found = list(problems(ANSWERS))",
            "found = list(problems(ANSWERS))[:1]",
            tests="tests/test_refusals.py -k at_once",
        ),
        Fault(
            "a bad answer is saved with the others",
            ' if name[0] != "_" and name not in bad}',
            ' if name[0] != "_"}',
            tests="tests/test_continuing.py -k 'every_other_answer and emoji'",
        ),
        Fault(
            "the command is not quoted for the shell",
            "return shlex.quote(text)",
            "return text",
            tests="tests/test_continuing.py -k odd_folder",
        ),
        Fault(
            "the command fetches the template again",
            'template = str(answers["_repo_dir"])',
            'template = str(answers["_template"])',
            tests="tests/test_continuing.py -k network",
        ),
        Fault(
            "the answers of an earlier refusal are overwritten",
            "if not path.exists() and not path.is_symlink())",
            "if path.name)",
            tests="tests/test_continuing.py -k 'another_refusal'",
        ),
        Fault(
            "cruft renders the saved answers as templates",
            "as_template(value) if name in TEXTS else value",
            "value",
            tests="tests/test_continuing.py -k cruft_continues",
        ),
        Fault(
            "a corrected answer records the clone of the template instead of its address",
            '"source": source_of(answers)',
            '"source": {}',
            tests="tests/test_record.py -k corrected",
        ),
    ],
    "update.py": [
        Fault(
            "changes of adjacent lines are a conflict",
            "return max(one.start, other.start) < min(one.end, other.end)",
            "return max(one.start, other.start) <= min(one.end, other.end)",
            tests="tests/test_updates.py -k side_by_side",
        ),
        Fault(
            "a deleted example tool returns",
            "continue  # the user has made the same change, or deleted the file",
            "mine = old",
            tests="tests/test_updates.py -k 'every_edit and from-all-self_contained'",
        ),
        Fault(
            "an edited file of a removed pattern is deleted",
            "            if mine != old:\n",
            "            if mine != old and new is not None:\n",
            tests="tests/test_updates.py -k edited_file",
        ),
        Fault(
            "the package of a pattern that the user has written is deleted",
            "if modules - set(result.deleted):",
            "if not modules:",
            tests="tests/test_updates.py -k 'every_edit and from-all-self_contained'",
        ),
        Fault(
            "a conflict is not named",
            "result.conflicts.append(path)",
            "result.kept.append(path)",
            tests="tests/test_updates.py -k conflict_with_a_name",
        ),
        Fault(
            "lines that both have added in one place are in the wrong order",
            "for side in (new, mine)]\n    merged",
            "for side in (mine, new)]\n    merged",
            tests="tests/test_updates.py -k 'every_edit and from-none-telemetry'",
        ),
        Fault(
            "Windows line endings make every line a conflict",
            'content.removeprefix(BOM).replace(b"\\r\\n", b"\\n")',
            "content.removeprefix(BOM)",
            tests="tests/test_updates.py -k windows_line_endings",
        ),
        Fault(
            "the template's files have the line endings that git is set to",
            '"* -text\\n"',
            '""',
            tests="tests/test_updates.py -k checked_out_as",
        ),
        Fault(
            "an update writes through a link of the user",
            "any(folder.is_symlink() or folder.is_file() for folder in folders)",
            "any(folder.is_file() for folder in folders)",
            tests="tests/test_updates.py -k 'whatever_the and link_to_folder'",
        ),
        Fault(
            "a folder of the user at the path of a new file stops an update halfway",
            "place.is_symlink() or (place.exists() and not place.is_file())",
            "place.is_symlink()",
            tests="tests/test_updates.py -k 'whatever_the and folder_with_file'",
        ),
        Fault(
            "a full disk ends an update with a traceback",
            "except UnfinishedError as error:",
            "except ZeroDivisionError as error:",
            tests="tests/test_updates.py -k full_disk",
        ),
        Fault(
            "an unknown name is ignored",
            "for name, text in changes.items()}",
            "for name, text in changes.items() if name in shape}",
            tests="tests/test_updates.py -k 'refused_answer and cacheing'",
        ),
        Fault(
            "uncommitted changes are overwritten",
            "if status.stdout:",
            "if status.stderr:",
            tests="tests/test_updates.py -k 'what_cannot and dirty'",
        ),
        Fault(
            "the new commit is not recorded",
            '"commit": newest',
            '"commit": state["commit"]',
            tests="tests/test_updates.py -k newer_template",
        ),
    ],
    ".github/workflows/nightly.yml": [
        Fault(
            "an action is named by its version, which its owner can change",
            '5fda3b95a4ea91299a34e894583c3862153e4b97 # v7.0.0\n        with:\n          python-version: "3.11"',
            'v7.0.0\n        with:\n          python-version: "3.11"',
            tests="tests/test_releases.py -k pinned",
        ),
        Fault(
            "a workflow may write to the repository",
            "contents: read",
            "contents: write",
            tests="tests/test_releases.py -k least",
        ),
    ],
    ".github/ISSUE_TEMPLATE/bug.yml": [
        Fault(
            "a bug report does not ask for the answers",
            "    id: answers",
            "    id: patterns",
            tests="tests/test_releases.py -k 'form and bug'",
        ),
        Fault(
            "GitHub ignores an issue form, because it has no description",
            "description: The template or a generated project does",
            "summary: The template or a generated project does",
            tests="tests/test_releases.py -k issue-forms",
        ),
    ],
    ".pre-commit-config.yaml": [
        Fault(
            "a hook downloads its program",
            "entry: uv run --locked ruff check",
            "entry: uvx ruff check",
            tests="tests/test_releases.py -k need_no_other_host",
        ),
    ],
    "../CHANGELOG.md": [
        Fault(
            "the changelog has no link for its changes",
            "[Unreleased]: https",
            "[Unreleased] https",
            tests="tests/test_releases.py -k the_tags_agree",
        ),
    ],
    "CONTRIBUTING.md": [
        Fault(
            "contributors run the tests in their own way",
            'uv run --locked pytest -m "not matrix"',
            'uv run --locked pytest -m "not matrices"',
            tests="tests/test_releases.py -k other_documents",
        ),
    ],
    ".github/ISSUE_TEMPLATE/config.yml": [
        Fault(
            "a text has another address of the repository",
            "OWNER/mcp-server-template/security",
            "YOU/mcp-server-template/security",
            tests="tests/test_docs.py -k address",
        ),
    ],
    ".github/workflows/ci.yml": [
        Fault(
            "the checks may write to the repository",
            "permissions:\n  contents: read",
            "permissions: write-all",
            tests="tests/test_ci.py -k least_privilege",
        ),
        Fault(
            "an outdated uv.lock is updated without anybody noticing",
            "uv lock --check",
            "uv lock",
            tests="tests/test_ci.py -k fails_for_its_reason",
        ),
        Fault(
            "a vulnerable dependency passes",
            "uv audit --preview-features audit-command",
            "uv audit --preview-features audit-command || true",
            tests="tests/test_ci.py -k fails_for_its_reason",
        ),
        Fault(
            "a release cancels its own checks",
            "group: ci-",
            "group: ${{ github.workflow }}-",
            tests="tests/test_ci.py -k does_not_cancel",
        ),
        Fault(
            "an image is built for a project without a Dockerfile",
            "{% if cookiecutter.container %}",
            "{% if true %}",
            tests="tests/test_ci.py -k not_in_the_files",
        ),
    ],
    ".github/workflows/canary.yml": [
        Fault(
            "the canary installs the versions of the lock file",
            "uv run --isolated --no-project --with ./dist/*.whl scripts/canary.py",
            "uv run --locked scripts/canary.py",
            tests="tests/test_ci.py -k lock_file",
        ),
        Fault(
            "the canary runs once a month",
            "23 5 * * 1",
            "23 5 1 * *",
            tests="tests/test_ci.py -k weekly",
        ),
        Fault(
            "the checkout leaves its token in the folder",
            "persist-credentials: false",
            "persist-credentials: true",
            tests="tests/test_ci.py -k least_privilege",
        ),
    ],
    ".github/workflows/release.yml": [
        Fault(
            "the action that publishes is named by a branch",
            "dc37677b2e1c63e2034f94d8a5b11f265b73ba33 # v1.14.2",
            "release/v1",
            tests="tests/test_ci.py -k pinned_by_commit",
        ),
        Fault(
            "a failed check does not stop a release",
            "needs: [checks, sbom]",
            "needs: [sbom]",
            tests="tests/test_ci.py -k after_all_checks",
        ),
        Fault(
            "nobody has to approve a release",
            "    environment: pypi\n",
            "",
            tests="tests/test_ci.py -k after_all_checks",
        ),
        Fault(
            "a changed download is executed",
            " | sha256sum --check --strict",
            "",
            tests="tests/test_ci.py -k fails_for_its_reason",
        ),
        Fault(
            "a tag releases another version",
            'test "$GITHUB_REF_NAME" = "v$(uv version --short)"',
            "uv version --short",
            tests="tests/test_ci.py -k fails_for_its_reason",
        ),
    ],
    ".gitlab-ci.yml": [
        Fault(
            "each push to the default branch releases",
            "  cache: []\n  rules:\n    - if: $CI_COMMIT_TAG =~ /^v/",
            "  cache: []\n  rules:\n    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH",
            tests="tests/test_ci.py -k right_jobs",
        ),
        Fault(
            "GitLab runs other checks than GitHub",
            "uv run ruff format --check",
            "uv run ruff format",
            tests="tests/test_ci.py -k same_commands",
        ),
        Fault(
            "an image has no exact version",
            "gitlab-org/cli:v1.119.0",
            "gitlab-org/cli:latest",
            tests="tests/test_ci.py -k exact_version",
        ),
        Fault(
            "the release on GitLab has no wheel",
            "--use-package-registry dist/* sbom.cdx.json",
            "--use-package-registry sbom.cdx.json",
            tests="tests/test_ci.py -k every_job_on_gitlab",
        ),
        Fault(
            "the release on GitLab does not log in",
            'GLAB_ENABLE_CI_AUTOLOGIN: "true"',
            'GLAB_ENABLE_CI_AUTOLOGIN: "false"',
            tests="tests/test_ci.py -k every_job_on_gitlab",
        ),
        Fault(
            "a version is on PyPI before the release on GitLab exists",
            "  stage: publish\n",
            "",
            tests="tests/test_ci.py -k pypi_last",
        ),
        Fault(
            "GitLab does not know a key",
            "  interruptible: true",
            "  interuptible: true",
            tests="tests/test_ci.py -k schemas_accept_the_files_for_gitlab",
        ),
    ],
    "renovate.json": [
        Fault(
            "a new version is proposed on its first day",
            '"7 days"',
            '"0 days"',
            tests="tests/test_ci.py -k wait_a_week",
        ),
    ],
    "scripts/canary.py": [
        Fault(
            "the canary calls the server in one protocol era",
            '        await call("legacy")\n',
            "",
            tests="tests/test_ci.py -k lock_file",
        ),
        Fault(
            "the canary needs a tool",
            "        if not TOOL:\n",
            "        if not names:\n",
            tests="tests/test_recipe.py -k canary_runs",
        ),
        Fault(
            "the canary does not say which tools there are",
            """: {', '.join(names)}""",
            "",
            tests="tests/test_ci.py -k lock_file",
        ),
    ],
    "README.md": [
        Fault(
            "the registry does not find its marker",
            "<!-- mcp-name:",
            "<!-- name:",
            tests="tests/test_publishing.py -k owner_can_verify",
        ),
        Fault(
            "a `+` of base64 is not percent-encoded",
            '["%2B", "%2F"]',
            '["+", "/"]',
            tests="tests/test_publishing.py -k encoding_in_the_readme",
        ),
        Fault(
            "a button starts another package than the one that is published",
            '\'{"command":"uvx","args":["\' ~ slug ~',
            '\'{"command":"uvx","args":["\' ~ package ~',
            tests="tests/test_publishing.py -k new_project_says",
        ),
        Fault(
            "the README shows other commands than CI runs",
            "uv build --clear",
            "uv build",
            tests="tests/test_ci.py -k readme_shows",
        ),
        Fault(
            "Compose's decision to serve everyone also applies to other servers",
            "ALLOW_UNAUTHENTICATED=true docker compose up --build",
            "echo ALLOW_UNAUTHENTICATED=true >> .env\ndocker compose up --build",
            tests="tests/test_container.py -k 'only_compose and all'",
        ),
    ],
    ".env.example": [
        Fault(
            "the example of `.env` has the default of an earlier version",
            "# LOG_LEVEL=INFO",
            "# LOG_LEVEL=DEBUG",
        ),
    ],
    ".claude/skills/add-a-tool/SKILL.md": [
        Fault(
            "one copy of the skill has other checks",
            "   uv run mypy\n",
            "",
            tests="tests/test_agents.py -k both_copies",
        ),
    ],
    "AGENTS.md": [
        Fault(
            "the instructions name a file that the project does not have",
            "`.agents/skills/add-a-tool/SKILL.md`",
            "`.agents/skills/new-tool/SKILL.md`",
            tests="tests/test_agents.py -k 'path and none'",
        ),
    ],
    "Dockerfile": [
        Fault(
            "the server runs as root",
            "USER 65532:0",
            "USER 0:0",
            tests="tests/test_container.py -k 'restricted and all'",
        ),
        Fault(
            "the health check asks for a path that the server does not have",
            "'/livez'",
            "'/health'",
            tests="tests/test_container_stack.py -k 'first_run and own'",
        ),
        Fault(
            "an outdated lock file is ignored",
            "uv sync --locked",
            "uv sync",
            tests="tests/test_container_stack.py -k outdated",
        ),
        Fault(
            "only one user may write to the data folder",
            "-m 0770",
            "-m 0700",
            tests="tests/test_container_stack.py -k 'first_run and OpenShift'",
        ),
        Fault(
            "the image contains the linter",
            "UV_NO_DEV=1",
            "UV_NO_DEV=0",
            tests="tests/test_container_stack.py -k compiled",
        ),
        Fault(
            "Python compiles the code at each start",
            "UV_COMPILE_BYTECODE=1",
            "UV_COMPILE_BYTECODE=0",
            tests="tests/test_container_stack.py -k compiled",
        ),
        Fault(
            "the image serves everyone by default",
            "    HTTP_HOST=0.0.0.0 \\",
            "    HTTP_HOST=0.0.0.0 ALLOW_UNAUTHENTICATED=true \\",
            tests="tests/test_container_stack.py -k decision",
        ),
        Fault(
            "the default database is outside the data folder",
            "XDG_DATA_HOME=/data",
            "XDG_DATA_HOME=/app",
            tests="tests/test_container_stack.py -k first_run",
        ),
        Fault(
            "Docker replaces a dollar sign in the author's name",
            " | replace('$', '\\\\$') }} <{{",
            " }} <{{",
            tests="tests/test_container.py -k odd_texts_reach",
        ),
        Fault(
            "a client of an engine is missing in the image",
            '" --extra redis" if uses_redis',
            '" --extra redis" if cookiecutter.caching',
            tests="tests/test_container.py -k 'engines_come and state'",
        ),
    ],
    ".dockerignore": [
        Fault(
            "secrets are sent to the builder",
            "**/.env*\n",
            "",
            tests="tests/test_secrets.py -k builder",
        ),
        Fault(
            "the whole folder is sent to the builder",
            "\n*\n",
            "\n",
            tests="tests/test_container.py -k without_secrets",
        ),
    ],
    ".gitignore": [
        Fault(
            "Git adds the passwords of the Compose file",
            "secrets/\n",
            "",
            tests="tests/test_secrets.py -k 'git_adds_no and none'",
        ),
        Fault(
            "Git ignores the example of `.env`",
            "!.env.example\n",
            "",
            tests="tests/test_secrets.py -k every_file",
        ),
    ],
    "compose.yaml": [
        Fault(
            "a replica is killed before its calls are answered",
            "  stop_grace_period: {{ grace + 10 }}s\n  # Your",
            "  stop_grace_period: {{ grace }}s\n  # Your",
            tests="tests/test_container.py -k 'grace_period and all'",
        ),
        Fault(
            "a replica may write anywhere",
            "  init: true\n  read_only: true\n",
            "  init: true\n",
            tests="tests/test_container.py -k 'restricted and all'",
        ),
        Fault(
            "the name of a variable has a typo",
            "TRUSTED_PROXIES: ",
            "TRUSTED_PROXY: ",
            tests="tests/test_container.py -k 'is_a_setting and all'",
        ),
        Fault(
            "a password is in the file",
            "${POSTGRES_PASSWORD:?set it in .env}@postgres",
            "password@postgres",
            tests="tests/test_container.py -k 'password and settings'",
        ),
        Fault(
            "the replicas serve everyone by default",
            "${ALLOW_UNAUTHENTICATED:-false}",
            "${ALLOW_UNAUTHENTICATED:-true}",
            tests="tests/test_container.py -k 'nobody_is_served and all'",
        ),
        Fault(
            "each replica keeps its own state",
            "    STATE_URL: redis://valkey:6379/0\n",
            "",
            tests="tests/test_container_stack.py -k 'stack_serves and secret'",
        ),
        Fault(
            "the state is lost when Valkey is restarted",
            '--appendonly, "yes", ',
            "",
            tests="tests/test_container.py -k 'engines_come and state'",
        ),
    ],
    "deploy/nginx.conf": [
        Fault(
            "nginx excludes a replica after one refused connection",
            "server-2:8000 resolve max_fails=0;",
            "server-2:8000 resolve;",
            tests="tests/test_container.py -k 'proxy_is_configured and all'",
        ),
    ],
    "deploy/kubernetes/deployment.yaml": [
        Fault(
            "a pod is killed before its calls are answered",
            "{{ 5 + grace + 10 }}",
            "{{ grace }}",
            tests="tests/test_container.py -k 'grace_period and all'",
        ),
        Fault(
            "the pause before a pod's shutdown is not counted",
            "sleep:\n                seconds: 5",
            "sleep:\n                seconds: 15",
            tests="tests/test_container.py -k 'grace_period and all'",
        ),
        Fault(
            "a pod may write anywhere",
            "readOnlyRootFilesystem: true",
            "readOnlyRootFilesystem: false",
            tests="tests/test_container.py -k 'restricted and all'",
        ),
        Fault(
            "a replica that cannot serve gets traffic",
            "path: /readyz",
            "path: /livez",
            tests="tests/test_container.py -k 'probes_ask and all'",
        ),
        Fault(
            "pods without a shared state are started",
            '    (cookiecutter.state_management, "STATE_URL"),\n',
            "",
            tests="tests/test_container.py -k 'come_from_the_secret and all'",
        ),
        Fault(
            "a key for the API does not reach the pod",
            "              # Every other secret.\n              - secret:\n                  name: {{ name }}\n",
            "              # Every other secret.\n              - secret:\n                  name: other\n",
            tests="tests/test_container.py -k 'every_other_key and all'",
        ),
        Fault(
            "a field of a manifest has a typo",
            "terminationGracePeriodSeconds:",
            "terminationGracePeriod:",
            tests="tests/test_container.py -k 'accepts_each_manifest and all'",
        ),
    ],
    "deploy/kubernetes/network.yaml": [
        Fault(
            "no name can be resolved in OpenShift",
            "        - port: 5353\n          protocol: UDP\n",
            "",
            tests="tests/test_container.py -k 'resolved and all'",
        ),
    ],
    "deploy/kubernetes/config.env": [
        Fault(
            "the name of a variable of the cluster has a typo",
            "TRUSTED_PROXIES=",
            "TRUSTED_PROXY=",
            tests="tests/test_container.py -k 'is_a_setting and all'",
        ),
    ],
    "runtime/command.py": [
        Fault(
            "a bad setting does not have its own exit code",
            "        code = EXIT_BAD_SETTINGS\n",
            "        code = 1\n",
            processes=True,
        ),
    ],
    "server.json": [
        Fault(
            "a description for the registry ends inside a word",
            "description | truncate(100, false,",
            "description | truncate(100, true,",
            tests="tests/test_publishing.py -k shortened_description",
        ),
        Fault(
            "a description for the registry has more than 100 characters",
            "description | truncate(100, false,",
            "description | truncate(110, false,",
            tests="tests/test_publishing.py -k follows_its_schema",
        ),
        Fault(
            "an empty description is not replaced",
            '{% set description = cookiecutter.description.split() | join(" ") or cookiecutter.project_slug %}',
            '{% set description = cookiecutter.description.split() | join(" ") %}',
            tests="tests/test_publishing.py -k follows_its_schema",
        ),
        Fault(
            "the owner of a GitHub repository cannot verify the registry's name",
            '{% elif host in ["github.com", "gitlab.com"] %}\n{% set name',
            '{% elif host == "gitlab.com" %}\n{% set name',
            tests="tests/test_publishing.py -k owner_can_verify",
        ),
        Fault(
            "a key for an API is not a secret",
            '"isSecret": true',
            '"isSecret": false',
            tests="tests/test_publishing.py -k new_project_says",
        ),
    ],
    "manifest.json": [
        Fault(
            "a quote in the author's name breaks the manifest",
            "cookiecutter.author_name.split() | join(' ') | replace('\\\\', '\\\\\\\\') | replace('\"', '\\\\\"')",
            "cookiecutter.author_name.split() | join(' ') | replace('\\\\', '\\\\\\\\')",
            tests="tests/test_publishing.py -k text_is_lost",
        ),
        Fault(
            "an optional variable of a bundle gets its placeholder as the value",
            '      "default": "",\n',
            "",
            tests="tests/test_publishing.py -k new_project_says",
        ),
        Fault(
            "the description of a bundle is shortened too",
            '"description": "{{ description | replace',
            '"description": "{{ description | truncate(100) | replace',
            tests="tests/test_publishing.py -k shortened_description",
        ),
    ],
    "fastmcp.json": [
        Fault(
            "FastMCP looks for the project in the current folder",
            '  "deployment": {\n    "cwd": "."\n  }',
            '  "deployment": {}',
            tests="tests/test_installing.py -k fastmcp_inspect",
        ),
    ],
    ".mcpbignore": [
        Fault(
            "a bundle lacks the README, which its build reads",
            "!/README.md\n",
            "",
            tests="tests/test_installing.py -k bundle_starts",
        ),
        Fault(
            "secrets are packed in a bundle",
            "secrets/\n",
            "",
            tests="tests/test_secrets.py -k bundle",
        ),
    ],
    "tests/test_server.py": [
        Fault(
            "a page that calls a removed tool is overlooked",
            "if tool not in tools and f",
            "if tool in readme[:0] and f",
            tests="tests/test_recipe.py -k call_of_a_removed",
        ),
    ],
    "deploy/kubernetes/kustomization.yaml": [
        Fault(
            "Kubernetes pulls an image that CI does not push",
            'cookiecutter.ci == "gitlab" and cookiecutter.repository',
            "cookiecutter.repository",
            tests="tests/test_publishing.py -k image_that_ci_pushes",
        ),
    ],
    "tests/test_metadata.py": [
        Fault(
            "an old image in Kubernetes is overlooked",
            'return {"version": tags[0]} if tags else {}',
            "return {}",
            tests="tests/test_publishing.py -k 'change_in_one_place and Kubernetes'",
        ),
        Fault(
            "a second version in server.json is overlooked",
            'server["version"] if server["version"] == package["version"] else "two versions"',
            'server["version"]',
            tests="tests/test_publishing.py -k 'change_in_one_place and version'",
        ),
        Fault(
            "variables of the manifest that reach no server are overlooked",
            'of the bundle": [start["command"], *start["args"]],\n        "variables": {name: variables.get(value) for name, value in start.get("env", {}).items()},',
            'of the bundle": [start["command"], *start["args"]],\n        "variables": from_project()["variables"],',
            tests="tests/test_publishing.py -k 'change_in_one_place and fewer'",
        ),
    ],
}
