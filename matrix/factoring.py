"""Assembles all projects of a template from pieces.

Each section of a file is rendered once for each assignment of the prompts that it reads. The hook runs for one file
at a time where possible.

A section is rendered with only the answers that it reads: any other access is an error. So successful rendering
proves that nothing else decides the text. The hook runs in the same way, as a function from files to files. If the
text of a file depends on answers that the hook does not read, the text is sealed: the hook may keep or drop it, but
not read it.
"""

import json
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cookiecutter import find, generate, prompt, utils
from cookiecutter.exceptions import CookiecutterException
from jinja2 import Environment, FileSystemLoader, Template, TemplateError, nodes

from . import rendering
from .families import Entry, Family, Function, Joined, Varied, constant, names_of, tabulate
from .hooks import JINJA, NotFactoredError, PreHook, load_hook
from .reading import Answers, Sealed, UnreadError
from .sections import sections
from .template import Combination, Declaration
from .trees import Store

# Cookiecutter's original function, before `rendering.speed_up` replaces it.
new_environment = utils.create_env_with_context

# The template variables with the answers, rendered and unrendered.
CONTEXTS = ("cookiecutter", "_cookiecutter")

Values = Mapping[str, Any]
Text = str | bytes


@dataclass
class Learning:
    """A counter that increases whenever a new dependency of the template is found."""

    times: int = 0


@dataclass
class Section:
    """A part of a file: a template and the answers that it is known to read, or content that is copied."""

    learning: Learning
    template: Template | None
    content: Text
    reads: tuple[str, ...] = ()
    known: dict[tuple[Any, ...], Text] = field(default_factory=dict)
    # Its function of the variation, by the values in a combination of the answers that it reads.
    functions: dict[tuple[Any, ...], Function] = field(default_factory=dict)

    def read_more(self, names: Iterable[str]) -> None:
        self.reads = tuple(sorted({*self.reads, *names}))
        self.known.clear()
        self.functions.clear()
        self.learning.times += 1


class Finished(NamedTuple):
    """The result of `finish_file`: the path, empty if the file is left out, and the text, None if it is unchanged."""

    path: str
    text: Text | None


class Alone(NamedTuple):
    """The result of `finish_file` in each variation of the prompts that decide it."""

    scope: Combination
    table: dict[Combination, Finished]
    paths: frozenset[str]

    def at(self, variation: Combination) -> Finished:
        return self.table[variation & self.scope]


class Moved(NamedTuple):
    """A file that the hook kept without reading its text."""

    source: str


@dataclass(eq=False)
class Piece:
    """A file of the template: its path, which is also a template, and its sections."""

    source: str
    newline: str
    name: Section
    sections: list[Section]
    learning: Learning
    # The answers that `finish_file` reads for this file, and whether it reads the text.
    hook_reads: frozenset[str] = frozenset()
    opened: bool = False
    # The results of `finish_file`, and the texts, by the values of the answers that decide them.
    finished: dict[tuple[Any, ...], Alone] = field(default_factory=dict)
    entries: dict[tuple[Any, ...], Entry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sealed = Sealed()
        self.moved = Moved(self.source)
        self.learned = -1

    def learn(self) -> None:
        """Update which answers decide the file, if a dependency was found since the last call."""
        if self.learned == self.learning.times:
            return
        self.learned = self.learning.times
        self.text_reads = frozenset[str]().union(*(section.reads for section in self.sections))
        self.decides = frozenset(
            {*self.name.reads, *self.hook_reads, *(self.text_reads if self.opened else ())}
        )
        self.decides_sorted = sorted(self.decides)
        self.all_sorted = sorted(self.decides | self.text_reads)
        self.finished.clear()
        self.entries.clear()

    @property
    def reads(self) -> tuple[str, ...]:
        """The varied answers that decide the path and the text."""
        self.learn()
        return tuple(sorted({*self.name.reads, *self.text_reads}))

    @property
    def is_bytes(self) -> bool:
        return isinstance(self.sections[0].content, bytes) or self.newline not in ("", "\n")

    def open(self) -> None:
        self.opened = True
        self.learning.times += 1

    def read_more(self, names: Iterable[str]) -> None:
        self.hook_reads |= frozenset(names)
        self.learning.times += 1


class Part(NamedTuple):
    """The files of a `Group` in a combination: those that the hook finishes alone, and those `together` with others."""

    finished: dict[str, Alone]
    family: Family
    together: list[Piece]


@dataclass
class Group:
    """Files that depend on the same answers. They are looked up together in each combination."""

    reads: list[str]
    pieces: list[Piece] = field(default_factory=list)
    # By the values of `reads`.
    parts: dict[tuple[Any, ...], Part] = field(default_factory=dict)


class Factoring:
    """The pieces of a template, and its hooks."""

    def __init__(self, declaration: Declaration) -> None:
        """Split the template into pieces, and load its hooks.

        Raises:
            NotFactoredError: the template must be rendered whole, for example because a hook is not a function.
        """
        self.declaration = declaration
        self.template = declaration.template
        self.learning = Learning()
        self.hook = load_hook(self.template / "hooks")
        self.answering = Answering(declaration)
        self.pre = PreHook(declaration, self.answering.varied)
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
        self.pieces = list(self.find_pieces(skeleton, context))
        self.by_source = {piece.source: piece for piece in self.pieces}
        # The answers that `finish_together` reads.
        self.hook_reads: frozenset[str] = frozenset()
        # Files whose text it reads although they depend on other answers, by the values of the answers that it reads.
        self.looked_at: dict[tuple[Any, ...], set[str]] = {}
        self.shared: dict[str, bool] = {}
        self.grouped = -1
        self._groups: list[Group] = []

    @property
    def groups(self) -> list[Group]:
        """The pieces by the answers that they are known to depend on."""
        if self.grouped != self.learning.times:
            self.grouped = self.learning.times
            groups: dict[tuple[str, ...], Group] = {}
            for piece in self.pieces:
                piece.learn()
                group = groups.setdefault(tuple(piece.all_sorted), Group(piece.all_sorted))
                group.pieces.append(piece)
            self._groups = list(groups.values())
        return self._groups

    @property
    def opened(self) -> set[str]:
        """The files whose text the hook reads, although they depend on answers that it does not read."""
        alone = {piece.source for piece in self.pieces if piece.opened}
        return alone.union(*self.looked_at.values())

    def find_pieces(self, skeleton: Path, context: dict[str, Any]) -> Iterator[Piece]:
        """Walk the skeleton as Cookiecutter does, and yield its files.

        Raises:
            NotFactoredError: a folder is empty, or a path is copied although it is a template.
        """
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
                named = Section(
                    self.learning, self.environment.from_string(path), "", self.static_reads([path])
                )
                yield Piece(
                    path, newline, named, list(self.find_sections(file, path, newline)), self.learning
                )

    def find_sections(self, file: Path, path: str, newline: str) -> Iterator[Section]:
        """Yield the sections of a file. A module is one section, since it is linted and run as a whole."""
        if not newline:
            yield Section(self.learning, None, plain_text(file.read_bytes()))
            return
        source = file.read_text(encoding="utf-8")
        if path.endswith(".py") or newline != "\n":
            yield Section(self.learning, self.environment.get_template(path), "", self.static_reads([source]))
            return
        for template in sections(self.environment, source, self.reads_of):
            code = self.environment.compile(template, path, path)
            loaded = Template.from_code(self.environment, code, self.environment.make_globals(None))
            yield Section(self.learning, loaded, "", tuple(sorted(self.reads_of(template))))

    def static_reads(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Return the varied answers that templates name. Other accesses are found during rendering."""
        found = frozenset[str]().union(*(self.reads_of(self.environment.parse(text)) for text in texts))
        return tuple(sorted(found))

    def reads_of(self, tree: nodes.Template) -> frozenset[str]:
        found = set()
        for node in tree.find_all(nodes.Getattr):
            if isinstance(node.node, nodes.Name) and node.node.name in CONTEXTS:
                found.add(node.attr)
        for item in tree.find_all(nodes.Getitem):
            if isinstance(item.node, nodes.Name) and item.node.name in CONTEXTS:
                found |= {item.arg.value} if isinstance(item.arg, nodes.Const) else set()
        return frozenset(found & self.answering.varied)

    # Texts

    def text(self, section: Section, values: Values) -> Text:
        """Render a section with the answers that it reads. Retry with more answers if it reads another one."""
        if section.template is None:
            return section.content
        while True:
            key = tuple(map(values.__getitem__, section.reads))
            if key in section.known:
                return section.known[key]
            closed = self.answering.varied.difference(section.reads)
            context = {name: Answers(answers, closed) for name, answers in self.answering.contexts(values)}
            try:
                section.known[key] = section.template.render(**context)
            except UnreadError as unread:
                section.read_more(unread.names)

    def path(self, piece: Piece, values: Values) -> str:
        path = str(self.text(piece.name, values))
        # Cookiecutter skips a file whose rendered name is empty.
        return "" if path.endswith("/") or not path else os.path.normpath(path)

    def whole_text(self, piece: Piece, values: Values) -> Text:
        found = [self.text(section, values) for section in piece.sections]
        if len(found) == 1 and isinstance(found[0], bytes):
            return found[0]
        text = "".join(map(str, found))
        return text if piece.newline in ("", "\n") else text.replace("\n", piece.newline).encode()

    def varied(self, reads: Iterable[str]) -> frozenset[str]:
        """Return the varied prompts that decide these answers."""
        names = frozenset(reads)
        if names & self.answering.derived:
            names |= frozenset(self.answering.deriving)
        return names & self.declaration.varied_prompts

    # Projects

    def family(self, core: Combination, identities: "Identities") -> Family:
        """Return the projects of a combination in all variations.

        Raises:
            CombinationError: the template or one of its hooks failed in some variation.
            NotFactoredError: the template must be rendered whole.
        """
        try:
            while True:
                before = self.learning.times
                family = Assembly(self, core, identities).family()
                if self.learning.times == before:
                    return family
        except (TemplateError, CookiecutterException) as error:
            raise CombinationError(f"The template makes no project: {error}") from error
        except SystemExit as end:
            raise CombinationError(f"The template makes no project: the hook ended with {end.code}") from end
        except (NotFactoredError, CombinationError):
            raise
        except Exception as error:
            text = f"The template makes no project: the hook raised {type(error).__name__}: {error}"
            raise CombinationError(text) from error

    def check(
        self, core: Combination, variation: Combination, family: Family, identities: "Identities"
    ) -> None:
        """Compare a family with a project that is rendered whole, with all answers and one call of `finish`.

        Raises:
            NotFactoredError: they differ, because sections or files depend on each other, or the hook keeps state.
        """
        values = self.answering.values(core | variation)
        context = dict(self.answering.contexts(values))
        files: dict[str, Any] = {}
        contents: dict[int, Text] = {}
        for piece in self.pieces:
            if path := self.path(piece, values):
                text: Any = self.whole_text(piece, values)
                if piece.sections[0].template is not None and not piece.is_bytes:
                    text = self.environment.get_template(piece.source).render(**context)
                elif isinstance(text, bytes):
                    contents[id(piece.sealed)], text = text, piece.sealed
                files[path] = text
        after = self.hook.finish(files, self.answering.merged(values))
        wanted = {
            path: identities.of(text if type(text) is str else contents[id(text)])
            for path, text in after.items()
        }
        made = Varied(family, self.declaration, Joined(identities.store)).tree(variation)
        if made != wanted:
            differing = sorted(
                path for path in made.keys() | wanted.keys() if made.get(path) != wanted.get(path)
            )
            raise NotFactoredError(f"{', '.join(differing)}: other than rendered whole")

    def is_shared(self, path: str) -> bool:
        """Return whether the hook finishes a file together with others.

        Raises:
            NotFactoredError: the result depends on a prompt.
        """
        if path not in self.shared:
            answers = Answers(self.answering.merged({}), self.answering.varied)
            try:
                self.shared[path] = bool(self.hook.is_shared(path, answers))
            except UnreadError as unread:
                raise NotFactoredError(f"is_shared of the hook {unread}") from unread
        return self.shared[path]

    def finish_file(self, piece: Piece, values: Values) -> Finished:
        """Run the hook for one file, and record what it reads."""
        while True:
            piece.learn()
            path = self.path(piece, values)
            if not path:
                return Finished("", None)
            is_fixed = not piece.text_reads and not piece.is_bytes
            given = self.whole_text(piece, values) if piece.opened or is_fixed else piece.sealed
            answers = Answers(self.answering.merged(values), self.answering.varied - piece.hook_reads)
            try:
                text = self.hook.finish_file(path, given, answers)
            except UnreadError as unread:
                piece.read_more(unread.names)
                continue
            except Exception:
                if given is not piece.sealed or piece.is_bytes:
                    raise
                piece.open()
                continue
            if text is None:
                return Finished("", None)
            return Finished(path, None if text is piece.sealed else text)


class Given(NamedTuple):
    """How a file is passed to `finish_together`: with its text or sealed, and which prompts decide what the hook sees."""

    is_open: bool
    names: frozenset[str]


@dataclass
class Assembly:
    """Assembles the projects of a combination."""

    factoring: Factoring
    core: Combination
    identities: "Identities"
    known: dict[Combination, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.declaration = self.factoring.declaration
        self.base = self.values(frozenset())
        self.finished: dict[str, Alone] = {}

    def values(self, variation: Combination) -> dict[str, Any]:
        if variation not in self.known:
            self.known[variation] = self.factoring.answering.values(self.core | variation)
        return self.known[variation]

    def family(self) -> Family:
        self.check()
        family = Family({}, {})
        paths: set[str] = set()
        together: list[Piece] = []
        for group in self.factoring.groups:
            key = tuple(map(self.base.__getitem__, group.reads))
            part = group.parts.get(key)
            if part is None:
                part = group.parts[key] = self.part(group)
            for files in part.family:
                refuse_twice(paths, files)
                paths |= files.keys()
            self.finished |= part.finished
            family.constant.update(part.family.constant)
            family.entries.update(part.family.entries)
            together += part.together
        for path, entry in self.together(together).items():
            self.put(family, path, entry)
        return family

    def part(self, group: Group) -> Part:
        """Return the files of a group."""
        part = Part({}, Family({}, {}), [])
        for piece in group.pieces:
            alone = part.finished[piece.source] = self.finished[piece.source] = self.alone(piece)
            if any(map(self.factoring.is_shared, alone.paths)):
                part.together.append(piece)
                continue
            for files in part.family:
                refuse_twice(alone.paths, files)
            for path in alone.paths:
                self.put(part.family, path, self.entry(piece, path))
        return part

    def put(self, family: Family, path: str, entry: Entry) -> None:
        """Add a file to a family, or replace it."""
        if names_of(entry):
            family.constant.pop(path, None)
            family.entries[path] = entry
        else:
            family.entries.pop(path, None)
            family.constant[path] = self.whole(entry)

    def check(self) -> None:
        """Run the pre-generation hook for each variation of the answers that it reads."""
        pre = self.factoring.pre
        checked: object = None
        while checked != pre.reads:
            checked = pre.reads
            varied = self.factoring.varied(pre.reads)
            key = tuple(self.base[name] for name in sorted(pre.reads - varied))
            if key not in pre.judged:
                for variation in self.declaration.variations_of(varied):
                    pre.check(self.factoring.answering.merged(self.values(variation)))
        pre.judged.add(key)

    def whole(self, entry: Entry) -> str:
        """Return the identity of a file that is the same in every variation."""
        sections = tuple(one.at(frozenset()) for one in entry)
        return sections[0] if len(sections) == 1 else self.identities.joined(sections)

    def alone(self, piece: Piece) -> Alone:
        """Return the results of `finish_file` for a file."""
        while True:
            piece.learn()
            key = tuple(map(self.base.__getitem__, piece.decides_sorted))
            if key in piece.finished:
                return piece.finished[key]
            learned = self.factoring.learning.times
            varied = self.factoring.varied(piece.decides)
            table = {
                variation: self.factoring.finish_file(piece, self.values(variation))
                for variation in self.declaration.variations_of(varied)
            }
            if learned == self.factoring.learning.times:
                paths = frozenset(one.path for one in table.values()) - {""}
                piece.finished[key] = Alone(self.declaration.scope(varied), table, paths)

    def entry(self, piece: Piece, path: str) -> Entry:
        """Return a file after `finish_file`, computed once for each assignment of the answers that decide it."""
        piece.learn()
        key = (path, *map(self.base.__getitem__, piece.all_sorted))
        if key not in piece.entries:
            piece.entries[key] = self.new_entry(piece, path)
        return piece.entries[key]

    def new_entry(self, piece: Piece, path: str) -> Entry:
        alone = self.finished[piece.source]
        kept = all(one == (path, None) for one in alone.table.values())
        if kept and len(piece.sections) > 1:
            return tuple(map(self.section, piece.sections))
        names = self.factoring.varied(piece.all_sorted)

        def identity(variation: Combination) -> str:
            return self.identity(piece, variation) if alone.at(variation).path == path else ""

        return (tabulate(self.declaration, names, identity),)

    def section(self, section: Section) -> Function:
        key = tuple(map(self.base.__getitem__, section.reads))
        if key not in section.functions:
            names = self.factoring.varied(section.reads)
            found = tabulate(
                self.declaration,
                names,
                lambda one: self.identities.of(self.factoring.text(section, self.values(one))),
            )
            section.functions[key] = found
            return found
        return section.functions[key]

    def identity(self, piece: Piece, variation: Combination) -> str:
        """Return the identity of a file after `finish_file`."""
        text = self.finished[piece.source].at(variation).text
        if text is None:
            text = self.factoring.whole_text(piece, self.values(variation))
        return self.identities.of(text)

    # Files that are finished together

    def together(self, pieces: list[Piece]) -> dict[str, Entry]:
        runs, names = self.run(pieces)
        first = runs[frozenset()]
        varying = {
            path
            for run in runs.values()
            for path in run.keys() | first.keys()
            if run.get(path) != first.get(path)
        }
        found: dict[str, Entry] = {path: (self.varying(path, runs, names),) for path in varying}
        for path, text in first.items():
            if path not in varying:
                found[path] = self.moved(text, path) if isinstance(text, Moved) else (constant(text),)
        return found

    def moved(self, moved: Moved, path: str) -> Entry:
        """Return a file that the hook kept under this path in every variation."""
        piece = self.factoring.by_source[moved.source]
        alone = self.finished[piece.source]
        if alone.paths == {path} and all(one.path for one in alone.table.values()):
            return self.entry(piece, path)
        names = self.factoring.varied(piece.all_sorted)
        return (tabulate(self.declaration, names, lambda one: self.identity(piece, one)),)

    def varying(
        self, path: str, runs: dict[Combination, dict[str, str | Moved]], names: frozenset[str]
    ) -> Function:
        scope = self.declaration.scope(names)
        for run in runs.values():
            if isinstance(text := run.get(path), Moved):
                names |= self.factoring.varied(self.factoring.by_source[text.source].all_sorted)

        def identity(variation: Combination) -> str:
            text = runs[variation & scope].get(path, "")
            if isinstance(text, Moved):
                return self.identity(self.factoring.by_source[text.source], variation)
            return text

        return tabulate(self.declaration, names, identity)

    def run(self, pieces: list[Piece]) -> tuple[dict[Combination, dict[str, str | Moved]], frozenset[str]]:
        """Run `finish_together` for each variation of the prompts that decide its input.

        Return the resulting files by variation, and these prompts.
        """
        factoring = self.factoring
        while True:
            learned = factoring.learning.times
            reads = factoring.hook_reads
            # A hook that gets all files at once reads answers that differ in each combination: do not cache by them.
            key = tuple(self.base[name] for name in sorted(reads)) if factoring.hook.by_file else ()
            looked_at = factoring.looked_at.setdefault(key, set())
            given = [(piece, self.given(piece, looked_at)) for piece in pieces]
            names = factoring.varied(reads).union(*(how.names for _, how in given))
            always = self.place([(piece, how) for piece, how in given if not how.names], frozenset())
            others = [(piece, how) for piece, how in given if how.names]
            runs = {}
            for variation in self.declaration.variations_of(names):
                files = {**always, **self.place(others, variation)}
                found = self.run_once(files, variation, looked_at)
                if found is None:
                    break
                runs[variation] = found
            if learned == factoring.learning.times:
                return runs, names

    def given(self, piece: Piece, looked_at: set[str]) -> Given:
        """Return how a file is passed to the hook: sealed, if its text depends on answers that the hook does not read."""
        reads = self.factoring.hook_reads
        alone = self.finished[piece.source]
        if not piece.is_bytes and (piece.source in looked_at or reads.issuperset(piece.all_sorted)):
            entries = (self.entry(piece, path) for path in alone.paths)
            return Given(True, frozenset[str]().union(*map(names_of, entries)))
        if len(alone.paths) == 1 and all(one.path for one in alone.table.values()):
            return Given(False, frozenset())
        return Given(False, self.presence(piece, alone))

    def presence(self, piece: Piece, alone: Alone) -> frozenset[str]:
        names = self.factoring.varied(piece.decides_sorted)
        return tabulate(self.declaration, names, lambda one: alone.at(one).path).names

    def place(self, given: list[tuple[Piece, Given]], variation: Combination) -> dict[str, Any]:
        files: dict[str, Any] = {}
        for piece, how in given:
            path, text = self.finished[piece.source].at(variation)
            if path in files:
                raise NotFactoredError(f"{path} comes from two files of the template")
            if path and how.is_open:
                files[path] = (
                    self.factoring.whole_text(piece, self.values(variation)) if text is None else text
                )
            elif path:
                files[path] = piece
        return files

    def run_once(
        self, placed: dict[str, Any], variation: Combination, looked_at: set[str]
    ) -> dict[str, str | Moved] | None:
        """Run `finish_together` once. Return None if it turned out to read more answers or texts."""
        factoring = self.factoring
        values = self.values(variation)
        pieces = {id(item.sealed): item for item in placed.values() if type(item) is Piece}
        files = {path: item.sealed if type(item) is Piece else item for path, item in placed.items()}
        answers = Answers(
            factoring.answering.merged(values), factoring.answering.varied - factoring.hook_reads
        )
        try:
            after = factoring.hook.finish_together(files, answers)
        except UnreadError as unread:
            factoring.hook_reads |= unread.names
            factoring.looked_at.clear()
            factoring.learning.times += 1
            return None
        except Exception:
            more = {piece.source for piece in pieces.values() if not piece.is_bytes} - looked_at
            if not more:
                raise
            looked_at |= more
            factoring.learning.times += 1
            return None
        return {
            path: self.identities.new(text) if type(text) is str else pieces[id(text)].moved
            for path, text in after.items()
        }


def refuse_twice(paths: Set[str], files: Mapping[str, object]) -> None:
    for path in paths & files.keys():
        raise NotFactoredError(f"{path} comes from two files of the template")


def plain_text(content: bytes) -> Text:
    """Return copied content as text, or as bytes if it is not UTF-8 or has carriage returns."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return content
    return content if "\r" in text else text


class CombinationError(Exception):
    """A combination that cannot be rendered."""


@dataclass
class Identities:
    """A cache of the identities of texts."""

    store: Store
    known: dict[Text, str] = field(default_factory=dict)
    files: dict[tuple[str, ...], str] = field(default_factory=dict)

    def of(self, text: str | bytes) -> str:
        identity = self.known.get(text)
        if identity is None:
            identity = self.known[text] = self.new(text)
        return identity

    def new(self, text: str | bytes) -> str:
        """Return the identity of a text that is probably new, without keeping the text."""
        content = text if isinstance(text, bytes) else text.encode()
        return self.store.add({"": content})[""]

    def joined(self, sections: tuple[str, ...]) -> str:
        """Return the identity of a file with several sections."""
        identity = self.files.get(sections)
        if identity is None:
            content = b"".join(map(self.store.read, sections))
            identity = self.files[sections] = self.store.add({"": content})[""]
        return identity


class Answering:
    """The answers for each combination, as Cookiecutter itself computes them from cookiecutter.json."""

    def __init__(self, declaration: Declaration) -> None:
        self.declaration = declaration
        first = next(declaration.combinations())
        raw, answers = self.ask(first)
        self.raw, self.fixed = raw, answers
        self.asked = frozenset([*declaration.patterns, *declaration.choices])
        # Answers that are derived from prompts: those prompts whose value is a template, and all that depend on
        # prompts.
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
        """Return the answers before and after rendering."""
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
        """Return the answers that differ between combinations: the prompts, and the answers derived from them."""
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
        """Yield the name and value of each template variable."""
        yield CONTEXTS[0], self.merged(values)
        unrendered = {name: value for name, value in self.raw.items() if not name.startswith("_")}
        for name in self.asked:
            if isinstance(unrendered[name], list):
                others = [value for value in unrendered[name] if value != values[name]]
                unrendered[name] = [values[name], *others]
            else:
                unrendered[name] = values[name]
        yield CONTEXTS[1], unrendered


def names_in(value: object, answers: Collection[str]) -> set[str]:
    """Return the answers that a default value may read, if it is a template."""
    text = json.dumps(value, ensure_ascii=False)
    if not JINJA.search(text):
        return set()
    return {name for name in answers if re.search(rf"\b{re.escape(name)}\b", text)} or set(answers)


def newline_of(file: Path, context: Mapping[str, Any]) -> str:
    """Return the line ending that Cookiecutter writes: the configured one, or the first in the file."""
    if configured := context["cookiecutter"].get("_new_lines"):
        return str(configured)
    with file.open(encoding="utf-8") as lines:
        lines.readline()
        found = lines.newlines
    return (found[0] if isinstance(found, tuple) else found) or os.linesep


# The templates that this process has split into pieces.
FACTORED: dict[str, Factoring] = {}


def factored(declaration: Declaration) -> Factoring:
    """Return the pieces of a template. They are cached, so the template must not change while the process runs.

    Raises:
        NotFactoredError: the template must be rendered whole.
    """
    key = repr((declaration.template, declaration.answers))
    if key not in FACTORED:
        rendering.read_and_replace_once()
        FACTORED[key] = Factoring(declaration)
    return FACTORED[key]
