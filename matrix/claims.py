"""Checks, in every combination, what a template claims of its additive prompts and uniform choices.

An additive prompt adds the same files, unless they are there already, and inserts the same lines into the same files,
whatever else is chosen. A value of a uniform choice adds and removes the same files, and replaces the same lines wherever
they appear under the same heading: the last line above them that is not indented. So what either of them changes can be
shown in a few projects, and not in each.
"""

from collections import ChainMap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import NamedTuple

from .template import Combination, Declaration
from .trees import Store

# By path, what a file holds without the prompt and with it; nothing where there is no such file.
Changes = dict[str, tuple[str, str]]
Lines = tuple[str, ...]
# The heading of some lines, then the lines.
Block = tuple[str, ...]


class Finding(NamedTuple):
    """A combination in which a claim does not hold, and why."""

    combination: Combination
    text: str


@dataclass
class Additions:
    """What an additive prompt has added in the first combination, to which the others are compared."""

    store: Store
    prompt: str
    first: Combination
    changes: Changes
    inserted: dict[str, list[Lines]] = field(default_factory=dict)
    known: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def problems(self, changes: Changes, held: Mapping[str, str]) -> Iterator[str]:
        """Return in what a combination contradicts the first; `held` are its files without the prompt."""
        for path in sorted(changes.keys() | self.changes.keys()):
            if path not in changes:
                old, new = self.changes[path]
                if not old and held.get(path) == new:
                    continue  # it is there already, for another prompt
                yield f"{path} does not change, as elsewhere"
            elif path not in self.changes:
                yield f"{path} changes, and not elsewhere"
            else:
                old, new = changes[path]
                if not old or not new or not self.changes[path][0]:
                    if (old, new) != self.changes[path]:
                        yield f"{path} is not added with the same text as elsewhere"
                    continue
                text = self.known.get((path, old, new))
                if text is None:
                    text = self.known[path, old, new] = self.problem_of_text(path, old, new)
                if text:
                    yield text

    def problem_of_text(self, path: str, old: str, new: str) -> str:
        before, after = self.lines(old), self.lines(new)
        if path not in self.inserted:
            found = insertions(self.lines(self.changes[path][0]), self.lines(self.changes[path][1]))
            self.inserted[path] = found or []
        if not self.inserted[path]:
            return f"{path} loses or changes lines"
        if not is_inserted(before, after, self.inserted[path]):
            return f"{path} does not gain the same lines as elsewhere, and those alone"
        return ""

    def lines(self, identity: str) -> Lines:
        return lines_of(self.store, identity)


@dataclass
class Replacements:
    """What a value of a uniform choice has replaced so far, by path."""

    store: Store
    changes: Changes
    replaced: dict[str, dict[Block, Lines]] = field(default_factory=dict)
    seen: dict[str, set[tuple[str, str]]] = field(default_factory=dict)

    def learn(self, changes: Changes) -> None:
        for path, (old, new) in changes.items():
            seen = self.seen.setdefault(path, set())
            if old and new and (old, new) not in seen:
                seen.add((old, new))
                table = self.replaced.setdefault(path, {})
                for before, after in hunks(lines_of(self.store, old), lines_of(self.store, new)):
                    table.setdefault(before, after)

    def files_problems(self, changes: Changes) -> Iterator[str]:
        """Return which files come or go that do not in the first combination."""
        for path in sorted(changes.keys() | self.changes.keys()):
            old, new = changes.get(path, ("-", "-"))
            first_old, first_new = self.changes.get(path, ("-", "-"))
            if (not old or not first_old) and (old, new) != (first_old, first_new):
                yield f"{path} is not added with the same text as elsewhere"
            elif bool(new) != bool(first_new):
                yield f"{path} is not removed as elsewhere"

    def is_replaced(self, path: str, old: str, new: str) -> bool:
        """Return whether only the lines of the table are replaced in a text. A file of one text may be replaced as a whole."""
        if self.seen.get(path) == {(old, new)}:
            return True
        table = self.replaced.get(path, {})
        return replace_lines(lines_of(self.store, old), table) == lines_of(self.store, new)


def lines_of(store: Store, identity: str) -> Lines:
    return tuple(store.read(identity).decode(errors="surrogateescape").splitlines(keepends=True))


def insertions(before: Lines, after: Lines) -> list[Lines] | None:
    """Return the blocks of lines that one text has more than another; none if it has not only more."""
    found = []
    for kind, start, end, first, last in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "insert":
            found.append(after[first:last])
        elif kind != "equal":
            return None
        assert kind == "insert" or end > start
    return found


def is_inserted(before: Lines, after: Lines, blocks: list[Lines]) -> bool:
    """Return whether a text is another with these blocks of lines inserted, in this order."""
    if not blocks:
        return before == after
    block, *others = blocks
    for position in range(len(before) + 1):
        following = after[position : position + len(block)]
        if following == block and is_inserted(before[position:], after[position + len(block) :], others):
            return True
        if before[position : position + 1] != after[position : position + 1]:
            return False
    return False


def hunks(before: Lines, after: Lines) -> Iterator[tuple[Block, Lines]]:
    """Return the lines that are replaced, and by what; lines that are only added with the line above them."""
    above = headings(before)
    if len(before) == len(after):
        # Nothing moves: line by line, since a comparison of long texts takes a while.
        for heading, old, new in zip(above, before, after, strict=True):
            if old != new:
                yield (heading, old), (new,)
        return
    for kind, start, end, first, last in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "insert" and start:
            yield (above[start - 1], before[start - 1]), before[start - 1 : start] + after[first:last]
        elif kind not in ("equal", "insert"):
            yield (above[start], *before[start:end]), after[first:last]


def headings(lines: Lines) -> list[str]:
    """Return which line each is under: the last one above it that is not indented, if it is indented itself."""
    found = []
    heading = ""
    for line in lines:
        indented = line[:1].isspace()
        found.append(heading if indented else "")
        heading = heading if indented else line
    return found


def replace_lines(lines: Lines, table: dict[Block, Lines]) -> Lines:
    """Replace blocks of lines wherever they appear, the longest first."""
    blocks = sorted(table, key=len, reverse=True)
    starts = {block[:2] for block in blocks}
    above = headings(lines)
    found: list[str] = []
    position = 0
    while position < len(lines):
        block: Block = ()
        if (above[position], lines[position]) in starts:
            fitting = (
                item
                for item in blocks
                if item[0] == above[position] and lines[position : position + len(item) - 1] == item[1:]
            )
            block = next(fitting, ())
        if block:
            found += table[block]
            position += len(block) - 1
        else:
            found.append(lines[position])
            position += 1
    return tuple(found)


@dataclass
class Claims:
    """The claims of a template, checked in all its projects."""

    store: Store
    declaration: Declaration
    # By combination, each variation as what differs from the first.
    projects: dict[Combination, dict[Combination, dict[str, str]]]

    def findings(self) -> Iterator[Finding]:
        """Return where a claim does not hold, each once by combination and prompt."""
        for name in self.declaration.additive:
            yield from self.check_additive(name)
        for name in self.declaration.uniform:
            for value in self.declaration.choices.get(name, ())[1:]:
                yield from self.check_uniform(name, value)

    def pairs(
        self, change: Combination, instead_of: Combination
    ) -> Iterator[tuple[Combination, Combination, Changes]]:
        """Return, for each project without a change, in what it differs from the one with it."""
        without = [one for one in self.declaration.variations if not one & instead_of]
        for combination, project in self.projects.items():
            first = project[frozenset()]
            for variation in without:
                before = project[variation] if variation else {}
                after = project[variation | change]
                changes = {}
                for path in before.keys() | after.keys():
                    old = before.get(path, first.get(path, ""))
                    new = after.get(path, first.get(path, ""))
                    if old != new:
                        changes[path] = (old, new)
                yield combination, variation, changes

    def check_additive(self, name: str) -> Iterator[Finding]:
        """A folded project is left to the comparison with its twin: the pattern's file is a section there."""
        additions: Additions | None = None
        change = frozenset({name})
        for combination, variation, changes in self.pairs(change, change):
            if self.declaration.is_folded(combination):
                continue
            if additions is None:
                additions = Additions(self.store, name, combination, changes)
            held = ChainMap(self.projects[combination][variation], self.projects[combination][frozenset()])
            for problem in additions.problems(changes, held):
                yield Finding(combination, f"{name} is not additive: {problem}{self.under(variation)}")
                break

    def check_uniform(self, name: str, value: str) -> Iterator[Finding]:
        """Learn from every project what is replaced, and find that it is replaced in every one."""
        change = frozenset({f"{name}={value}"})
        others = frozenset(f"{name}={other}" for other in self.declaration.choices[name])
        replacements: Replacements | None = None
        for _, _, changes in self.pairs(change, others):
            if replacements is None:
                replacements = Replacements(self.store, changes)
            replacements.learn(changes)
        if replacements is None:
            return
        known: dict[tuple[str, str, str], bool] = {}
        for combination, variation, changes in self.pairs(change, others):
            problem = next(replacements.files_problems(changes), "")
            tree = self.projects[combination][frozenset()] | self.projects[combination][variation]
            for path in replacements.replaced.keys() & tree.keys():
                old = tree[path]
                triple = (path, old, changes.get(path, (old, old))[1])
                if not (triple[1] and triple[2]):
                    continue
                if triple not in known:
                    known[triple] = replacements.is_replaced(*triple)
                if not known[triple]:
                    problem = problem or f"{path} does not change in the same lines as elsewhere"
            if problem:
                text = f"{name} is not uniform: {problem} with {name}={value}{self.under(variation)}"
                yield Finding(combination, text)

    def under(self, variation: Combination) -> str:
        return f" (where {', '.join(sorted(variation))})" if variation else ""
