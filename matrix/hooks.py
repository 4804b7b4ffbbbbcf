"""Loads the hooks of a template as functions."""

import ast
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

from cookiecutter.exceptions import FailedHookException
from jinja2.utils import htmlsafe_json_dumps

from . import rendering
from .reading import Unread
from .template import Declaration

# The only template code that a hook may have: the answers as JSON, in a raw string.
ANSWERS = re.compile(r"{{\s*cookiecutter\s*\|\s*tojson\s*}}")
LOADED = re.compile(rf'json\.loads\(r"""{ANSWERS.pattern}"""\)')
JINJA = re.compile(r"{{|{%|{#")
# The body that `finish` must have for the hook to run file by file.
COMPOSITION = """
def finish(files, answers):
    finished = {path: finish_file(path, text, answers) for path, text in files.items()}
    kept = {path: text for path, text in finished.items() if text is not None}
    together = {path: text for path, text in kept.items() if is_shared(path, answers)}
    alone = {path: text for path, text in kept.items() if path not in together}
    return {**alone, **finish_together(together, answers)}
"""
STEPS = ("finish_file", "is_shared", "finish_together")

Finish = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
FinishFile = Callable[[str, Any, dict[str, Any]], Any]
IsShared = Callable[[str, dict[str, Any]], bool]


class NotFactoredError(Exception):
    """The template, or one of its hooks, must be rendered whole."""


@dataclass(frozen=True)
class Hook:
    """The `finish` function of a hook and its steps: for one file, and for files that depend on each other.

    `by_file` is false if `finish` has other steps. Then `finish_together` gets all files.
    """

    finish: Finish
    finish_file: FinishFile
    is_shared: IsShared
    finish_together: Finish
    by_file: bool


def hook_source(folder: Path, name: str) -> str | None:
    """Return the source of a hook with an empty object as the answers, or None without a hook.

    Raises:
        NotFactoredError: the hook is not one Python script, or it contains other template code.
    """
    found = [path for path in folder.glob(f"{name}.*") if not path.name.endswith("~")]
    if not found:
        return None
    if len(found) > 1 or found[0].suffix != ".py":
        raise NotFactoredError(f"{name} is not one Python script")
    source = ANSWERS.sub("{}", found[0].read_text(encoding="utf-8"))
    if JINJA.search(source):
        raise NotFactoredError(f"{found[0].name} holds template code")
    return source


def load_hook(folder: Path) -> Hook:
    """Return `finish(files, answers)` of the post-generation hook, and its steps.

    Raises:
        NotFactoredError: the hook has no such function, or cannot be loaded as a function.
    """
    source = hook_source(folder, "post_gen_project")
    if source is None:
        return Hook(keep, see_alone, is_always_shared, keep, by_file=False)
    functions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    finish = functions.get("finish")
    if finish is None or [argument.arg for argument in finish.args.args] != ["files", "answers"]:
        raise NotFactoredError("post_gen_project.py has no function `finish(files, answers)`")
    plain, quick = execute(source), execute(source)
    for name, function in functions.items():
        if is_of_text(function):
            quick[name] = once(quick[name])
    code = getattr(plain["finish"], "__code__", None)
    is_last = code is not None and code.co_firstlineno == finish.lineno
    if not (functions.keys() >= {*STEPS} and is_last and is_composition(finish)):
        return Hook(plain["finish"], see_alone, is_always_shared, quick["finish"], by_file=False)
    alone, shared, together = (quick[name] for name in STEPS)
    return Hook(plain["finish"], alone, shared, together, by_file=True)


def execute(source: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": "post_gen_project"}
    exec(compile(source, "post_gen_project.py", "exec"), namespace)
    return namespace


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that caches results by its positional arguments."""
    known: dict[tuple[Any, ...], Any] = {}

    def called(*arguments: Any, **named: Any) -> Any:
        if named:
            return function(*arguments, **named)
        if arguments not in known:
            known[arguments] = function(*arguments)
        return known[arguments]

    return called


def is_of_text(function: ast.FunctionDef) -> bool:
    """Return whether all parameters of a function are strings. Its results are cached.

    `Factoring.check` calls the uncached function, so it detects a cached function that is not pure.
    """
    arguments = function.args
    plain = [*arguments.posonlyargs, *arguments.args]
    of_text = all(isinstance(one.annotation, ast.Name) and one.annotation.id == "str" for one in plain)
    yields = any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function))
    others = arguments.vararg or arguments.kwarg or arguments.kwonlyargs or function.decorator_list
    return bool(plain) and of_text and not yields and not others


def see_alone(_path: str, text: Any, _answers: dict[str, Any]) -> Any:
    """Return the text unchanged, for a hook that gets all files at once."""
    return text


def is_always_shared(_path: str, _answers: dict[str, Any]) -> bool:
    return True


def keep(files: dict[str, Any], _answers: dict[str, Any]) -> dict[str, Any]:
    return files


def is_composition(finish: ast.FunctionDef) -> bool:
    """Return whether a function has exactly the statements of `COMPOSITION`, so that its steps are all that it does."""
    wanted = ast.parse(COMPOSITION).body[0]
    assert isinstance(wanted, ast.FunctionDef)
    body = finish.body[1:] if ast.get_docstring(finish) is not None else finish.body
    return [*map(ast.dump, body)] == [*map(ast.dump, wanted.body)] and not finish.decorator_list


class PreHook:
    """The pre-generation hook. It runs once for each assignment of the answers that it reads, in an empty folder.

    The other answers are stand-ins (`Unread`).
    """

    def __init__(self, declaration: Declaration, varied: frozenset[str]) -> None:
        """Load the hook.

        Raises:
            NotFactoredError: the hook is not one Python script, or it contains other template code.
        """
        self.varied = varied
        self.values = {
            name: [declaration.answer(name, value) for value in values]
            for name, values in declaration.choices.items()
        }
        self.reads: frozenset[str] = frozenset()
        self.passed: set[tuple[Any, ...]] = set()
        # The values of the answers that it reads, for which it accepted every variation.
        self.judged: set[tuple[Any, ...]] = set()
        self.source = ""
        self.code: CodeType | None = None
        if hook_source(declaration.template / "hooks", "pre_gen_project") is None:
            return
        path = next((declaration.template / "hooks").glob("pre_gen_project.py"))
        self.name = path.name
        self.source = path.read_text(encoding="utf-8")
        source, loads = LOADED.subn("__answers__", self.source)
        self.code = compile(source, self.name, "exec") if loads == 1 and is_observable(source) else None
        # A regular expression rejects a stand-in without reading it, so always pass free-text answers.
        texts = {name for name in declaration.beside if isinstance(declaration.prompts[name], str)}
        self.reads = varied if self.code is None else frozenset(texts)

    def check(self, answers: dict[str, Any]) -> None:
        """Run the hook, unless it has already accepted these answers.

        Raises:
            FailedHookException: the hook rejects the answers.
            NotFactoredError: the hook writes files.
        """
        while tuple(answers[name] for name in sorted(self.reads)) not in self.passed and self.source:
            asked: set[str] = set()
            closed = self.varied - self.reads
            hidden = {
                name: Unread(name, type(answers[name]), self.values.get(name, ()), asked) for name in closed
            }
            try:
                self.run({**answers, **hidden})
            except FailedHookException:
                if not closed:
                    raise
                asked = asked or set(closed)
            if asked:
                self.reads |= asked
                self.passed.clear()
                self.judged.clear()
            else:
                self.passed.add(tuple(answers[name] for name in sorted(self.reads)))

    def run(self, answers: dict[str, Any]) -> None:
        if self.code is None:
            code = rendering.compile_source(ANSWERS.sub(lambda _: as_json(answers), self.source), self.name)
            rendering.execute(code, self.name)
        else:
            rendering.execute(self.code, self.name, {"__answers__": dict(sorted(answers.items()))})
        with os.scandir() as left:
            if next(left, None):
                raise NotFactoredError(f"{self.name} writes files")


def is_observable(source: str) -> bool:
    """Return whether stand-ins detect every access to an answer. They do not detect checks of identity or type."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return False
    for node in ast.walk(tree):
        match node:
            case ast.Compare(ops=ops, comparators=operands):
                for operation, operand in zip(ops, operands, strict=True):
                    is_none = isinstance(operand, ast.Constant) and operand.value is None
                    if isinstance(operation, ast.Is | ast.IsNot) and not is_none:
                        return False
            case ast.Name(id="type" | "id" | "callable") | ast.MatchSingleton() | ast.MatchClass():
                return False
            case ast.Constant(value=str(text)) if ANSWERS.search(text):
                return False
            case _:
                pass
    return True


def as_json(answers: dict[str, Any]) -> str:
    """Return the answers as Jinja's `tojson` filter does."""
    return str(htmlsafe_json_dumps(answers, sort_keys=True))
