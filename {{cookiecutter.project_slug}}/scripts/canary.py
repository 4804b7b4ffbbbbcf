"""Call the installed server as a client does, in both protocol eras.

The wheel gets the newest dependencies that it allows, as for users, who have no uv.lock:

    uv build --clear
    uv run --isolated --no-project --with ./dist/*.whl scripts/canary.py
"""

import asyncio
import logging
import shutil
import sys
from typing import Literal

from fastmcp import Client
from fastmcp.client.transports import StdioTransport

COMMAND = "{{ cookiecutter.project_slug }}"
# A call that must succeed. Without a tool, only the handshake must.
TOOL = "process_data"
ARGUMENTS = {"text": "Hello, world"}
TIMEOUT_SECONDS = 60

logger = logging.getLogger(__name__)


async def call(mode: Literal["auto", "legacy"]) -> None:
    """Shake hands with the server, list its tools, and call one of them."""
    command = shutil.which(COMMAND)
    if command is None:
        sys.exit(f"{COMMAND} is not installed")
    async with Client(StdioTransport(command, []), mode=mode) as client:
        names = [tool.name for tool in await client.list_tools()]
        if not TOOL:
            logger.info("mode %s: %d tools", mode, len(names))
            return
        if TOOL not in names:
            sys.exit(f"There is no tool {TOOL}. Name one in {__file__}: {', '.join(names)}")
        result = await client.call_tool(TOOL, ARGUMENTS)
    logger.info("%s, mode %s: %s", TOOL, mode, result.structured_content)


async def main() -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await call("auto")
        await call("legacy")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asyncio.run(main())
