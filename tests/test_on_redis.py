"""The patterns of a rendered project on a real server: `tests/on_redis` runs with the code of that project."""

import subprocess
import sys

import pytest

from .combinations import TEMPLATE
from .conftest import Bake
from .engines import redis_program

pytestmark = [
    pytest.mark.engines,
    pytest.mark.skipif(sys.platform == "win32", reason="the engines do not run on Windows"),
]


def test_the_patterns_share_through_a_real_server(bake: Bake) -> None:
    redis_program()  # skips the test if there is none
    project = bake()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "anyio", "-p", "no:cacheprovider", "tests/on_redis"],
        cwd=TEMPLATE,
        env=project.environment(ENGINE_TESTS="1", PYTEST_DISABLE_PLUGIN_AUTOLOAD=""),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
