"""Minimal clients on raw streams, which use little CPU time compared with the server.

They send the same messages as FastMCP's `Client`: in mode `auto` for the stateless era, in `legacy` for the handshake
era.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Any, Literal

Era = Literal["stateless", "handshake"]

STATELESS = "2026-07-28"
HANDSHAKE = "2025-11-25"
TEXT = "tea for two"
EXPECTED = {"words": 3, "lines": 1, "characters": 11}
LIMIT = 1 << 20
PATIENCE_SECONDS = 60
CLIENT = {"name": "benchmark", "version": "1"}
INITIALIZE = {"protocolVersion": HANDSHAKE, "capabilities": {}, "clientInfo": CLIENT}
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": STATELESS,
    "io.modelcontextprotocol/clientInfo": CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/logLevel": "debug",
}


class UnexpectedAnswerError(Exception):
    """The server returned an unexpected answer."""


class RawClient(ABC):
    """A client that makes one call at a time."""

    def __init__(self, era: Era) -> None:
        self.era = era
        self._number = 0
        self._greeted = False
        self._tool = "process_data"

    async def call(self) -> None:
        """Call `process_data`.

        Raises:
            UnexpectedAnswerError: the answer is wrong.
        """
        result = await self.call_tool("process_data", {"text": TEXT})
        if result.get("isError") or result.get("structuredContent") != EXPECTED:
            raise UnexpectedAnswerError(str(result)[:500])

    async def call_tool(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool and return its result, which may be an error."""
        self._tool = tool
        return await self._request("tools/call", {"name": tool, "arguments": arguments})

    @abstractmethod
    async def connect(self) -> None:
        """Connect. Reuse the session of an earlier connection."""

    @abstractmethod
    async def disconnect(self) -> None:
        """Close the connection, before the server closes it as idle."""

    async def _greet(self) -> None:
        if self.era == "handshake" and not self._greeted:
            self._greeted = True
            await self._request("initialize", INITIALIZE)
            await self._send(
                self._message("notifications/initialized", {}), "notifications/initialized", None
            )

    async def _request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        meta: dict[str, Any] = dict(ENVELOPE) if self.era == "stateless" else {}
        if method == "tools/call":
            meta["progressToken"] = self._number
        if meta:
            params = {**params, "_meta": meta}
        answer = await self._send(self._message(method, params, id=self._number), method, self._number)
        message = json.loads(answer)
        if message.get("id") != self._number or "result" not in message:
            raise UnexpectedAnswerError(answer[:500].decode())
        result: dict[str, Any] = message["result"]
        return result

    @staticmethod
    def _message(method: str, params: dict[str, Any], **more: int) -> bytes:
        return json.dumps({"jsonrpc": "2.0", **more, "method": method, "params": params}).encode()

    @abstractmethod
    async def _send(self, message: bytes, method: str, number: int | None) -> bytes:
        """Send a message. Return the response, which is not used for a notification."""


class HttpClient(RawClient):
    """Streamable HTTP over one persistent connection."""

    def __init__(self, port: int, era: Era) -> None:
        super().__init__(era)
        self._port = port
        self._session = b""

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, limit=LIMIT)
        await self._greet()

    async def disconnect(self) -> None:
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _send(self, message: bytes, method: str, number: int | None) -> bytes:
        headers = [
            "POST /mcp HTTP/1.1",
            f"Host: 127.0.0.1:{self._port}",
            "Accept: application/json, text/event-stream",
            "Content-Type: application/json",
            f"Content-Length: {len(message)}",
        ]
        if self.era == "stateless":
            headers += [
                f"MCP-Protocol-Version: {STATELESS}",
                f"Mcp-Method: {method}",
                f"Mcp-Name: {self._tool}",
            ]
        elif method != "initialize":
            headers += [f"MCP-Protocol-Version: {HANDSHAKE}"]
        head = "\r\n".join(headers).encode()
        self._writer.write(head + self._session + b"\r\n\r\n" + message)
        async with asyncio.timeout(PATIENCE_SECONDS):
            status, fields, body = await self._read()
        if status != (202 if number is None else 200):
            raise UnexpectedAnswerError(f"{status}: {body[:500].decode()}")
        if session := fields.get(b"mcp-session-id"):
            self._session = b"\r\nMcp-Session-Id: " + session
        if b"text/event-stream" in fields.get(b"content-type", b""):
            return _event(body, number)
        return body

    async def _read(self) -> tuple[int, dict[bytes, bytes], bytes]:
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        pairs = (line.split(b":", 1) for line in lines)
        fields = {name.strip().lower(): value.strip() for name, value in pairs}
        status = int(first.split(b" ", 2)[1])
        if length := fields.get(b"content-length"):
            return status, fields, await self._reader.readexactly(int(length))
        body = bytearray()
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            body += (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)
        return status, fields, bytes(body)


class StdioClient(RawClient):
    """A client that talks to its own server process over pipes."""

    def __init__(self, era: Era, process: asyncio.subprocess.Process) -> None:
        super().__init__(era)
        self._process = process

    async def connect(self) -> None:
        await self._greet()

    async def disconnect(self) -> None:
        """Leave the pipes open."""

    async def _send(self, message: bytes, method: str, number: int | None) -> bytes:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(message + b"\n")
        if number is None:
            return b""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while line := await stdout.readline():
                if json.loads(line).get("id") == number:
                    return line
        raise UnexpectedAnswerError(f"the server has ended before it answered {method}")


def _event(stream: bytes, number: int | None) -> bytes:
    """Return the message with the id `number` from an event stream."""
    for line in stream.splitlines():
        if line.startswith(b"data:") and b'"id"' in line:
            data = line.removeprefix(b"data:").strip()
            if json.loads(data).get("id") == number:
                return data
    raise UnexpectedAnswerError(stream[:500].decode())
