"""The tutorial works as written: its commands run in order, with the files that it shows."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from uv import find_uv_bin

from .combinations import TEMPLATE
from .running import PATIENCE_SECONDS, free_port, nginx, wait_for_port
from .user import IDENTITY, User

PAGE = (TEMPLATE / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"^(?P<runs_on><!-- runs until Ctrl\+C -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$",
    flags=re.DOTALL | re.MULTILINE,
)
PORT = "8000"
PUBLIC = "https://mcp.example.com"
# The machine determines which packages uv installs. Everything else comes from the tutorial.
FROM_THE_MACHINE = re.compile(
    r"PATH|UV_(DEFAULT_INDEX|INDEX|INDEX_URL|FIND_LINKS|OFFLINE)|SSL_CERT_FILE|(?i:https?_proxy|no_proxy)"
)


class Block(NamedTuple):
    """A code block, and the text between it and the previous one."""

    language: str
    code: str
    text_above: str
    runs_on: bool


def blocks(page: str) -> Iterator[Block]:
    end = 0
    for found in BLOCK.finditer(page):
        yield Block(found["language"], found["code"], page[end : found.start()], bool(found["runs_on"]))
        end = found.end()


@dataclass
class Reader:
    """Follows the tutorial on a machine that has only uv, git and the clone."""

    folder: Path
    environment: dict[str, str]
    port: int
    public_port: int
    printed: str = ""
    servers: ExitStack = field(default_factory=ExitStack)

    def follow(self, block: Block) -> None:
        if block.runs_on:
            self.serve(block.code)
        elif block.language == "sh":
            self.run(block.code)
        elif block.language == "python":
            self.edit(block)
        else:
            assert json.loads(block.code) == json.loads(self.printed)

    def run(self, code: str) -> None:
        run = subprocess.run(
            ["sh", "-e", "-c", code],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert run.returncode == 0, f"{code}\n{run.stdout[-4000:]}\n{run.stderr[-4000:]}"
        self.printed = run.stdout
        for folder in re.findall(r"^cd (\S+)$", code, flags=re.MULTILINE):
            self.folder /= folder

    def serve(self, code: str) -> None:
        self.stop()
        self.servers.enter_context(self.served(code))
        if "PUBLIC_URL" in code:
            readme = (self.folder / "README.md").read_text(encoding="utf-8")
            location = readme.split("```nginx\n")[1].split("```")[0].replace(PORT, str(self.port))
            listening = f"server {{ listen 127.0.0.1:{self.public_port}; {location} }}"
            self.servers.enter_context(nginx(self.folder.parent, self.public_port, listening))

    @contextmanager
    def served(self, code: str) -> Iterator[None]:
        """Run a command in its own terminal, and press Ctrl+C at the end."""
        with subprocess.Popen(
            ["sh", "-c", code], cwd=self.folder, env=self.environment, start_new_session=True
        ) as process:
            wait_for_port(self.port)
            try:
                yield
            finally:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        self.servers.close()

    def edit(self, block: Block) -> None:
        """Write the file that the text above the block names, or add the lines to the server as described."""
        if created := re.search(r"Create `(\S+)`:\s*$", block.text_above):
            path = self.folder / created[1]
            assert not path.exists()
            path.write_text(block.code, encoding="utf-8")
            return
        path = self.folder / "src" / "date_tools" / "server.py"
        text = path.read_text(encoding="utf-8")
        if block.code.startswith("from .tools."):
            *_, last = re.finditer(r"^from \.tools\.\w+ import \w+\n", text, flags=re.MULTILINE)
            text = text[: last.end()] + block.code + text[last.end() :]
        else:
            assert text.count("    ],\n    mask_error_details") == 1
            text = text.replace(
                "    ],\n    mask_error_details", f"{block.code}    ],\n    mask_error_details"
            )
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def reader(user: User, published: Path, tmp_path: Path) -> Iterator[Reader]:
    """Return a reader whose clone of the template is in an empty folder."""
    folder = tmp_path / "projects"
    folder.mkdir()
    user.git("clone", "--quiet", str(published), str(folder / "mcp-server-template"), cwd=folder)
    cache = subprocess.run([find_uv_bin(), "cache", "dir"], capture_output=True, text=True, check=True)
    kept = {name: value for name, value in os.environ.items() if FROM_THE_MACHINE.fullmatch(name)}
    programs = str(Path(find_uv_bin()).parent)
    environment = {
        **kept,
        **IDENTITY,
        "PATH": os.pathsep.join([programs, kept["PATH"]]),
        "HOME": str(tmp_path / "home"),
        "UV_CACHE_DIR": cache.stdout.strip(),
    }
    port = free_port()
    public_port = free_port()
    reader = Reader(folder, environment, port, public_port)
    yield reader
    reader.stop()


@pytest.mark.matrix
@pytest.mark.skipif(sys.platform == "win32", reason="its commands are for a POSIX shell")
def test_a_reader_who_follows_the_tutorial_has_a_tested_tool_behind_nginx(reader: Reader) -> None:
    """Only the port and the address of the host differ from the page."""
    page = PAGE.replace(PORT, str(reader.port)).replace(PUBLIC, f"http://127.0.0.1:{reader.public_port}")
    promised = ""
    for block in blocks(page):
        for promise in re.findall(r"It returns `(.+?)`", block.text_above):
            assert promise in reader.printed
            promised += promise
        reader.follow(block)
    assert promised == '"days": 357'
    assert " hold" in reader.printed
    log = subprocess.run(
        ["git", "log", "--format=%s", "--reverse"],
        cwd=reader.folder,
        env=reader.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert log.stdout == "Generate the project\nCount the days between dates\n"


def test_every_code_block_of_the_tutorial_is_followed() -> None:
    found = list(blocks(PAGE))
    assert PAGE.count("\n```") == 2 * len(found)
    assert {block.language for block in found} == {"", "python", "sh"}
    assert [block for block in found if block.runs_on]
    assert all(block.language == "sh" for block in found if block.runs_on)
