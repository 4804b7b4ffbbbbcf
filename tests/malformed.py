"""Malformed messages, generated from a small grammar: the same ones in every run."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .running import HANDSHAKE, META, MODERN, headers_of, http_request, message, tool_call

# One value of each kind. Each field below lists the kinds that are invalid there.
KINDS: dict[str, Any] = {
    "null": None,
    "true": True,
    "number": 5,
    "fraction": 1.5,
    "empty": "",
    "list": [],
    "full list": [{"a": 1}],
    "object": {},
    "long": "x" * 3000,
    "control characters": "\0\x1b[31m\n",
    "emoji": "\N{ROCKET}" * 700,
    "huge": 10**400,
}
NO_TEXT = {kind for kind, value in KINDS.items() if not isinstance(value, str)}
NO_OBJECT = set(KINDS) - {"object"}
NO_ID = set(KINDS) - {"number", "empty", "control characters"}

# Methods of each era whose parameters are checked, with one parameter each.
METHODS = {
    HANDSHAKE: {
        "initialize": "clientInfo",
        "tools/call": "name",
        "resources/read": "uri",
        "prompts/get": "name",
        "logging/setLevel": "level",
        "resources/subscribe": "uri",
    },
    MODERN: {
        "tools/call": "name",
        "resources/read": "uri",
        "prompts/get": "name",
        "completion/complete": "ref",
    },
}
ARGUMENTS: dict[str, Any] = {
    "unknown key": {"text": "a", "other": 1},
    "ten thousand unknown keys": {f"key{number}": number for number in range(10_000)},
    "long keys": {f"{'key' * 1000}{number}": 1 for number in range(5)},
    "keys in emoji": {"\N{ROCKET}" * 200 + str(number): 1 for number in range(5)},
    "keys of quotes": {'"' * 200 + str(number): 1 for number in range(5)},
    "keys of control characters": {"\0" * 200 + str(number): 1 for number in range(5)},
    "too long a text": {"text": "x" * 200_000},
    "nothing": {},
    "the wrong case": {"TEXT": "a"},
}


def wrong_messages(era: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield messages that are JSON objects with one defect each."""
    good = tool_call(era, "process_data", {"text": "a"})
    params: dict[str, Any] = good["params"]
    for field in ("jsonrpc", "method", "params"):
        yield f"no {field}", {name: value for name, value in good.items() if name != field}
    for field, wrong in {
        "jsonrpc": set(KINDS),
        "id": NO_ID,
        "method": set(KINDS),
        "params": NO_OBJECT,
    }.items():
        yield from ((f"{field} is {kind}", {**good, field: KINDS[kind]}) for kind in sorted(wrong))
    yield "params is object", {**good, "params": {}}
    yield "a number for a version", {**good, "jsonrpc": 2.0}
    for version in ("1.0", "2", "2.0.0"):
        yield f"jsonrpc {version}", {**good, "jsonrpc": version}
    for field, wrong in {"name": set(KINDS), "arguments": NO_OBJECT - {"null"}}.items():
        changed = ((kind, {**params, field: KINDS[kind]}) for kind in sorted(wrong))
        yield from ((f"{field} is {kind}", {**good, "params": value}) for kind, value in changed)
    yield "no name", {**good, "params": {name: value for name, value in params.items() if name != "name"}}
    for kind in sorted(NO_TEXT):
        yield f"text is {kind}", tool_call(era, "process_data", {"text": KINDS[kind]})
    yield from ((name, tool_call(era, "process_data", value)) for name, value in ARGUMENTS.items())
    for method, field in METHODS[era].items():
        request = message(era, method)
        for kind in sorted(set(KINDS) - {"object"} if method == "tools/call" else KINDS):
            yield (
                f"{method} with {field} {kind}",
                {**request, "params": {**request["params"], field: KINDS[kind]}},
            )
    for method in (
        "nope",
        "tools/nope",
        "tools",
        "rpc.discover",
        "__class__",
        "TOOLS/CALL",
        "tools/call ",
        "x" * 3000,
    ):
        yield f"method {method[:20]}", message(era, method)
    yield from wrong_metadata(good)


def wrong_metadata(good: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield messages with a `_meta` that is not an object or violates the 2026-07-28 revision."""
    params = good["params"]
    for kind in sorted(NO_OBJECT - {"null"}):
        yield f"_meta is {kind}", {**good, "params": {**params, "_meta": KINDS[kind]}}
    if "_meta" not in params:
        return
    for field in META:
        for kind in sorted(NO_OBJECT):
            if (field.rpartition("/")[2], kind) != ("clientInfo", "null"):
                yield (
                    f"{field} is {kind}",
                    {**good, "params": {**params, "_meta": {**META, field: KINDS[kind]}}},
                )


# The order of members in the Python SDK, the TypeScript SDK and the JSON-RPC specification.
ORDERS = (
    ("jsonrpc", "id", "method", "params"),
    ("method", "params", "jsonrpc", "id"),
    ("jsonrpc", "method", "params", "id"),
)


def wrong_bodies(era: str, order: Sequence[str] = ORDERS[0]) -> Iterator[tuple[str, bytes]]:
    """Yield bodies with broken syntax; their members have the given order."""
    message = tool_call(era, "process_data", {"text": "a"})
    good = json.dumps({member: message[member] for member in order}).encode()
    yield from {
        "nothing": b"",
        "spaces": b"  \n",
        "NUL": b"\0",
        "a word": b"hello",
        "a form": b"jsonrpc=2.0&method=ping",
        "XML": b"<?xml version='1.0'?><methodCall/>",
        "null": b"null",
        "a number": b"5",
        "NaN": b"NaN",
        "NaN in the arguments": good.replace(b'"a"', b"NaN"),
        "a text": b'"ping"',
        "an empty batch": b"[]",
        "a batch of one": b"[" + good + b"]",
        "a batch of two": b"[" + good + b"," + good + b"]",
        "a batch of numbers": b"[1, 2, 3]",
        "half a message": good[: len(good) // 2],
        "all but the last brace": good[:-1],
        "trailing garbage": good + b"x",
        "two messages": good + b"\n" + good,
        "trailing NUL": good + b"\0",
        "a byte order mark": b"\xef\xbb\xbf" + good,
        "UTF-16": good.decode().encode("utf-16"),
        "UTF-32": good.decode().encode("utf-32"),
        "Latin-1": good.replace(b'"a"', b'"\xe4"'),
        "half a character": good.replace(b'"a"', b'"\xf0\x9f"'),
        "a lone surrogate": good.replace(b'"a"', b'"\\ud800"'),
        "half a pair of surrogates": good.replace(b'"a"', b'"x\\ud83d"'),
        "an unknown escape": good.replace(b'"a"', b'"\\x41"'),
        "a raw newline in a text": good.replace(b'"a"', b'"a\nb"'),
        "single quotes": good.replace(b'"', b"'"),
        "a comment": b"/* hello */" + good,
        "a trailing comma": good[:-1] + b",}",
        "a number of 5,000 digits": good.replace(b'"a"', b"1" * 5000),
        "deep lists": b"[" * 100_000,
        "deep objects": b'{"a":' * 100_000,
        "deep arguments": good.replace(b'"a"', b"[" * 50_000 + b"]" * 50_000),
        "the method twice, badly": good[:-1] + b', "method": 5}',
        "the id twice, badly": good[:-1] + b', "id": [1]}',
        "the params twice, badly": good[:-1] + b', "params": "x"}',
        "gzip": b"\x1f\x8b\x08\x00" + b"\0" * 16,
    }.items()


def wrong_headers(era: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the headers of a good message with one defect each."""
    names = {
        "Content-Type": ["", "text/plain", "application/xml", "multipart/form-data", "json"],
        "Accept": ["", "text/html", "image/*", "application/json;q=x"],
        "MCP-Protocol-Version": ["1999-01-01", "2.0", "latest", "x" * 3000, "\xe4"],
        "Host": ["evil.example", "127.0.0.1.evil.example", "", "[::1", "user@127.0.0.1"],
        "Origin": ["https://evil.example", "http://127.0.0.1.evil.example", "file://"],
        "Content-Length": ["-1", "x", "1e3", "0x10", "99999999999999999999999"],
        "Transfer-Encoding": ["gzip", "chunked, chunked", "x"],
        "Bad Name": ["x"],
        "": ["x"],
    }
    if era == MODERN:
        names |= {
            "Mcp-Method": ["", "tools/list", "TOOLS/CALL", "x" * 3000],
            "Mcp-Name": ["", "other", "x" * 3000],
        }
    good = headers_of(era, tool_call(era, "process_data", {"text": "a"}))
    for name, values in names.items():
        for value in values:
            yield f"{name} {value[:20]}", {**good, name: value}


def wrong_requests(address: str) -> Iterator[tuple[str, bytes]]:
    """Yield requests that the server must reject regardless of their body."""
    rest = f" /mcp HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n"
    yield from (
        (method, f"{method}{rest}Accept: application/json, text/event-stream\r\n\r\n".encode())
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "NOPE")
    )
    yield from {
        "not HTTP": b"hello\r\n\r\n",
        "no version": b"POST /mcp\r\n\r\n",
        "a future version": b"POST /mcp HTTP/9.9\r\nHost: x\r\nConnection: close\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32 + b"\r\n\r\n",
        "a header of 200 KB": f"POST{rest}X: ".encode() + b"y" * 200_000,
        "NUL in a header": f"POST{rest}X: a\0b\r\n\r\n".encode(),
        "no colon": f"POST{rest}nonsense\r\n\r\n".encode(),
        "no host": b"POST /mcp HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "a chunk without a size": f"POST{rest}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode(),
        "another path": f"POST /nope HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode(),
        "a path to a parent": f"GET /../../etc/passwd HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n".encode(),
    }.items()


def malformed(era: str, address: str) -> dict[str, bytes]:
    """Return complete HTTP requests, by the name of their defect."""
    good = tool_call(era, "process_data", {"text": "a"})
    requests = dict(wrong_requests(address))
    for name, wrong in wrong_messages(era):
        requests[name] = posted(address, json.dumps(wrong).encode(), mirrored(era, wrong))
    for name, body in wrong_bodies(era):
        requests[f"body: {name}"] = posted(address, body, headers_of(era, good))
    for name, headers in wrong_headers(era):
        requests[f"header: {name}"] = posted(address, json.dumps(good).encode(), headers)
    return requests


def mirrored(era: str, wrong: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers for a message. They repeat its defects, unless a header cannot contain them."""
    params = wrong.get("params")
    repeatable = {"method": wrong.get("method"), "params": params if isinstance(params, dict) else {}}
    headers = headers_of(era, repeatable)
    return {name: value for name, value in headers.items() if value.isascii() and value.isprintable()}


def posted(address: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    own = {name: headers[name] for name in headers if name in ("Host", "Content-Length")}
    request = http_request(address, body, {name: headers[name] for name in headers if name not in own})
    for name, value in own.items():
        head, _, rest = request.partition(f"{name}: ".encode())
        request = head + f"{name}: {value}".encode() + rest[rest.index(b"\r\n") :]
    return request
