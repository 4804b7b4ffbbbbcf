"""Documentation, comments and messages are in plain English: without banned phrases, and in short sentences.

The phrases are in a table because prose linters did not help: proselint reports only straight quotes here, and the
Python package of Vale downloads the program from GitHub on first use.
"""

import functools
import re
from pathlib import Path

import pytest

from .combinations import SKELETON, TEMPLATE

# Banned phrases, as case-insensitive regular expressions, and what to write instead.
INSTEAD = {
    r"in the place of": "instead of",
    r"for ever": "forever",
    r"slips? of the pen": "typo",
    r"for good(?! (reason|measure))": "permanently",
    r"dead until": "unusable until",
    r"asks? nobody": "does not require",
    r"(?<!there )(is|are) no(?! (longer|more|less))": "is not a",
    r"(that|which|it|one) (is|are) (?-i:none)": "is not one",
    r"(that|which) there (is|are) not": "unknown, missing",
    r"of whatever": "of any",
    r"machine room": "template-owned",
    r"(what|that|which) (is|are) of (the|a|an|this)": "belongs to, is part of",
    r"a share of calls": "a rate limit",
    r"(?<!until )(?<!by )(?<!since )(?<!and )then[.;]": "now, or a sentence that starts with `then`",
    r"belongs? into": "belongs in",
    r"stops? to \w+": "stops doing",
    r"mend(s|ed|ing)?": "fix",
    r"agree(s|d|ing)? (to|on|upon)": "accept, update the snapshot",
    r"(is|are|be) tried (again|once)": "is retried, is not retried",
    r"fails? for a moment": "transient, fails temporarily",
    r"passing (fault|failure|error)s?": "transient",
    r"(programs|clients|servers|libraries) of others": "third-party",
    r"ill process": "unhealthy",
    r"leaves? the server well": "the server stays healthy",
    r"and goes(?= ?[|.,;])": "disconnects",
    r"legib(le|ly)": "readable",
    r"(holds? up|leaves?|touch(es)?|tells?|knows? of) no(?! longer)": "does not ... any",
    r"of (yours|ours|(the |a )?user'?s'? own)": "your own, the user's own",
    r"without end": "endless, unbounded",
    r"anew|afresh": "again",
    r"as ever|all the while": "as usual, meanwhile",
    r"stands? (in(?! for)|under|around|beside|there|together|between|above|below|alone|before|after|at|here|behind)": "is",
    r"but for": "except",
    r"(speaks?|tells?) of": "describes, covers",
    r"is said (by|in|to)": "is defined by, is documented in",
    r"told (so|of|by|what)": "reported, notified",
    r"hence|thereof|therein|wherein|whereby|hitherto|whilst|amongst|lest|upon|seldom|henceforth": "a current word",
    r"put right": "fixed",
    r"may (hold|be had)": "may contain",
    r"(is|are) to be \w+": "must be, is",
    r"ends? the start": "stops the server at startup",
    r"(is|are) a trial": "is awkward",
    r"see it (answer|proven)": "Quick start, Run the test suite",
    r"the common snippet gets wrong": "Common mistakes",
    r"sends every fault": "runs every fault against",
    r"calls a changed \w+": "classifies",
    r"settings also from": "Load settings from",
    r"connections that are reused": "Reuse connections",
    r"says what to change": "explains how to fix it",
    r"hand(s|ed)? on": "passes on",
    r"go(es)? on(?! to)": "continues",
    r"do(es)? harm": "is harmful",
    r"says? of (itself|each|it|them|what)": "describes",
    r"taken? for (dead|a|an|the)": "mistaken for, treated as",
    r"in vain": "without success",
    r"without a word": "silently",
    r"of the past": "outdated, in the past",
    r"gives? way": "fails, breaks",
    r"whoever": "anyone who",
    r"no line behind": "no trace",
    r"(?<!cannot )tells? whether": "return whether, say whether",
    r"worth a retry": "retryable",
    r"becomes? of": "the outcome of, happens to",
    r"to come back": "to retry",
    r"all the same(?! \w)": "anyway, still",
    r"everybody": "everyone",
    r"left to (itself|themselves)": "by default",
    r"finds? fault with": "reports",
    r"only so (many|often|much)": "at most, a bounded number",
    r"in one go": "at once, in one run",
    r"held against": "compared with, checked against",
    r"vouched": "verified",
    r"no retry (can )?cures?": "permanent, not retryable",
}
PHRASES = {re.compile(rf"\b(?:{old})(?!\w)", re.IGNORECASE): new for old, new in INSTEAD.items()}
FOUND_IN_REVIEW = """\
asks nobody for a token
in the place of
sends every fault at running servers
where quotes in JSON are a trial
It is tried once.
a tool that there is not
for ever
a slip of the pen
the machine room
opens a session, or half of a request, and goes.
dead for good
what is of the runtime alone
is no e-mail address
Settings also from .env and secret files
HTTP connections that are reused between calls?
Leaves no line behind
Every failed call says what to change.
See it answer
See it proven
A share of calls per caller
calls a changed tool breaking
It waits for a client then;
belong into
Where it stops to double
for what fails how to mend it
agree to the surface
what fails for a moment
is tried again
What the common snippet gets wrong
Programs of others
test_a_busy_process_is_no_ill_process
what is no JSON-RPC
of whatever size
is to be found
Tell whether a call may change something.
named and not worth a retry
what has become of its calls
says when to come back
The others are proven all the same.
keeps everybody else waiting
A driver left to itself waits for a minute.
what ruff finds fault with
once for all who wait, and only so often
all in one go
the claims that are held against every project
which nobody has vouched for
a fault that no retry cures
"""
# 37 of 40 pages of Starlette and httpx have at most this many words in a sentence, on average.
MOST_WORDS = 17
FEWEST_SENTENCES = 8


@functools.cache
def texts() -> dict[str, Path]:
    """Return the files to check, by a short name."""
    paths = [*sorted(TEMPLATE.glob("*.md")), TEMPLATE / "cookiecutter.json", TEMPLATE / "pyproject.toml"]
    paths += sorted((TEMPLATE / "docs").glob("*.md"))
    paths += [path for suffix in ("md", "py", "toml") for path in sorted(SKELETON.rglob(f"*.{suffix}"))]
    paths += sorted((TEMPLATE / ".github").rglob("*.yml"))
    paths.append(TEMPLATE / "update.py")
    for folder in ("hooks", "tests", "matrix", "benchmarks"):
        paths += sorted((TEMPLATE / folder).rglob("*.py"))
    named = {short_name(path): path for path in paths if "__pycache__" not in path.parts}
    del named["tests/test_language.py"]
    return {
        name: path for name, path in named.items() if "node_modules" not in name and "/.cache/" not in name
    }


def short_name(path: Path) -> str:
    name = path.relative_to(TEMPLATE).as_posix()
    return name.replace(SKELETON.name, "project").replace("{{cookiecutter.package_name}}", "package")


def prose(text: str, suffix: str) -> str:
    """Return a text on one line. Names are split into words, and multi-line strings and comments are joined."""
    if suffix == ".md":
        text = re.sub(r"\btest_\w+", lambda name: name[0].replace("_", " "), text)
    else:
        text = re.sub(r"['\"]\s*\n\s*[rf]?['\"]", "", text)
        text = re.sub(r"\n\s*#", " ", text).replace("_", " ")
    return " ".join(text.split())


def banned(text: str, suffix: str = ".md") -> list[str]:
    """Return the banned phrases in a text, and what to write instead."""
    line = prose(text, suffix)
    return [f"{found[0]!r}: {new}" for old, new in PHRASES.items() for found in old.finditer(line)]


def sentences(page: str) -> list[str]:
    """Return the sentences of a Markdown page, without code, tables and headings."""
    page = re.sub(r"^```.*?^```$|<!--.*?-->|\{%.*?%\}", "", page, flags=re.DOTALL | re.MULTILINE)
    page = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", page)
    page = re.sub(r"`[^`]*`|https?://\S+", "code", page)
    found: list[str] = []
    for paragraph in re.split(r"\n\s*\n|\n(?= *(?:[-*]|\d+\.) )", page):
        text = re.sub(r"^(?:[-*]|\d+\.) ", "", " ".join(paragraph.split()))
        if text and text[0] not in "#|{":
            found += re.split(r"(?<=[.!?:]) (?=[A-Z\"'(*])", text)
    return [sentence for sentence in found if words(sentence) > 3]


def words(sentence: str) -> int:
    return len(re.findall(r"[\w'-]+", sentence))


def problems(path: Path) -> list[str]:
    """Return the problems of a file."""
    text = path.read_text(encoding="utf-8")
    found = banned(text, path.suffix)
    if path.suffix == ".md" and len(parts := sentences(text)) >= FEWEST_SENTENCES:
        average = sum(words(sentence) for sentence in parts) / len(parts)
        if average > MOST_WORDS:
            found.append(
                f"{average:.1f} words in a sentence on average, more than {MOST_WORDS}: write shorter ones"
            )
    return found


@pytest.mark.parametrize("name", texts())
def test_a_text_is_in_plain_english(name: str) -> None:
    found = problems(texts()[name])
    if name in NOT_YET:
        assert found, f"{name} is in plain English now: remove it from NOT_YET"
    else:
        assert found == [], "\n".join(found)


def test_only_files_that_exist_are_exempt() -> None:
    assert texts().keys() >= NOT_YET


@pytest.mark.parametrize("phrase", FOUND_IN_REVIEW.splitlines())
def test_each_phrase_that_a_review_has_found_is_banned(phrase: str) -> None:
    assert banned(phrase)
    assert banned(f"# A comment {phrase.replace(' ', chr(10) + '    # ')}", ".py")


@pytest.mark.parametrize(
    "phrase",
    [
        "There is no server.",
        "It is no longer needed.",
        "value is None",
        "until then.",
        "It stands in for a server.",
    ],
)
def test_standard_english_is_not_banned(phrase: str) -> None:
    assert banned(phrase, ".py") == []


def test_a_sentence_is_counted_without_code_tables_and_headings() -> None:
    page = "# A page\n\nIt has two sentences. This one\ncalls `a b c` ([see](x.md)).\n\n- An item of a list\n\n| a table |\n"
    assert sentences(page) == [
        "It has two sentences.",
        "This one calls code (see).",
        "An item of a list",
    ]


# Files that are exempt until they are rewritten. The test fails if one of them passes.
NOT_YET: frozenset[str] = frozenset()
