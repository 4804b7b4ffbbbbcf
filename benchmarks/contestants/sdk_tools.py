"""The example tools for SDK servers, which do not support injected parameters.

Only `process_data` is called. The other seven are only listed, with the schemas of the generated server.
"""

import json
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel


class TextStatistics(BaseModel):
    words: int
    lines: int
    characters: int


def measure_text(text: str) -> TextStatistics:
    return TextStatistics(words=len(text.split()), lines=len(text.splitlines()), characters=len(text))


def definitions() -> list[dict[str, Any]]:
    """Return the tool definitions of the generated server, from the file in the environment variable `DEFINITIONS`."""
    listed: list[dict[str, Any]] = json.loads(Path(os.environ["DEFINITIONS"]).read_text(encoding="utf-8"))
    return listed
