"""Loads the hooks as modules, so that tests can call their functions."""

import ast
import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from .combinations import TEMPLATE

HOOKS = ("pre_gen_project", "post_gen_project")
PLACE = "{{ cookiecutter | tojson }}"


def load_hook(name: str, answers: Mapping[str, Any] | None = None) -> ModuleType:
    """Load a hook without running it."""
    source = (TEMPLATE / "hooks" / f"{name}.py").read_text(encoding="utf-8")
    assert source.count(PLACE) == 1
    module = ModuleType(name)
    exec(compile(source.replace(PLACE, json.dumps(answers or {})), f"{name}.py", "exec"), module.__dict__)
    return module


def hook_constant(hook: str, name: str) -> ast.expr:
    """Return the expression that a hook assigns to a constant."""
    (value,) = (
        node.value
        for node in parsed(hook).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )
    return value


def hook_function(hook: str, name: str) -> str:
    """Return the source of a function in a hook."""
    (function,) = (
        node for node in parsed(hook).body if isinstance(node, ast.FunctionDef) and node.name == name
    )
    return ast.unparse(function)


def parsed(hook: str) -> ast.Module:
    return ast.parse((TEMPLATE / "hooks" / f"{hook}.py").read_text(encoding="utf-8"))
