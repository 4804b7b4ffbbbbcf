"""Generate the server with every pattern for the benchmarks."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from cookiecutter.main import cookiecutter

from .measure import TEMPLATE


@contextmanager
def generated_server(**answers: object) -> Iterator[Path]:
    """Generate a project, by default with the package `benchmarked`. Yield the folder to add to `sys.path`."""
    names = {"project_slug": "benchmarked", "package_name": "benchmarked"}
    with TemporaryDirectory() as folder:
        path = cookiecutter(
            str(TEMPLATE), no_input=True, output_dir=folder, extra_context={**names, **answers}
        )
        yield Path(path) / "src"


@contextmanager
def importable(source: Path) -> Iterator[None]:
    sys.path.insert(0, str(source))
    try:
        yield
    finally:
        sys.path.remove(str(source))
