"""The OTLP collector of the generated project's tests, for the template's own tests."""

import runpy
from typing import Any

from .combinations import SKELETON

# Use runpy, since an import would leave bytecode in the skeleton.
_MODULE = runpy.run_path(str(SKELETON / "tests" / "production" / "telemetry.py"))

running_collector: Any = _MODULE["running_collector"]
attributes_of: Any = _MODULE["attributes_of"]
