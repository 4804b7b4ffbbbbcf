"""What the engine is told of a template: its prompts, by cookiecutter.json, and what it promises of each project."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

Combination = frozenset[str]

# As many closures of a test file as there are combinations.
EACH = 0


@dataclass(frozen=True)
class Fold:
    """A prompt that changes no code, and only moves the modules of one folder into one file.

    Each module's body stands in that file as it is, under a comment line with the module's name.
    """

    prompt: str
    folder: str
    file: str


@dataclass(frozen=True)
class Declaration:
    """What a template promises of its projects. Paths have forward slashes and are relative to the project.

    `files` gives the exact files of a combination; `probe` is a function, as `file:name`, that is called in
    the project with the package's name and must return what `listing` gives; `closures` states in how many distinct surroundings each
    test file is to be found, `EACH` for those that see the whole project. Where a prompt is a fold, the counts
    are of the projects without it. `unit_tests` gives further tests, by their paths: they are the template's own, and run in
    a project beside its tests. Tests under `processes` start processes: those of `processes_everywhere` run on the
    linear design, all of them at its corners.
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
    answers: Mapping[str, object] = field(default_factory=dict)
    # Test plugins that the projects need: others are not loaded.
    plugins: Sequence[str] = ()

    @cached_property
    def prompts(self) -> dict[str, Any]:
        text = (self.template / "cookiecutter.json").read_text(encoding="utf-8")
        return {name: default for name, default in json.loads(text).items() if not name.startswith("_")}

    @cached_property
    def patterns(self) -> tuple[str, ...]:
        """The yes/no prompts, which are what is combined."""
        return tuple(name for name, default in self.prompts.items() if isinstance(default, bool))

    @property
    def folder(self) -> str:
        """The name of the project's folder, where the answers decide it."""
        name = next(path.name for path in self.template.iterdir() if "{{" in path.name)
        return re.sub(r"{{\s*cookiecutter\.(\w+)\s*}}", lambda found: str(self.answers[found[1]]), name)

    def combinations(self) -> Iterator[Combination]:
        """Return every combination; one differs from the next in one prompt (Gray code)."""
        for number in range(2 ** len(self.patterns)):
            code = number ^ number >> 1
            # The first prompts change least often.
            yield frozenset(name for bit, name in enumerate(reversed(self.patterns)) if code >> bit & 1)

    def shard(self, part: str) -> set[Combination]:
        """Return the combinations of one part, as `3/8`; a folded project goes with its twin.

        Raises:
            ValueError: `part` is not two numbers, the first at least 1 and at most the second.
        """
        index, _, count = part.partition("/")
        if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
            raise ValueError(f"{part} is no shard: write 3/8 for the third of eight")
        fold = {self.fold.prompt} if self.fold else set[str]()
        twins = list(dict.fromkeys(combination - fold for combination in self.combinations()))
        chosen = set(twins[int(index) - 1 :: int(count)])
        return {combination for combination in self.combinations() if combination - fold in chosen}

    def linear_design(self) -> dict[str, Combination]:
        """Return none, all, only each and all but each: every triple of settings in 2k + 2 combinations."""
        every = frozenset(self.patterns)
        design = {"none": frozenset[str](), "all": every}
        design |= {f"only-{name}": frozenset({name}) for name in self.patterns}
        return design | {f"all-but-{name}": every - {name} for name in self.patterns}

    def name(self, combination: Combination) -> str:
        """Return a short name: what is chosen, or what is not if that is less."""
        chosen = [name for name in self.patterns if name in combination]
        left_out = [name for name in self.patterns if name not in combination]
        if len(chosen) == len(self.patterns):
            return "all"
        if len(left_out) < len(chosen):
            return "all-but-" + "+".join(left_out)
        return "+".join(chosen) or "none"

    def answers_for(self, combination: Combination) -> dict[str, object]:
        return {**self.answers, **{name: name in combination for name in self.patterns}}

    def is_folded(self, combination: Combination) -> bool:
        return self.fold is not None and self.fold.prompt in combination

    def reproduce(self, combination: Combination, then: str) -> str:
        """Return the command line that makes the project with the real Cookiecutter and does `then` in it."""
        answers = (f"{name}={'yes' if name in combination else 'no'}" for name in self.patterns)
        others = (f"{name}={value}" for name, value in self.answers.items())
        given = " ".join([*others, *answers])
        return f"cookiecutter . --no-input --output-dir .. {given} && cd ../{self.folder} && {then}"
