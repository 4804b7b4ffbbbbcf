"""The flags of the command, without other imports: `--help` and `--version` answer at once."""

import argparse
import os


def parse_flags(program: str, version: str) -> None:
    """Set the environment variable of each flag, for this process and for its workers.

    Values are checked together with those of the environment, with the same messages. `--help` and
    `--version` print to stdout and exit with code 0, an unknown flag exits with code 2.
    """
    parser = argparse.ArgumentParser(prog=program, description="Serve MCP over stdio or HTTP.")
    parser.add_argument("--transport", metavar="{stdio,http}", help="default: stdio")
    parser.add_argument("--host", dest="http_host", help="default: 127.0.0.1")
    parser.add_argument("--port", dest="http_port", help="default: 8000")
    parser.add_argument("--workers", help="processes; default: 1")
    parser.add_argument("--version", action="version", version=f"{program} {version}")
    for name, value in vars(parser.parse_args()).items():
        if value is not None:
            os.environ[name.upper()] = value
