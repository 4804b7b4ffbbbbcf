"""Describes a template to the engine: its prompts from cookiecutter.json, and what it declares for each project."""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

# The yes/no prompts that are on, and `choice=value` for each choice that is not at its default. The values of a
# prompt beside the server are the labels of its answers.
Combination = frozenset[str]

# A test file that sees the whole project, so it runs in every combination.
EACH = 0
# A test file that sees the whole project and runs in a few combinations, which cover every setting of any four
# prompts.
ANY_FOUR = -4


@dataclass(frozen=True)
class Fold:
    """A prompt that moves the modules of a folder into one file without changing code.

    Each module's body is unchanged in that file, under a comment line with the module's name.
    """

    prompt: str
    folder: str
    file: str


@dataclass(frozen=True)
class Declaration:
    """What a template declares about its projects. Paths are relative to the project and have forward slashes.

    - `files` returns the exact files of a combination.
    - `probe` is a function, as `file:name`. It is called in the project with the package's name, and must return the
      same as `listing`.
    - `closures` is the number of distinct closures of each test file, or `EACH` or `ANY_FOUR` for tests that see the
      whole project. Folded projects are not counted.
    - `unit_tests` returns the template's own tests, by path. They run in a project next to its tests.
    - Tests under `processes` start processes. Those in `processes_everywhere` run on the linear design, and all of
      them where no or all prompts are chosen.

    The engine checks three claims in every combination. They reduce the number of projects to test. The effect of the
    first two does not depend on the other answers: an `additive` yes/no prompt adds a fixed set of files and inserts
    fixed lines into fixed files, and a value of a `uniform` choice adds and removes a fixed set of files and replaces
    fixed lines wherever they appear. A prompt `beside` the server changes only files that neither code nor tests of the
    whole project see. It can be of any kind: `beside` maps labels to its answers, the default first.

    `files` and `unit_tests` get a `Chosen`, which records the prompts that they read.
    """

    template: Path
    package: str
    files: Callable[[Combination], set[str]]
    probe: str
    listing: Callable[[Combination], object]
    closures: Mapping[str, int]
    unit_tests: Callable[[Combination], Mapping[str, bytes]] = lambda _: {}
    sources: str = "src"
    processes: str = "tests/production"
    processes_everywhere: Collection[str] = ()
    fold: Fold | None = None
    additive: Collection[str] = ()
    uniform: Collection[str] = ()
    beside: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    answers: Mapping[str, object] = field(default_factory=dict)
    # The pytest plugins to load.
    plugins: Sequence[str] = ()

    @cached_property
    def prompts(self) -> dict[str, Any]:
        text = (self.template / "cookiecutter.json").read_text(encoding="utf-8")
        return {name: default for name, default in json.loads(text).items() if not name.startswith("_")}

    @cached_property
    def patterns(self) -> tuple[str, ...]:
        """The yes/no prompts that are not beside the server."""
        return tuple(
            name
            for name, default in self.prompts.items()
            if isinstance(default, bool) and name not in self.beside
        )

    @cached_property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """The values of each choice that `answers` does not fix, the default first.

        The values of a prompt beside the server are the labels of its answers.
        """
        return {
            name: tuple(self.beside.get(name, values))
            for name, values in self.prompts.items()
            if name in self.beside or (isinstance(values, list) and name not in self.answers)
        }

    @property
    def folder(self) -> str:
        """The rendered name of the project's folder."""
        name = next(path.name for path in self.template.iterdir() if "{{" in path.name)
        return re.sub(r"{{\s*cookiecutter\.(\w+)\s*}}", lambda found: str(self.answers[found[1]]), name)

    def combinations(self) -> Iterator[Combination]:
        """Yield every combination of the prompts that are not varied.

        Without choices among these, consecutive combinations differ in one prompt (Gray code).
        """
        names = [name for name in reversed(self.patterns) if name not in self.additive]
        values = self.assignments(name for name in self.choices if name not in self.varied_prompts)
        for number in range(2 ** len(names)):
            code = number ^ number >> 1
            # `names` is reversed, so the first prompts change least often.
            chosen = frozenset(name for bit, name in enumerate(names) if code >> bit & 1)
            yield from (chosen | assignment for assignment in values)

    @cached_property
    def variations(self) -> list[Combination]:
        """Every combination of the varied prompts: additive prompts, uniform choices and prompts beside the server.

        The first one is empty: the defaults.
        """
        added = [(frozenset[str](), frozenset({name})) for name in self.patterns if name in self.additive]
        chosen = self.assignments(name for name in self.choices if name in self.varied_prompts)
        return [frozenset[str]().union(*items) for items in product(*added, chosen)]

    @cached_property
    def varied_prompts(self) -> frozenset[str]:
        """The additive prompts, the uniform choices, and the prompts beside the server."""
        return frozenset({name for name in self.patterns if name in self.additive}) | frozenset(
            name for name in self.choices if name in self.uniform or name in self.beside
        )

    def variations_of(self, names: Collection[str]) -> list[Combination]:
        """Return the variations of only these prompts. The first one is empty."""
        key = self.varied_prompts.intersection(names)
        if key not in self._variations_of:
            scope = self.scope(key)
            self._variations_of[key] = [one for one in self.variations if one <= scope]
        return self._variations_of[key]

    @cached_property
    def _variations_of(self) -> dict[frozenset[str], list[Combination]]:
        return {}

    def scope(self, names: Collection[str]) -> Combination:
        """Return the items of these prompts that a variation can have."""
        return frozenset(item for item in self.varying if item.partition("=")[0] in names)

    def core(self, combination: Combination) -> Combination:
        """Return a combination without its variation."""
        return combination - self.varying

    @cached_property
    def varying(self) -> Combination:
        return frozenset[str]().union(*self.variations)

    @cached_property
    def sampled_variations(self) -> list[Combination]:
        """Each additive prompt and each value of a varied choice alone, and all together, with the last values."""
        alone = [variation for variation in self.variations if len(variation) == 1]
        values = {name: f"{name}={choices[-1]}" for name, choices in self.choices.items()}
        together = frozenset(
            [
                *self.additive,
                *(values[name] for name in [*self.uniform, *self.beside] if len(self.choices[name]) > 1),
            ]
        )
        return [*alone, together] if len(together) > 1 else alone

    def assignments(self, names: Iterable[str]) -> list[Combination]:
        """Return every assignment of some choices. The first one, all defaults, is empty."""
        choices = [[None, *(f"{name}={value}" for value in self.choices[name][1:])] for name in names]
        return [frozenset(filter(None, assignment)) for assignment in product(*choices)]

    @property
    def option_combinations(self) -> int:
        """The number of combinations of all prompts that are combined."""
        count: int = 2 ** len(self.patterns)
        for values in self.choices.values():
            count *= len(values)
        return count

    def shard(self, part: str) -> set[Combination]:
        """Return the combinations of one part, such as `3/8`. A folded project is in the same part as its twin.

        Raises:
            ValueError: `part` is not two numbers, with the first one from 1 to the second.
        """
        index, _, count = part.partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise ValueError(f"{part} is not a shard: write 3/8 for the third of eight")
        fold = {self.fold.prompt} if self.fold else set[str]()
        twins = list(dict.fromkeys(combination - fold for combination in self.combinations()))
        chosen = set(twins[int(index) - 1 :: int(count)])
        return {combination for combination in self.combinations() if combination - fold in chosen}

    def bare(self) -> "Declaration":
        """Return a picklable copy with only the prompts, for worker processes."""
        return Declaration(
            template=self.template,
            package=self.package,
            files=nothing,
            probe="",
            listing=nothing,
            closures={},
            unit_tests=nothing,
            additive=self.additive,
            uniform=self.uniform,
            beside=self.beside,
            answers=self.answers,
        )

    def linear_design(self) -> dict[str, Combination]:
        """Return none, all, only each and all but each prompt: 2k + 2 combinations that cover every triple of settings."""
        every = frozenset(self.patterns)
        design = {"none": frozenset[str](), "all": every}
        design |= {f"only-{name}": frozenset({name}) for name in self.patterns}
        return design | {f"all-but-{name}": every - {name} for name in self.patterns}

    def covering_design(self) -> set[Combination]:
        """Return combinations in which every setting of any four prompts occurs equally often.

        None is folded or varied. This is an orthogonal array from a linear code. Each prompt has a bit vector, and no
        four vectors are linearly dependent. A prompt is on if the product of its vector and the number of the
        combination is odd.
        """
        fold = {self.fold.prompt} if self.fold else set[str]()
        names = [name for name in self.patterns if name not in fold and name not in self.additive]
        bits, vectors = independent_vectors(len(names), ANY_FOUR * -1)
        return {
            frozenset(
                name for name, vector in zip(names, vectors, strict=True) if (number & vector).bit_count() % 2
            )
            for number in range(2**bits)
        }

    def name(self, combination: Combination) -> str:
        """Return a short name: the chosen prompts, or those not chosen if fewer, then additive prompts and choices."""
        patterns = [name for name in self.patterns if name not in self.additive]
        chosen = [name for name in patterns if name in combination]
        left_out = [name for name in patterns if name not in combination]
        if not left_out:
            name = "all"
        elif len(left_out) < len(chosen):
            name = "all-but-" + "+".join(left_out)
        else:
            name = "+".join(chosen) or "none"
        added = [f"with-{name}" for name in self.patterns if name in self.additive and name in combination]
        return ",".join([name, *added, *sorted(item for item in combination if "=" in item)])

    def answers_for(self, combination: Combination) -> dict[str, Any]:
        """Return the answers of a combination, and those that the declaration fixes."""
        chosen = dict(item.split("=", 1) for item in combination if "=" in item)
        choices = {
            name: self.answer(name, chosen.get(name, values[0])) for name, values in self.choices.items()
        }
        return {**self.answers, **choices, **{name: name in combination for name in self.patterns}}

    def answer(self, name: str, value: str) -> Any:
        """Return the answer for a value of a choice, or for a label of a prompt beside the server."""
        return self.beside[name][value] if name in self.beside else value

    def is_folded(self, combination: Combination) -> bool:
        return self.fold is not None and self.fold.prompt in combination

    def reproduce(self, combination: Combination, then: str) -> str:
        """Return a command line that generates the project with the real Cookiecutter and runs `then` in it."""
        answers = (f"{name}={'yes' if name in combination else 'no'}" for name in self.patterns)
        others = (f"{name}={value}" for name, value in self.answers.items())
        items = (item.partition("=") for item in sorted(combination) if "=" in item)
        choices = (f"{name}={given_as(self.answer(name, value))}" for name, _, value in items)
        given = " ".join([*others, *answers, *choices])
        return f"cookiecutter . --no-input --output-dir .. {given} && cd ../{self.folder} && {then}"


def independent_vectors(count: int, strength: int) -> tuple[int, list[int]]:
    """Return a number of bits, and `count` vectors of it, of which no `strength` are linearly dependent.

    The vectors are chosen greedily, for the smallest number of bits for which that succeeds.
    """
    for bits in range(min(strength, count), count + 1):
        vectors: list[int] = []
        # `sums[n]` are the sums of n vectors.
        sums: list[set[int]] = [{0}, *(set[int]() for _ in range(strength - 1))]
        for candidate in range(1, 2**bits):
            if not any(candidate in level for level in sums):
                vectors.append(candidate)
                for size in range(strength - 1, 0, -1):
                    sums[size] |= {item ^ candidate for item in sums[size - 1]}
        if len(vectors) >= count:
            return bits, vectors[:count]
    return count, [1 << bit for bit in range(count)]


def given_as(answer: object) -> object:
    """Return the answer as written on Cookiecutter's command line."""
    return {True: "yes", False: "no"}[answer] if isinstance(answer, bool) else answer


def nothing(_: Combination) -> Any:
    return {}
