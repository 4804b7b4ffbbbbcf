"""MCP over HTTP by hand, in both protocol eras: a client would hide what the checklist examines."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import anyio
import httpx2

Era = Literal["2026-07-28", "2025-11-25"]
STATELESS: Era = "2026-07-28"
HANDSHAKE: Era = "2025-11-25"
ERAS: tuple[Era, Era] = (STATELESS, HANDSHAKE)
# The modes of FastMCP's client for them.
MODES = ("auto", "legacy")
CLIENT = {"name": "checklist", "version": "1"}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientInfo": CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}
GREETING = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": CLIENT}
ACCEPT = {"Accept": "application/json, text/event-stream"}
PATIENCE_SECONDS = 30
MOST_BYTES = 16 * 2**20
MOST_SHOWN = 160


class NotMcp(Exception):
    """One sentence on why the server at a URL is not an MCP server."""


@dataclass(frozen=True)
class Answer:
    """The answer to a POST; `message` is empty if it was not JSON-RPC."""

    status: int
    kind: str
    text: str
    message: dict[str, Any]
    session: str = ""

    @property
    def result(self) -> dict[str, Any] | None:
        result = self.message.get("result")
        return result if isinstance(result, dict) else None

    @property
    def is_probe(self) -> bool:
        return self.status in {200, 503} and self.kind != "text/html"

    @property
    def served(self) -> bool:
        return self.result is not None

    def __str__(self) -> str:
        error = self.message.get("error")
        said = str(error.get("message")).partition("\n")[0] if isinstance(error, dict) else ""
        return f"HTTP {self.status}" + (f", {said[:MOST_SHOWN]}" if said else "")


def client(token: str) -> httpx2.AsyncClient:
    """Create a client that sends `token`, and does not follow redirects."""
    headers = {**ACCEPT, "Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return httpx2.AsyncClient(headers=headers, timeout=PATIENCE_SECONDS)


@dataclass(frozen=True)
class Server:
    """An MCP server at a URL."""

    url: str = field(repr=False)
    http: httpx2.AsyncClient = field(repr=False)
    token: str = field(default="", repr=False)

    async def post(self, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """Send bytes as they are, and anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        with anyio.fail_after(PATIENCE_SECONDS):
            async with self.http.stream(
                "POST", self.url, content=content, headers=headers
            ) as response:
                kind = media_type(response)
                text = await read(response, kind)
        text = text.replace(self.token, "[token]") if self.token else text
        session = response.headers.get("Mcp-Session-Id", "")
        return Answer(response.status_code, kind, text, message_in(text, kind), session)

    async def get(self, path: str) -> Answer:
        """Request a path of the same host."""
        parts = urlsplit(self.url)
        response = await self.http.get(f"{parts.scheme}://{parts.netloc}{path}")
        return Answer(response.status_code, media_type(response), "", {})

    async def ask(self, era: Era, method: str, **params: Any) -> Answer:
        """Send a request like a client of the era."""
        if era == STATELESS:
            body = request(method, **params, _meta=ENVELOPE)
            return await self.post(body, stateless_headers(body))
        async with self.session() as headers:
            return await self.post(request(method, **params), headers)

    async def greet(
        self, era: Era, headers: Mapping[str, str] | None = None, **params: Any
    ) -> Answer:
        """Send the first request of a client, and clean up."""
        if era == STATELESS:
            body = request("server/discover", **params, _meta=ENVELOPE)
            return await self.post(body, {**stateless_headers(body), **(headers or {})})
        greeting = await self._initialize(headers, **params)
        await self._end(greeting)
        return greeting

    async def greetings(self) -> dict[Era, Answer]:
        return {era: await self.greet(era) for era in ERAS}

    async def eras(self) -> list[Era]:
        """Return the eras that the server speaks."""
        return [era for era, answer in (await self.greetings()).items() if answer.served]

    async def era(self) -> Era:
        return (await self.eras())[0]

    @asynccontextmanager
    async def session(self) -> AsyncIterator[dict[str, str]]:
        """Shake hands, yield the headers of what follows, and end the session if there is one."""
        greeting = await self._initialize()
        headers = {"MCP-Protocol-Version": version_of(greeting)}
        if greeting.session:
            headers["Mcp-Session-Id"] = greeting.session
        await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
        try:
            yield headers
        finally:
            await self._end(greeting)

    async def tools(self, era: Era) -> list[dict[str, Any]]:
        """List every tool, page by page; empty if the server has no tools."""
        found: list[dict[str, Any]] = []
        page: dict[str, Any] = {}
        while True:
            result = (await self.ask(era, "tools/list", **page)).result or {}
            found += result.get("tools", [])
            if not result.get("nextCursor"):
                return found
            page = {"cursor": result["nextCursor"]}

    async def _initialize(self, headers: Mapping[str, str] | None = None, **params: Any) -> Answer:
        return await self.post(request("initialize", **GREETING, **params), headers)

    async def _end(self, greeting: Answer) -> None:
        if greeting.session:
            version = version_of(greeting)
            headers = {"Mcp-Session-Id": greeting.session, "MCP-Protocol-Version": version}
            await self.http.delete(self.url, headers=headers)


def request(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def stateless_headers(body: dict[str, Any]) -> dict[str, str]:
    """Return the headers that repeat the body for gateways."""
    headers = {"MCP-Protocol-Version": STATELESS, "Mcp-Method": body["method"]}
    name = body["params"].get("name")
    return {**headers, "Mcp-Name": name} if name else headers


def version_of(greeting: Answer) -> str:
    return str((greeting.result or {}).get("protocolVersion", HANDSHAKE))


def media_type(response: httpx2.Response) -> str:
    return str(response.headers.get("Content-Type", "")).partition(";")[0]


async def read(response: httpx2.Response, kind: str) -> str:
    """Read a body; an event stream only up to the answer."""
    text = ""
    async for piece in response.aiter_text():
        text += piece
        if len(text) > MOST_BYTES or (kind == "text/event-stream" and message_in(text, kind)):
            break
    return text


def message_in(text: str, kind: str) -> dict[str, Any]:
    """Return the result or error in a body, or nothing."""
    for part in events(text) if kind == "text/event-stream" else [text]:
        try:
            message = json.loads(part)
        except ValueError:
            continue
        if isinstance(message, dict) and message.keys() & {"result", "error"}:
            return message
    return {}


def events(stream: str) -> Iterator[str]:
    """Return the data of each whole event of a stream."""
    for event in stream.replace("\r\n", "\n").split("\n\n")[:-1]:
        lines = [line for line in event.split("\n") if line.startswith("data:")]
        yield "\n".join(line.removeprefix("data:").removeprefix(" ") for line in lines)


async def find(url: str, token: str) -> None:
    """Make sure that an MCP server answers.

    Raises:
        NotMcp: none does.
    """
    try:
        async with client(token) as http:
            server = Server(url, http, token)
            greetings = await server.greetings()
            if not any(greeting.served for greeting in greetings.values()):
                raise NotMcp(f"{without_secrets(url)} {describe(greetings[HANDSHAKE], token)}")
    except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise NotMcp(f"{without_secrets(url)} does not answer: {reason}") from error


def without_secrets(url: str) -> str:
    """Return a URL without its password and its query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def describe(answer: Answer, token: str) -> str:
    """Describe what answers if it is not an MCP server."""
    match answer.status:
        case 401 | 403 if token:
            return f"refuses the token of CHECKLIST_TOKEN (HTTP {answer.status})"
        case 401 | 403:
            return f"requires a token: set CHECKLIST_TOKEN (HTTP {answer.status})"
        case 301 | 302 | 303 | 307 | 308:
            return f"redirects elsewhere (HTTP {answer.status}): give the URL that it leads to"
        case 404:
            return "does not exist (HTTP 404): the path of most servers is /mcp"
        case 405:
            return (
                "accepts no messages (HTTP 405): it is not an MCP endpoint, or it uses the old SSE"
                " transport, which the checklist does not support"
            )
    page = " with a web page" if answer.kind == "text/html" else ""
    return f"answers{page} (HTTP {answer.status}), but not as an MCP server"
