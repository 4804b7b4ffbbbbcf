"""Represents all variations of a combination at once: each file is a function of the prompts that it depends on.

There can be hundreds of variations, but most files depend on one or two prompts, so they have few forms. In a file
with several sections, such as a README, each section is a function.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Self

from .template import Combination, Declaration
from .trees import Store, Tree

# The identity of each file that differs, by path; empty if the file does not exist.
Delta = dict[str, str]


class Function(NamedTuple):
    """The identity of a text for each subset of `scope` that a variation can have; empty if the file does not exist.

    `names` are the prompts that it depends on, and `scope` their items.
    """

    names: frozenset[str]
    scope: Combination
    table: dict[Combination, str]

    def at(self, variation: Combination) -> str:
        return self.table[variation & self.scope]


# A file: a function for each section. Only a file with one section can be absent.
Entry = tuple[Function, ...]


def constant(identity: str) -> Function:
    return Function(frozenset(), frozenset(), {frozenset(): identity})


def names_of(entry: Entry) -> frozenset[str]:
    return frozenset[str]().union(*(function.names for function in entry))


def tabulate(declaration: Declaration, names: Iterable[str], value: Callable[[Combination], str]) -> Function:
    """Evaluate `value` in each variation of these prompts. Return the function without prompts that have no effect."""
    varied = declaration.varied_prompts.intersection(names)
    table = {variation: value(variation) for variation in declaration.variations_of(varied)}
    if len(set(table.values())) == 1:
        return constant(table[frozenset()])
    for name in sorted(varied):
        scope = declaration.scope(varied - {name})
        smaller: dict[Combination, str] = {}
        if all(smaller.setdefault(one & scope, text) == text for one, text in table.items()):
            varied, table = varied - {name}, smaller
    return Function(varied, declaration.scope(varied), table)


class Family(NamedTuple):
    """The files of a combination: constant ones, which are the same in every variation, and the others."""

    constant: Tree
    entries: dict[str, Entry]

    @classmethod
    def of_trees(cls, declaration: Declaration, trees: Mapping[Combination, Tree]) -> Self:
        """Return the family of projects that were rendered separately."""
        paths = dict.fromkeys(path for tree in trees.values() for path in tree)
        same: Tree = {}
        entries: dict[str, Entry] = {}
        for path in paths:
            forms = {one: tree.get(path, "") for one, tree in trees.items()}
            function = tabulate(declaration, declaration.varied_prompts, forms.__getitem__)
            if function.names:
                entries[path] = (function,)
            else:
                same[path] = function.at(frozenset())
        return cls(same, entries)

    def names(self, paths: Iterable[str] | None = None) -> frozenset[str]:
        """Return the varied prompts that the given files depend on; by default all files that vary."""
        entries = self.entries.values() if paths is None else (self.entries[path] for path in paths)
        return frozenset[str]().union(*map(names_of, entries))

    @property
    def optional(self) -> dict[str, Function]:
        """The files that are absent in some variation."""
        return {path: entry[0] for path, entry in self.entries.items() if "" in entry[0].table.values()}


@dataclass(frozen=True, eq=False)
class Varied(Mapping[Combination, Delta]):
    """The projects of a combination by variation: the whole tree for the first one, differences for the others."""

    family: Family
    declaration: Declaration
    joined: "Joined"

    def tree(self, variation: Combination) -> Tree:
        found = dict(self.family.constant)
        for path in self.family.entries:
            if identity := self.identity(path, variation):
                found[path] = identity
        return found

    def identity(self, path: str, variation: Combination) -> str:
        """Return the identity of a file that varies."""
        entry = self.family.entries[path]
        if len(entry) == 1:
            return entry[0].at(variation)
        return self.joined.identity(tuple(function.at(variation) for function in entry))

    def table(self, path: str) -> dict[Combination, str]:
        """Return the identity of a file in each variation of the prompts that it depends on."""
        names = names_of(self.family.entries.get(path, ()))
        if not names:
            return {frozenset(): self.family.constant.get(path, "")}
        return {one: self.identity(path, one) for one in self.declaration.variations_of(names)}

    def __getitem__(self, variation: Combination) -> Delta:
        tree = self.tree(variation)
        return difference(self.tree(frozenset()), tree) if variation else tree

    def __iter__(self) -> Iterator[Combination]:
        return iter(self.declaration.variations)

    def __len__(self) -> int:
        return len(self.declaration.variations)


@dataclass(frozen=True, eq=False)
class Joined:
    """A cache of files with several sections. Each file is joined when it is first needed."""

    store: Store
    known: dict[tuple[str, ...], str] = field(default_factory=dict)

    def identity(self, sections: tuple[str, ...]) -> str:
        found = self.known.get(sections)
        if found is None:
            content = b"".join(map(self.store.read, sections))
            found = self.known[sections] = self.store.add({"": content})[""]
        return found


def difference(first: Tree, other: Tree) -> Delta:
    delta = {path: identity for path, identity in other.items() if first.get(path) != identity}
    return delta | dict.fromkeys(first.keys() - other.keys(), "")


def count_files(families: Iterable[Family]) -> int:
    """Return the number of distinct files, by path and text."""
    single: set[tuple[str, str]] = set()
    # The ids of the sections that vary in each family, by path and constant sections.
    several: dict[tuple[str, tuple[str, ...]], set[tuple[int, ...]]] = {}
    functions: dict[int, Function] = {}
    for family in families:
        single |= family.constant.items()
        for path, entry in family.entries.items():
            if len(entry) == 1:
                single.update((path, identity) for identity in entry[0].table.values() if identity)
                continue
            fixed = tuple("" if one.names else one.at(frozenset()) for one in entry)
            varied = [one for one in entry if one.names]
            functions.update((id(one), one) for one in varied)
            several.setdefault((path, fixed), set()).add(tuple(map(id, varied)))
    counted: dict[frozenset[tuple[int, ...]], int] = {}
    for forms in several.values():
        key = frozenset(forms)
        if key not in counted:
            counted[key] = len({text for form in forms for text in texts([functions[one] for one in form])})
    return len(single) + sum(counted[frozenset(forms)] for forms in several.values())


def texts(functions: list[Function]) -> Iterator[tuple[str, ...]]:
    """Yield the identities of the sections of a file, in every variation."""
    found: dict[Combination, list[tuple[str, ...]]] = {frozenset(): [()]}
    scopes: Combination = frozenset()
    for function in functions:
        known, found = found, {}
        for variation, starts in known.items():
            for one, text in function.table.items():
                # Combine them only if the items that both depend on are equal.
                if one & scopes & function.scope == variation & scopes & function.scope:
                    found.setdefault(variation | one, []).extend((*start, text) for start in starts)
        scopes |= function.scope
    for starts in found.values():
        yield from starts
