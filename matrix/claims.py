"""Checks a template's claims about its varied prompts in every combination.

The effect of such a prompt does not depend on the other answers, so a few projects show it. An additive prompt adds a
fixed set of files, unless they already exist, and inserts fixed lines into fixed files. A value of a uniform choice adds
and removes a fixed set of files, and replaces fixed lines wherever they appear under the same heading. A heading is the
last line above that is not indented.

Both are checked section by section, over the variations of the prompts that the section depends on. Only files that
tests of the whole project see are checked, with the prompts beside the server at their defaults. Those prompts may
change sections of such files in any way, if a project of the linear design has each form of the section.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import NamedTuple

from .families import Entry, Function, Varied, constant
from .template import Combination, Declaration
from .trees import Store

# A section of a file: the path, and the index of the section.
Place = tuple[str, int]
# The identities of a section without and with a change; empty if the file does not exist.
Change = tuple[str, str]
Lines = tuple[str, ...]
# The heading of some lines, then the lines.
Block = tuple[str, ...]


class Finding(NamedTuple):
    """A combination in which a claim does not hold, and why."""

    combination: Combination
    text: str


@dataclass
class Additions:
    """What an additive prompt adds in the first combination. The others are compared with it."""

    store: Store
    changes: dict[Place, Change]
    inserted: dict[Place, list[Lines]] = field(default_factory=dict)
    known: dict[tuple[Place, str, str], str] = field(default_factory=dict)

    def problem(self, place: Place, old: str, new: str, *, text: bool) -> str:
        """Return how a change differs from that in the first combination, or an empty string.

        Without `text`, compare only which files exist, not their lines.
        """
        path, _ = place
        first = self.changes.get(place)
        if old == new:
            # Another prompt may already have added the file.
            is_there = first is None or (not first[0] and old == first[1])
            return "" if is_there else f"{path} does not change, as elsewhere"
        if first is None:
            return f"{path} changes, and not elsewhere"
        if not old or not new or not first[0]:
            as_elsewhere = (old, new) == first if text else (bool(old), bool(new)) == (*map(bool, first),)
            return "" if as_elsewhere else f"{path} is not added with the same text as elsewhere"
        if not text:
            return ""
        key = (place, old, new)
        if key not in self.known:
            self.known[key] = self.problem_of_text(place, old, new)
        return self.known[key]

    def problem_of_text(self, place: Place, old: str, new: str) -> str:
        path, _ = place
        if place not in self.inserted:
            before, after = (lines_of(self.store, identity) for identity in self.changes[place])
            self.inserted[place] = insertions(before, after) or []
        if not self.inserted[place]:
            return f"{path} loses or changes lines"
        if not is_inserted(lines_of(self.store, old), lines_of(self.store, new), self.inserted[place]):
            return f"{path} does not gain the same lines as elsewhere, and those alone"
        return ""


@dataclass
class Replacements:
    """What a value of a uniform choice replaces in each file."""

    store: Store
    replaced: dict[str, dict[Block, Lines]] = field(default_factory=dict)
    seen: dict[Place, set[Change]] = field(default_factory=dict)
    known: dict[tuple[Place, str, str], bool] = field(default_factory=dict)

    def learn(self, place: Place, old: str, new: str) -> None:
        seen = self.seen.setdefault(place, set())
        if old and new and old != new and (old, new) not in seen:
            seen.add((old, new))
            table = self.replaced.setdefault(place[0], {})
            for before, after in hunks(lines_of(self.store, old), lines_of(self.store, new)):
                table.setdefault(before, after)

    def is_replaced(self, place: Place, old: str, new: str) -> bool:
        """Return whether exactly the lines in the table are replaced.

        A section that has the same text in every project may be replaced as a whole.
        """
        if self.seen.get(place) == {(old, new)}:
            return True
        key = (place, old, new)
        if key not in self.known:
            table = self.replaced.get(place[0], {})
            replaced = replace_lines(lines_of(self.store, old), table)
            self.known[key] = replaced == lines_of(self.store, new)
        return self.known[key]


def lines_of(store: Store, identity: str) -> Lines:
    return tuple(store.read(identity).decode(errors="surrogateescape").splitlines(keepends=True))


def insertions(before: Lines, after: Lines) -> list[Lines] | None:
    """Return the blocks of lines that were inserted, or None if other lines changed too."""
    found = []
    for kind, start, end, first, last in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "insert":
            found.append(after[first:last])
        elif kind != "equal":
            return None
        assert kind == "insert" or end > start
    return found


def is_inserted(before: Lines, after: Lines, blocks: list[Lines]) -> bool:
    """Return whether `after` is `before` with these blocks of lines inserted, in this order."""
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
    """Yield each replaced block and its replacement. An insertion replaces the line above it."""
    above = headings(before)
    if len(before) == len(after):
        # Compare line by line: SequenceMatcher is slow on long texts.
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
    """Return the heading of each indented line, and an empty string for the other lines."""
    found = []
    heading = ""
    for line in lines:
        indented = line[:1].isspace()
        found.append(heading if indented else "")
        heading = heading if indented else line
    return found


def replace_lines(lines: Lines, table: dict[Block, Lines]) -> Lines:
    """Replace blocks of lines wherever they appear, longest first."""
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
    """Checks the claims of a template against its projects."""

    store: Store
    declaration: Declaration
    projects: Mapping[Combination, Varied]
    # Returns whether tests of the whole project see a file.
    is_seen: Callable[[str], bool] = bool
    # The same, including tests that prompts beside the server add.
    is_shown: Callable[[str], bool] = bool
    # The number of sections of each file; 1 if the number differs between projects.
    sections: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for project in self.projects.values():
            for path, entry in project.family.entries.items():
                if self.sections.setdefault(path, len(entry)) != len(entry):
                    self.sections[path] = 1
        for project in self.projects.values():
            for path, count in self.sections.items():
                if count > 1 and path not in project.family.entries:
                    self.sections[path] = 1

    def findings(self) -> Iterator[Finding]:
        """Yield each violation, at most one for each combination and value of an additive or uniform prompt."""
        for name in self.declaration.additive:
            yield from self.check_additive(name)
        for name in self.declaration.uniform:
            for value in self.declaration.choices.get(name, ())[1:]:
                yield from self.check_uniform(name, value)
        if self.declaration.beside:
            yield from self.check_beside()

    def entry(self, project: Varied, path: str) -> Entry:
        """Return the sections of a file, merged into one if the number of sections differs between projects."""
        entry = project.family.entries.get(path)
        if entry is None:
            return (constant(project.family.constant.get(path, "")),)
        if len(entry) == 1 or self.sections[path] > 1:
            return entry
        names = frozenset[str]().union(*(one.names for one in entry))
        return (Function(names, self.declaration.scope(names), project.table(path)),)

    def changes(
        self, project: Varied, path: str, name: str, change: Combination
    ) -> Iterator[tuple[Place, Combination, Change]]:
        """Yield the effect of a change on each section of a file, in each variation of its other prompts.

        The prompts beside the server are at their defaults.
        """
        fixed = self.declaration.scope({name, *self.declaration.beside})
        for number, function in enumerate(self.entry(project, path)):
            for variation, old in function.table.items():
                if not variation & fixed:
                    yield (path, number), variation, (old, function.at(variation | change))

    def check_additive(self, name: str) -> Iterator[Finding]:
        """Compare every project with the first one, and data files of folded projects with the first folded one.

        For modules that the fold rewrites, only additions and removals are compared: `Folding` compares their code.
        """
        first: dict[bool, Additions] = {}
        change = frozenset({name})
        for combination, project in self.projects.items():
            folded = self.declaration.is_folded(combination)
            if folded not in first:
                first[folded] = self.first_additions(project, name)
            problem = next(self.contradictions(combination, first, name, change), "")
            if problem:
                yield Finding(combination, f"{name} is not additive: {problem}")

    def first_additions(self, project: Varied, name: str) -> Additions:
        change = frozenset({name})
        found = {
            place: (old, new)
            for path in project.family.entries
            for place, variation, (old, new) in self.changes(project, path, name, change)
            if not variation and old != new
        }
        return Additions(self.store, found)

    def contradictions(
        self, combination: Combination, first: dict[bool, Additions], name: str, change: Combination
    ) -> Iterator[str]:
        project = self.projects[combination]
        folded = self.declaration.is_folded(combination)
        paths = {
            path for path, entry in project.family.entries.items() if any(name in one.names for one in entry)
        }
        for additions in first.values():
            paths |= {path for path, _ in additions.changes}
        for path in sorted(paths):
            if not self.is_seen(path) or self.is_moved(combination, path):
                continue
            additions = first.get(folded and not path.endswith(".py")) or first[folded]
            text = not self.is_rewritten(combination, path)
            for place, variation, (old, new) in self.changes(project, path, name, change):
                if problem := additions.problem(place, old, new, text=text):
                    yield problem + self.under(variation)

    def is_moved(self, combination: Combination, path: str) -> bool:
        """Return whether the fold creates or removes a file."""
        fold = self.declaration.fold
        if fold is None or not self.declaration.is_folded(combination):
            return False
        return path == fold.file or path.startswith(f"{fold.folder}/")

    def is_rewritten(self, combination: Combination, path: str) -> bool:
        """Return whether a module has a different text in the twin. `Folding` compares its code."""
        fold = self.declaration.fold
        if fold is None or not self.declaration.is_folded(combination) or not path.endswith(".py"):
            return False
        twin = self.projects.get(combination - {fold.prompt})
        if twin is None:
            return False
        return self.entry(self.projects[combination], path) != self.entry(twin, path)

    def check_uniform(self, name: str, value: str) -> Iterator[Finding]:
        """Collect the replacements from every project, and check that every project makes them all."""
        change = frozenset({f"{name}={value}"})
        replacements = self.learn(name, change)
        # The files that the change adds or removes in the first combination, with their identities before and after.
        first: dict[str, tuple[str, str]] | None = None
        for combination, project in self.projects.items():
            presence = self.presence(project, name, change)
            if first is None:
                first = {path: changes[0][1] for path, changes in presence.items() if changes}
            problem = next(self.differences(presence, first), "")
            problem = problem or next(self.unreplaced(project, replacements, name, change), "")
            if problem:
                yield Finding(combination, f"{name} is not uniform: {problem} with {name}={value}")

    def check_beside(self) -> Iterator[Finding]:
        """Find forms of sections that depend on prompts beside the server and that no project of the linear design has."""
        design = {self.declaration.core(one) for one in self.declaration.linear_design().values()}
        shown = {form for one in design & self.projects.keys() for _, form in self.forms(one)}
        for combination in self.projects:
            for who, form in self.forms(combination):
                if form not in shown:
                    text = f"no project of the linear design has these lines of {form[0][0]}"
                    yield Finding(combination, f"{who} is not beside the server: {text}")

    def forms(self, combination: Combination) -> Iterator[tuple[str, tuple[Place, object]]]:
        """Yield the prompts beside the server that decide a section, and its forms.

        Only files that tests of the whole project see are included.
        """
        project = self.projects[combination]
        for path in filter(self.is_shown, project.family.entries):
            for number, function in enumerate(self.entry(project, path)):
                if names := function.names & self.declaration.beside.keys():
                    form = function.names, tuple(function.table.values())
                    yield ", ".join(sorted(names)), ((path, number), form)

    def learn(self, name: str, change: Combination) -> Replacements:
        """Return the lines that a change replaces in any project."""
        replacements = Replacements(self.store)
        for project in self.projects.values():
            for path in filter(self.is_seen, project.family.entries):
                for place, _, (old, new) in self.changes(project, path, name, change):
                    replacements.learn(place, old, new)
        return replacements

    def presence(
        self, project: Varied, name: str, change: Combination
    ) -> dict[str, list[tuple[Combination, Change]]]:
        """Return the files that a change adds or removes."""
        found: dict[str, list[tuple[Combination, Change]]] = {}
        for path in project.family.optional:
            if not self.is_seen(path):
                continue
            changes = list(self.changes(project, path, name, change))
            if any(bool(old) != bool(new) for _, _, (old, new) in changes):
                found[path] = [(variation, both) for _, variation, both in changes]
        return found

    def differences(
        self, presence: dict[str, list[tuple[Combination, Change]]], first: dict[str, Change]
    ) -> Iterator[str]:
        """Yield the files that are not added or removed as in the first combination."""
        for path in sorted(presence.keys() | first.keys()):
            wanted = first.get(path)
            changes = presence.get(path, [])
            if not changes:
                yield f"{path} is not {'removed' if wanted and wanted[0] else 'added with the same text'} as elsewhere"
            for variation, (old, new) in changes:
                if wanted is None or bool(old) != bool(wanted[0]):
                    kind = "removed" if old and not new else "added with the same text"
                    yield f"{path} is not {kind} as elsewhere{self.under(variation)}"
                elif bool(new) != bool(wanted[1]):
                    yield f"{path} is not removed as elsewhere{self.under(variation)}"
                elif not old and new != wanted[1]:
                    yield f"{path} is not added with the same text as elsewhere{self.under(variation)}"

    def unreplaced(
        self, project: Varied, replacements: Replacements, name: str, change: Combination
    ) -> Iterator[str]:
        for path in replacements.replaced:
            for place, variation, (old, new) in self.changes(project, path, name, change):
                if old and new and not replacements.is_replaced(place, old, new):
                    yield f"{path} does not change in the same lines as elsewhere{self.under(variation)}"

    def under(self, variation: Combination) -> str:
        return f" (where {', '.join(sorted(variation))})" if variation else ""
