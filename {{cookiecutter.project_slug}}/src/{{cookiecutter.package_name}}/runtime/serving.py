"""How the server is served. The command line's flags set the variables of the same name."""

import signal
from typing import Literal

from pydantic import Field

from ..settings import CommaSeparated, Settings

# Those that there are: Windows has Ctrl-Break instead of SIGTERM.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name)
)


class ServingSettings(Settings):
    transport: Literal["stdio", "http"] = "stdio"
    http_host: str = "127.0.0.1"
    http_port: int = Field(8000, ge=0, le=65535)
    workers: int = Field(1, ge=1, le=64)
    allowed_hosts: CommaSeparated = ()
    allowed_origins: CommaSeparated = ()
    allow_unauthenticated: bool = False
    http_sessions: bool = False
    shutdown_delay_seconds: float = Field(0, ge=0, le=600)
    shutdown_grace_seconds: float = Field(20, ge=0, le=600)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
