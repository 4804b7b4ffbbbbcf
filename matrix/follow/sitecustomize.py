"""Watches this process like its parent. Python imports this module at startup if its folder is on PYTHONPATH."""

import importlib.util
from pathlib import Path

specification = importlib.util.spec_from_file_location("matrix_audit", Path(__file__).parents[1] / "audit.py")
assert specification
assert specification.loader
audit = importlib.util.module_from_spec(specification)
specification.loader.exec_module(audit)
audit.follow_from_environment()
