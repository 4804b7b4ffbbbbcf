"""Writes the figures of a proof as JSON and as a Markdown page."""

import ast
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from .proof import Proof
from .template import ANY_FOUR, EACH, Declaration

STATED = {EACH: "one each", ANY_FOUR: "any four prompts"}
PACKAGES = ("cookiecutter", "fastmcp", "mcp", "pytest", "ruff", "mypy")


def summary(proof: Proof, *, seconds: float, dedup: bool) -> dict[str, Any]:
    """Return the figures of a run, as JSON-compatible data."""
    least, middle, most = proof.tests_per_combination()
    declaration = proof.declaration
    every = sum(1 for _ in declaration.combinations())
    return {
        "commit": git("rev-parse", "HEAD", folder=proof.declaration.template),
        "changed_since": bool(git("status", "--porcelain", folder=proof.declaration.template)),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "combinations": {"all": every, "proven": len(proof.combinations), "green": len(proof.green())},
        "option_combinations": {
            "all": declaration.option_combinations,
            "proven": len(proof.combinations) * len(declaration.variations),
            "green": len(proof.green()) * len(declaration.variations),
        },
        "variations": len(declaration.variations),
        "additive": list(declaration.additive),
        "uniform": {name: len(declaration.choices[name]) for name in declaration.uniform},
        "distinct_files": proof.files,
        "distinct_modules_typed": proof.modules,
        "distinct_closures": sum(proof.closures.values()),
        "closures": dict(sorted(proof.closures.items())),
        "deduplicated": dedup,
        "runs": proof.runs,
        "tests_run": proof.tests_run,
        "tests_per_combination": {"least": least, "median": middle, "most": most},
        "shown_by_running": len(proof.combinations) - proof.folded,
        "shown_by_section": proof.folded,
        "linear_design_in_full": sorted(proof.in_full),
        "sampled_variations": sorted(proof.sampled),
        "covering_design": len(declaration.covering_design()),
        "seconds": round(seconds),
        "cpu_seconds": {name: round(seconds) for name, seconds in proof.parts.items()},
        "processors": os.cpu_count(),
    }


def one_line(figures: dict[str, Any]) -> str:
    """Return the line that is printed at the end of a run."""
    counts, tests = figures["option_combinations"], figures["tests_per_combination"]
    return (
        f"{counts['green']:,} of {counts['proven']:,} option combinations are green: {figures['distinct_files']:,} distinct files,"
        f" {figures['distinct_closures']:,} closures, {figures['tests_run']:,} tests run, {tests['least']:,} to"
        f" {tests['most']:,} cover a combination; {figures['seconds']:,} s."
    )


def page(figures: dict[str, Any], declaration: Declaration) -> str:
    """Return the page in Markdown."""
    counts = figures["combinations"]
    tests = figures["tests_per_combination"]
    fold = declaration.fold
    changed = ", with changes that are not committed" if figures["changed_since"] else ""
    lines = [
        "# The proof",
        "",
        "The test command of the README writes this page each time it proves every combination.",
        "",
        "| What | How many |",
        "|---|---|",
        f"| Combinations of all options: {options(declaration)} | {figures['option_combinations']['all']:,} |",
        f"| of these rendered, and green | {figures['option_combinations']['proven']:,},"
        f" {figures['option_combinations']['green']:,} |",
        f"| Combinations of the yes/no prompts, each in {figures['variations']} variations | {counts['all']:,} |",
        f"| Distinct files in all of them, each linted | {figures['distinct_files']:,} |",
        f"| Distinct modules with the interfaces that they import, each type-checked | {figures['distinct_modules_typed']:,} |",
        f"| Distinct closures of test files, each run | {figures['distinct_closures']:,} |",
        f"| Tests run, in that many runs of pytest | {figures['tests_run']:,}, {figures['runs']:,} |",
        f"| Tests that cover a combination: least, median, most | {tests['least']:,}, {tests['median']:,}, {tests['most']:,} |",
    ]
    if fold:
        lines += [
            f"| Combinations shown by running their tests | {figures['shown_by_running']:,} |",
            f"| Combinations with `{fold.prompt}`, shown section by section to be the same code |"
            f" {figures['shown_by_section']:,} |",
        ]
    lines += [
        f"| Combinations whose server processes were tested (the linear design) |"
        f" {len(figures['linear_design_in_full'])} |",
        f"| Projects in which tests see an additive prompt or another value of a choice (the linear design, varied) |"
        f" {len(figures['sampled_variations'])} |",
        f"| Time of the proof, beside the other tests, on {figures['processors']} processors |"
        f" {figures['seconds']:,} s |",
        *command_rows(figures),
        "",
        f"Commit `{figures['commit'][:12]}`{changed}. "
        + ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
        + ". The same figures as data: [proof.json](proof.json).",
        "",
        "## What shows what",
        "",
        "[matrix.md](matrix.md) has the argument for each row.",
        "",
        "| What is shown | In how many option combinations | How |",
        "|---|---|---|",
        *arguments(figures, declaration),
        "",
        "## Processor time",
        "",
        "In seconds. The proof runs beside the other tests, so that each is slower than alone.",
        "",
        *profile(figures, declaration.template),
        "",
        "## Closures",
        "",
        "A test file runs once for each closure: its own bytes, those of everything it can load or open, and pytest's",
        "configuration. In how many it may be found is stated in",
        "[tests/combinations.py](../tests/combinations.py); more is a failure. What a run opens outside its closure is one too.",
        "",
        "| Test file | Stated | Found |",
        "|---|---|---|",
    ]
    for file, found in figures["closures"].items():
        stated = declaration.closures[file]
        lines.append(f"| `{file}` | {STATED.get(stated, stated)} | {found:,} |")
    return "\n".join([*lines, ""])


def command_rows(figures: dict[str, Any]) -> list[str]:
    """Return the rows about the whole test command, if it was measured."""
    if not (command := figures.get("command")):
        return []
    return [
        f"| Time of the whole test command | {command['seconds']:,} s |",
        f"| Peak memory of all its processes together | {command['peak_mebibytes']:,} MiB |",
    ]


# What each part of the proof shows, by the keys of `Proof.parts`.
PARTS = {
    "rendering": "every option combination renders",
    "files, folds, claims and closures": "its files are the stated ones; the claims hold; folded projects are the same code",
    "lint and types": "each distinct file is clean, and each distinct module is strictly typed",
    "whole suites and processes": "the linear design: running servers, and the suites of folded projects",
    "tests of each closure": "tests of single modules, once for each closure",
    "tests that see a whole project": "the server, its architecture and its surface, in every combination of the prompts",
}


def profile(figures: dict[str, Any], template: Path) -> list[str]:
    """Return a table of the CPU time of each part, longest first."""
    rows = [(f"the proof: {name}", PARTS[name], seconds) for name, seconds in figures["cpu_seconds"].items()]
    tests = figures.get("command", {}).get("cpu_seconds", {})
    rows += [(f"`{file}`", docstring(template / file), seconds) for file, seconds in tests.items()]
    return [
        "| Part | What it shows | Seconds |",
        "|---|---|---|",
        *(f"| {part} | {shows} | {seconds:,.0f} |" for part, shows, seconds in sorted(rows, key=last)[::-1]),
    ]


def last(row: tuple[str, str, float]) -> float:
    return row[-1]


def docstring(path: Path) -> str:
    """Return the first line of a test file's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.exists() else None
    return (text or "").partition("\n")[0].rstrip(".").replace("|", "\\|")


def options(declaration: Declaration) -> str:
    """Return the prompts that are combined, in words."""
    choices = [f"{len(values)} of `{name}`" for name, values in declaration.choices.items()]
    return ", ".join([f"{len(declaration.patterns)} yes/no prompts", *choices])


def arguments(figures: dict[str, Any], declaration: Declaration) -> list[str]:
    """Return the rows that explain how each property is shown."""
    every = figures["option_combinations"]["proven"]
    cores = figures["combinations"]["proven"]
    sampled = len(figures["sampled_variations"])
    rows = [
        ("it renders; its files", every, "each file once for each assignment of the prompts that it reads"),
        ("ruff's check and format", every, "each distinct file, under each distinct set of rules"),
        ("tests with a closure", every, "each distinct closure"),
        (
            "strict types",
            cores,
            f"each distinct module and set of imported interfaces; varied, in {sampled} projects",
        ),
        (
            "tests that see the whole project",
            cores,
            f"in each; varied, in {sampled} projects; of single tools where any four prompts meet",
        ),
    ]
    if declaration.additive or declaration.uniform:
        names = ", ".join(f"`{name}`" for name in [*declaration.additive, *declaration.uniform])
        rows.append((f"the claims of {names}", every, "what each changes is the same in every combination"))
    return [f"| {what} | {number:,} | {how} |" for what, number, how in rows]


def write(folder: Path, declaration: Declaration, figures: dict[str, Any]) -> None:
    text = json.dumps(figures, indent=2, ensure_ascii=False) + "\n"
    (folder / "proof.json").write_text(text, encoding="utf-8", newline="\n")
    (folder / "proof.md").write_text(page(figures, declaration), encoding="utf-8", newline="\n")


def version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def git(*arguments: str, folder: Path) -> str:
    run = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    return run.stdout.strip()
