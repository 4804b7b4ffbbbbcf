"""The generated project's collector, for the template's own tests."""

import importlib.util
import sys
from typing import Any

from .combinations import SKELETON

_PATH = SKELETON / "tests" / "production" / "telemetry.py"
_SPEC = importlib.util.spec_from_file_location("otlp_collector", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_MODULE = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = _MODULE
_SPEC.loader.exec_module(_MODULE)

running_collector: Any = _MODULE.running_collector
attributes_of: Any = _MODULE.attributes_of
