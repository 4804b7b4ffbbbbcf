"""The contract's tools for servers on the SDK, which knows nothing of injected parameters.

Only `process_data` is called; the other seven are there to be listed, with the generated server's own schemas.
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
    """Return what the generated server lists, from the file that the variable `DEFINITIONS` names."""
    listed: list[dict[str, Any]] = json.loads(Path(os.environ["DEFINITIONS"]).read_text(encoding="utf-8"))
    return listed
