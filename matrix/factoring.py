"""Renders all projects of a template from pieces: each file once for each assignment of the prompts that it reads.

A file is rendered with the answers that it reads and no others: asking for another ends the rendering. So that a file
comes out at all shows that nothing else decides its text. The hook runs the same way, as a function from files to files:
it is given the answers that it reads, and of a file that depends on others it may move or drop the text, but not look
at it.
"""

import ast
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from cookiecutter import find, generate, prompt, utils
from cookiecutter.exceptions import CookiecutterException
from jinja2 import Environment, FileSystemLoader, Template, TemplateError, nodes
from jinja2.utils import htmlsafe_json_dumps

from . import rendering
from .template import Combination, Declaration
from .trees import Store, Tree

# Cookiecutter's own, before `rendering.speed_up` changes it.
new_environment = utils.create_env_with_context

# The only template code of a hook, in a raw string: the answers as JSON.
ANSWERS = re.compile(r"{{\s*cookiecutter\s*\|\s*tojson\s*}}")
JINJA = re.compile(r"{{|{%|{#")
# Names under which a template finds the answers, and these as they were before they were rendered.
CONTEXTS = ("cookiecutter", "_cookiecutter")

Values = Mapping[str, Any]
Delta = dict[str, str]  # by path, the content that differs; an empty identity where there is no such file
Variations = dict[Combination, Delta]


class NotFactoredError(Exception):
    """A template, or a hook of it, that must be rendered whole."""


class UnreadError(Exception):
    """Answers were asked for that a rendering was not given."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        super().__init__(f"reads {', '.join(sorted(self.names))}")


class Answers(dict[str, Any]):
    """Answers without those in `closed`: who asks for one of these, or for all, gets `UnreadError`."""

    def __init__(self, answers: Values, closed: Collection[str]) -> None:
        self.__closed = frozenset(closed)
        super().__init__((name, value) for name, value in answers.items() if name not in self.__closed)

    def __getitem__(self, name: str) -> Any:
        self.__ask(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.__ask(name)
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self.__ask(name)
        return super().__contains__(name)

    def __ask(self, name: object) -> None:
        if name in self.__closed:
            raise UnreadError([str(name)])

    def __ask_for_all(self) -> None:
        if self.__closed:
            raise UnreadError(self.__closed)

    def __iter__(self) -> Iterator[str]:
        self.__ask_for_all()
        return super().__iter__()

    def __reversed__(self) -> Iterator[str]:
        self.__ask_for_all()
        return super().__reversed__()

    def __len__(self) -> int:
        self.__ask_for_all()
        return super().__len__()

    def __bool__(self) -> bool:
        self.__ask_for_all()
        return len(self) > 0

    def __eq__(self, other: object) -> bool:
        self.__ask_for_all()
        return super().__eq__(other)

    def __or__(self, other: Any) -> Any:
        self.__ask_for_all()
        return super().__or__(other)

    def __ror__(self, other: Any) -> Any:
        self.__ask_for_all()
        return super().__ror__(other)

    def __repr__(self) -> str:
        self.__ask_for_all()
        return super().__repr__()

    def keys(self) -> Any:
        self.__ask_for_all()
        return super().keys()

    def values(self) -> Any:
        self.__ask_for_all()
        return super().values()

    def items(self) -> Any:
        self.__ask_for_all()
        return super().items()

    def copy(self) -> Any:
        self.__ask_for_all()
        return super().copy()

    __hash__ = None


def refuse(sealed: object, *_: object) -> NoReturn:
    raise SealedError(object.__repr__(sealed))


class SealedError(Exception):
    """A hook has looked at a text that it was to leave alone."""


class Sealed:
    """Stands for the text of a file, and answers nothing about it."""

    __slots__ = ()


# Of the operations on an object those that would otherwise be answered; `isinstance` asks for an attribute.
for operation in (
    "__getattribute__",
    "__eq__",
    "__ne__",
    "__hash__",
    "__bool__",
    "__str__",
    "__repr__",
    "__format__",
):
    setattr(Sealed, operation, refuse)


@dataclass
class Piece:
    """A file of the template: its path, as a template, and its own."""

    source: str
    binary: bool
    verbatim: bool
    newline: str
    # The varied prompts that it reads, as far as they are known.
    reads: tuple[str, ...] = ()
    known: dict[tuple[Any, ...], tuple[str, str | bytes]] = field(default_factory=dict)


@dataclass
class Rendered:
    """The files of a combination before the hook: by path, the text or what is none; of the varied ones, the pieces."""

    texts: dict[str, str | bytes]
    pieces: dict[str, Piece]


class Factoring:
    """The pieces of a template, and its hooks."""

    def __init__(self, declaration: Declaration) -> None:
        """Find what can be rendered in pieces.

        Raises:
            NotFactoredError: a hook is not a function from files to files: the template must be rendered whole.
        """
        self.declaration = declaration
        self.template = declaration.template
        self.post = load_finish(self.template / "hooks")
        self.pre = load_pre_hook(self.template / "hooks")
        self.answering = Answering(declaration)
        example = self.answering.answers(next(declaration.combinations()))
        context = {"cookiecutter": example}
        sys.path.append(str(self.template))
        try:
            self.environment: Environment = new_environment(context)
        finally:
            sys.path.remove(str(self.template))
        self.environment.auto_reload = False
        skeleton = Path(find.find_template(self.template, self.environment))
        self.environment.loader = FileSystemLoader([str(skeleton), str(self.template / "templates")])
        self.names: dict[str, Template] = {}
        self.pieces = list(self.find_pieces(skeleton, context))
        self.hook_reads: frozenset[str] = frozenset()
        self.varied_pieces: list[Piece] = []
        self.constant: dict[str, str | bytes] | None = None
        self.unreadable: set[str] = set()
        # Files whose text the hook has looked at, though they depend on answers that it does not read.
        self.opened: set[str] = set()

    def find_pieces(self, skeleton: Path, context: dict[str, Any]) -> Iterator[Piece]:
        """Walk as Cookiecutter does."""
        for root, folders, names in os.walk(skeleton):
            folders.sort()
            relative = Path(root).relative_to(skeleton)
            if not folders and not names:
                raise NotFactoredError(f"{relative} is an empty folder")
            for name in sorted(names):
                path = (relative / name).as_posix()
                parents = [str(parent) for parent in Path(path).parents if parent.name]
                whole = any(generate.is_copy_only_path(parent, context) for parent in parents)
                if whole and "{{" in name:
                    raise NotFactoredError(f"{path} is copied with its name")
                file = skeleton / path
                binary = bool(generate.is_binary(str(file)))
                verbatim = whole or generate.is_copy_only_path(path, context) or binary
                newline = "" if verbatim else newline_of(file, context)
                piece = Piece(path, binary, verbatim, newline)
                texts = [path] if verbatim else [path, file.read_text(encoding="utf-8")]
                piece.reads = tuple(sorted(self.reads(texts) & self.answering.varied))
                yield piece

    def reads(self, texts: Iterable[str]) -> set[str]:
        """Return the answers that templates name. What they ask for in other ways shows when they are rendered."""
        found = set()
        for text in texts:
            tree = self.environment.parse(text)
            for node in tree.find_all(nodes.Getattr):
                if isinstance(node.node, nodes.Name) and node.node.name in CONTEXTS:
                    found.add(node.attr)
            for item in tree.find_all(nodes.Getitem):
                if isinstance(item.node, nodes.Name) and item.node.name in CONTEXTS:
                    found |= {item.arg.value} if isinstance(item.arg, nodes.Const) else set()
        return found

    def render(self, values: Values) -> Rendered:
        """Assemble the files of a project, before the hook."""
        texts = dict(self.constants(values))
        pieces = {}
        for piece in self.varied_pieces:
            key = tuple(map(values.__getitem__, piece.reads))
            if key not in piece.known:
                self.render_piece(piece, values)
                key = tuple(map(values.__getitem__, piece.reads))
            path, text = piece.known[key]
            if path in texts:
                raise NotFactoredError(f"{path} comes from two files of the template")
            if path:
                texts[path] = text
                pieces[path] = piece
        return Rendered(texts, pieces)

    def constants(self, values: Values) -> dict[str, str | bytes]:
        """Return the files that depend on no prompt."""
        if self.constant is None:
            for piece in self.pieces:
                self.render_piece(piece, values)
            self.varied_pieces = [piece for piece in self.pieces if piece.reads]
            alike = [next(iter(piece.known.values())) for piece in self.pieces if not piece.reads]
            self.constant = {path: text for path, text in alike if path}
            self.unreadable = {path for path, text in self.constant.items() if isinstance(text, bytes)}
        return self.constant

    def render_piece(self, piece: Piece, values: Values) -> None:
        """Render a file with the answers that it reads; learn which these are where it asks for another."""
        while True:
            closed = self.answering.varied.difference(piece.reads)
            context = {name: Answers(answers, closed) for name, answers in self.answering.contexts(values)}
            try:
                path = self.name_template(piece.source).render(**context)
                text = self.content(piece, context)
            except UnreadError as unread:
                piece.reads = tuple(sorted({*piece.reads, *unread.names}))
                piece.known.clear()
                continue
            if path.endswith("/") or not path:
                path = ""  # Cookiecutter leaves out a file without a name
            piece.known[tuple(values[name] for name in piece.reads)] = (
                os.path.normpath(path) if path else "",
                text,
            )
            return

    def name_template(self, source: str) -> Template:
        if source not in self.names:
            self.names[source] = self.environment.from_string(source)
        return self.names[source]

    def content(self, piece: Piece, context: dict[str, Any]) -> str | bytes:
        if piece.verbatim:
            loader = self.environment.loader
            assert isinstance(loader, FileSystemLoader)
            content = Path(loader.searchpath[0], piece.source).read_bytes()
            with contextlib.suppress(UnicodeDecodeError):
                text = content.decode()
                return text if "\r" not in text else content
            return content
        text = self.environment.get_template(piece.source).render(**context)
        return text if piece.newline == "\n" else text.replace("\n", piece.newline).encode()

    def finish(self, rendered: Rendered, values: Values, known: dict[Any, dict[str, Any]]) -> dict[str, Any]:
        """Return the files that the hook leaves; for a text that it must not look at, its path before.

        `known` holds what it has returned for files that differ in such texts only.
        """
        while True:
            shut = [
                path
                for path, piece in rendered.pieces.items()
                if path not in self.opened and self.is_sealed(piece, rendered.texts[path])
            ]
            open_texts = [
                text for path, text in rendered.texts.items() if path in rendered.pieces and path not in shut
            ]
            key = (tuple(values[name] for name in sorted(self.hook_reads)), tuple(shut), tuple(open_texts))
            if key in known:
                return known[key]
            sealed = {path: Sealed() for path in [*shut, *self.unreadable]}
            answers = Answers(self.answering.merged(values), self.answering.varied - self.hook_reads)
            try:
                files = self.post({**rendered.texts, **sealed}, answers)
            except UnreadError as unread:
                self.hook_reads |= unread.names
                self.opened.clear()
                continue
            except Exception:
                texts = {path for path in shut if isinstance(rendered.texts[path], str)}
                if not texts:
                    raise
                self.opened |= texts
                continue
            places = {id(text): path for path, text in sealed.items()}
            known[key] = {
                path: text if type(text) is str else Moved(places[id(text)]) for path, text in files.items()
            }
            return known[key]

    def is_sealed(self, piece: Piece, text: str | bytes) -> bool:
        """Return whether it is not a text, or depends on answers that the hook does not read."""
        return isinstance(text, bytes) or not self.hook_reads.issuperset(piece.reads)

    def project(
        self, combination: Combination, variations: Iterable[Combination], identities: "Identities"
    ) -> Variations:
        """Return a combination's project under the first of the variations, and in what it differs under the others.

        Raises:
            CombinationError: there is no project.
        """
        first: Tree = {}
        found: Variations = {}
        known: dict[Any, dict[str, Any]] = {}
        for variation in variations:
            tree = self.tree(combination | variation, identities, known)
            found[variation] = difference(first, tree) if found else tree
            first = first or tree
        return found

    def tree(
        self, combination: Combination, identities: "Identities", known: dict[Any, dict[str, Any]]
    ) -> Tree:
        """Return the project of a combination.

        Raises:
            CombinationError: the template or a hook of it has failed.
        """
        values = self.answering.values(combination)
        try:
            self.pre(self.answering.merged(values))
            rendered = self.render(values)
            files = self.finish(rendered, values, known)
        except (TemplateError, CookiecutterException) as error:
            raise CombinationError(f"The template makes no project: {error}") from error
        except SystemExit as end:
            raise CombinationError(f"The template makes no project: the hook ended with {end.code}") from end
        except (NotFactoredError, CombinationError):
            raise
        except Exception as error:
            text = f"The template makes no project: the hook raised {type(error).__name__}: {error}"
            raise CombinationError(text) from error
        # What the hook returned for the variation before, if it was the same: most texts are the same again.
        alike = known.get(id(files))
        if alike is None:
            alike = known[id(files)] = {
                path: identities.of(text) for path, text in files.items() if type(text) is not Moved
            }
        moved = {
            path: identities.of(rendered.texts[text]) for path, text in files.items() if type(text) is Moved
        }
        return {**alike, **moved}


def difference(first: Tree, other: Tree) -> Delta:
    delta = {path: identity for path, identity in other.items() if first.get(path) != identity}
    return delta | dict.fromkeys(first.keys() - other.keys(), "")


class CombinationError(Exception):
    """A combination without a project."""


class Moved(str):
    """The path that a file had before the hook."""

    __slots__ = ()


@dataclass
class Identities:
    """The identities of texts, each found once."""

    store: Store
    known: dict[str | bytes, str] = field(default_factory=dict)

    def of(self, text: str | bytes) -> str:
        identity = self.known.get(text)
        if identity is None:
            content = text if isinstance(text, bytes) else text.encode()
            identity = self.known[text] = self.store.add({"": content})[""]
        return identity


class Answering:
    """The answers of each combination, by Cookiecutter's own reading of cookiecutter.json."""

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration
        first = next(declaration.combinations())
        raw, answers = self.ask(first)
        self.raw, self.fixed = raw, answers
        self.asked = frozenset([*declaration.patterns, *declaration.choices])
        # Answers that are templates, and lead to some that are varied; and those that they lead to.
        reads = {name: names_in(value, raw) for name, value in raw.items() if name in answers}
        self.derived: set[str] = {name for name, read in reads.items() if name in self.asked and read}
        while more := {
            name
            for name, read in reads.items()
            if name not in self.derived and read & (self.asked | self.derived)
        }:
            self.derived |= more
        self.deriving = sorted(self.asked if self.derived else ())
        self.varied = self.asked | self.derived
        self.known: dict[tuple[Any, ...], dict[str, Any]] = {}

    def ask(self, combination: Combination) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the answers before they are rendered, and after."""
        template = self.declaration.template
        context = generate.generate_context(
            context_file=str(template / "cookiecutter.json"),
            extra_context=self.declaration.answers_for(combination),
        )
        raw = {name: value for name, value in context["cookiecutter"].items() if not name.startswith("_")}
        private = {name: value for name, value in context["cookiecutter"].items() if name.startswith("__")}
        context["cookiecutter"].update(prompt.prompt_for_config(context, no_input=True))
        answers = {
            **context["cookiecutter"],
            "_template": str(template),
            "_output_dir": str(template.parent),
            "_repo_dir": str(template),
            "_checkout": None,
        }
        return {**raw, **private}, answers

    def answers(self, combination: Combination) -> dict[str, Any]:
        return self.ask(combination)[1]

    def values(self, combination: Combination) -> dict[str, Any]:
        """Return the answers that are varied."""
        given = self.declaration.answers_for(combination)
        values = {name: given[name] for name in self.asked}
        if self.derived:
            key = tuple(values[name] for name in self.deriving)
            if key not in self.known:
                answers = self.answers(combination)
                self.known[key] = {name: answers[name] for name in self.derived}
            values |= self.known[key]
        return values

    def merged(self, values: Values) -> dict[str, Any]:
        """Return all answers, in Cookiecutter's order."""
        return {**self.fixed, **values}

    def contexts(self, values: Values) -> Iterator[tuple[str, dict[str, Any]]]:
        """Return what a template finds under each name."""
        yield CONTEXTS[0], self.merged(values)
        unrendered = {name: value for name, value in self.raw.items() if not name.startswith("_")}
        for name in self.declaration.choices:
            others = [value for value in unrendered[name] if value != values[name]]
            unrendered[name] = [values[name], *others]
        for name in self.declaration.patterns:
            unrendered[name] = values[name]
        yield CONTEXTS[1], unrendered


def names_in(value: object, answers: Collection[str]) -> set[str]:
    """Return which answers an answer may read, as a template."""
    text = json.dumps(value, ensure_ascii=False)
    if not JINJA.search(text):
        return set()
    return {name for name in answers if re.search(rf"\b{re.escape(name)}\b", text)} or set(answers)


def newline_of(file: Path, context: Mapping[str, Any]) -> str:
    """Return the line end that Cookiecutter gives to a file: the first in it."""
    if configured := context["cookiecutter"].get("_new_lines"):
        return str(configured)
    with file.open(encoding="utf-8") as lines:
        lines.readline()
        found = lines.newlines
    return (found[0] if isinstance(found, tuple) else found) or os.linesep


# Hooks

Finish = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
Check = Callable[[dict[str, Any]], None]


def hook_source(folder: Path, name: str) -> str | None:
    """Return the source of a hook, with an empty object instead of the answers.

    Raises:
        NotFactoredError: it is not Python, or holds other template code.
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


def load_finish(folder: Path) -> Finish:
    """Return the function `finish(files, answers)` of a hook.

    Raises:
        NotFactoredError: it has none.
    """
    source = hook_source(folder, "post_gen_project")
    if source is None:
        return lambda files, _: files
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    if not any(
        node.name == "finish" and [argument.arg for argument in node.args.args] == ["files", "answers"]
        for node in functions
    ):
        raise NotFactoredError("post_gen_project.py has no function `finish(files, answers)`")
    namespace: dict[str, Any] = {"__name__": "post_gen_project"}
    exec(compile(source, "post_gen_project.py", "exec"), namespace)
    finish: Finish = namespace["finish"]
    return finish


def load_pre_hook(folder: Path) -> Check:
    """Return a function that runs the other hook in an empty folder.

    Raises:
        NotFactoredError: it is not a Python script.
    """
    source = hook_source(folder, "pre_gen_project")
    if source is None:
        return lambda _: None
    path = next(folder.glob("pre_gen_project.py"))
    text = path.read_text(encoding="utf-8")

    def check(answers: dict[str, Any]) -> None:
        code = rendering.compile_source(ANSWERS.sub(lambda _: as_json(answers), text), path.name)
        rendering.execute(code, path.name)
        with os.scandir() as left:
            if next(left, None):
                raise NotFactoredError(f"{path.name} writes files")

    return check


def as_json(answers: dict[str, Any]) -> str:
    """Return the answers as Jinja's filter does."""
    return str(htmlsafe_json_dumps(answers, sort_keys=True))


# The pieces that this process has, by what they are made of.
FACTORED: dict[str, Factoring] = {}


def factored(declaration: Declaration) -> Factoring:
    """Return the pieces of a template, found once in this process, whose templates must not change meanwhile.

    Raises:
        NotFactoredError: it must be rendered whole.
    """
    key = repr((declaration.template, declaration.answers))
    if key not in FACTORED:
        rendering.read_and_replace_once()
        FACTORED[key] = Factoring(declaration)
    return FACTORED[key]
