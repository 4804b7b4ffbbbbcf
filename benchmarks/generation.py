"""Measure generation from the command line, compared with a minimal template of one file.

uv run python -m benchmarks.generation
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from .measure import TEMPLATE, compare, cpu_seconds, report

ROUNDS = 15
BAR = 1.6


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder, "bare")
        project = bare / "{{cookiecutter.project_slug}}"
        project.mkdir(parents=True)
        (bare / "cookiecutter.json").write_text(json.dumps({"project_slug": "bare"}))
        (project / "server.py").write_text("name = '{{cookiecutter.project_slug}}'\n")
        output = Path(folder, "output")

        def generate(template: Path) -> float:
            shutil.rmtree(output, ignore_errors=True)
            command = [sys.executable, "-m", "cookiecutter", str(template), "--no-input", "-o", str(output)]
            return cpu_seconds(command)

        result = compare(lambda: generate(TEMPLATE), lambda: generate(bare), ROUNDS)
    report("generation, CPU", "s", result, BAR)


if __name__ == "__main__":
    main()
