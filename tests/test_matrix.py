"""Every combination of all options is proven: files, tools, lint, types and tests.

There is one test for each combination of the patterns, which covers every value of the choices. Run one with
`-k '[retry+caching]'`, a part with `--shard 3/8`, or every suite in every project with `--no-dedup`.
"""

import pytest

from matrix.proof import Proof
from matrix.template import Combination

from .combinations import DECLARATION, PATTERNS, expected_files
from .conftest import needs_forks

pytestmark = [pytest.mark.matrix, needs_forks]
EVERY = list(DECLARATION.combinations())


@pytest.mark.parametrize("combination", EVERY, ids=DECLARATION.name)
def test_a_combination_holds(combination: Combination, proof: Proof) -> None:
    report = proof.report(combination)
    if report:
        pytest.fail(report, pytrace=False)


def test_a_test_file_has_no_more_closures_than_are_stated(proof: Proof) -> None:
    assert proof.unexpected_closures() == []


def test_every_combination_is_covered_by_tests_of_its_patterns(proof: Proof) -> None:
    for combination in proof.combinations:
        assert proof.tests[combination] > 50 + 2 * len(combination), DECLARATION.name(combination)


def test_there_are_as_many_combinations_as_answers_and_no_two_have_one_name() -> None:
    assert len(set(EVERY)) == 2 ** len(set(PATTERNS) - set(DECLARATION.additive))
    assert len({DECLARATION.name(combination) for combination in EVERY}) == len(EVERY)


def test_each_is_proven_with_every_value_of_the_choices() -> None:
    assert len(DECLARATION.variations) == 2 ** len(DECLARATION.additive) * 4 * 2 * (2 * 3 * 3)
    assert DECLARATION.option_combinations == 2 ** len(PATTERNS) * 4 * 2 * (2 * 3 * 3) == 2_359_296


def test_no_two_combinations_promise_the_same_files() -> None:
    assert len({frozenset(expected_files(combination, "server")) for combination in EVERY}) == len(EVERY)
