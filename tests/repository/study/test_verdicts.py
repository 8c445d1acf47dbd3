"""What the study says of a claim follows from the numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.study.claims import CLAIMS, Claim
from benchmarks.study.numbers import NOTHING, WorldNumbers
from benchmarks.study.variants import BASE
from benchmarks.study.verdicts import Verdict, find
from benchmarks.study.worlds import Measure

T_OF_THREE = 4.302652729749462  # Student's t, 2 degrees of freedom, 95 %
LESS = Claim("table2", "less", "-", "less", "mdpo", "no_anchor")
MORE = Claim("table2", "more", "-", "more", "mdpo", NOTHING, "chosen")
ALIKE = Claim("table4", "alike", "-", "alike", "anchor_rejected", "mdpo")

values = st.lists(st.floats(-10, 10).map(lambda value: round(value, 3)), min_size=3, max_size=3)


def world(**wrong: Sequence[float]) -> WorldNumbers:
    """A world with the first measure of these variants by seed; ``chosen`` is the same number."""
    runs = {
        name: {seed: {"wrong": value, "chosen": value} for seed, value in enumerate(of_seeds)}
        for name, of_seeds in wrong.items()
    }
    measures = [Measure("wrong", "eval/wrong", "wrong words", -1), Measure("chosen", "eval/chosen", "nats", 1, "+.2f")]
    return WorldNumbers("w", "World", "about", "r.yaml", [], 9, 1.0, measures, {"wrong": 0.5, "chosen": 0.0}, runs)


def test_a_claim_is_shown_where_the_whole_interval_fits_and_flips_with_the_numbers() -> None:
    better, worse = (0.10, 0.12, 0.11), (0.30, 0.33, 0.29)
    shown, flipped = find(LESS, world(mdpo=better, no_anchor=worse)), find(LESS, world(mdpo=worse, no_anchor=better))
    assert shown.verdict is Verdict.SHOWN
    assert shown.sentence == (
        "It shows: wrong words, mDPO minus mDPO without the anchor, -0.197 (95 % interval -0.235 to -0.159); "
        "3 of 3 seeds agree."
    )
    assert flipped.verdict is Verdict.OPPOSITE
    assert flipped.sentence.startswith("It does not show, and the opposite does: ")
    assert flipped.sentence.endswith("+0.197 (95 % interval +0.159 to +0.235); 0 of 3 seeds agree.")


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ((-0.01, -0.30, -0.02), Verdict.NOT_SURE),  # all agree, the interval does not
        ((0.01, -0.30, -0.29), Verdict.NOT_SHOWN),  # two of three
        ((0.0, 0.0, 0.0), Verdict.NOT_SHOWN),  # no difference is none
        ((0.01, 0.30, 0.02), Verdict.NOT_SHOWN),  # nobody agrees, but the opposite is not sure, either
        ((-0.2,), Verdict.ONE_SEED),
        ((), Verdict.NOT_RUN),
    ],
)
def test_what_is_not_sure_is_not_called_shown(differences: Sequence[float], verdict: Verdict) -> None:
    runs = {"mdpo": differences, "no_anchor": [0.0] * len(differences)}
    assert find(LESS, world(**runs)).verdict is verdict


@given(values, values)
def test_verdicts_are_those_of_student_s_interval_of_the_paired_differences(
    first: Sequence[float], second: Sequence[float]
) -> None:
    differences = [one - other for one, other in zip(first, second, strict=True)]
    mean, reach = fmean(differences), T_OF_THREE * stdev(differences) / math.sqrt(3)
    found = find(LESS, world(mdpo=first, no_anchor=second)).verdict
    assert (found is Verdict.SHOWN) == (mean + reach < 0)
    assert (found is Verdict.OPPOSITE) == (mean - reach > 0)
    assert (found is Verdict.NOT_SURE) == (mean + reach >= 0 and all(each < 0 for each in differences))


@given(values, values)
def test_exchanging_the_two_variants_turns_shown_into_its_opposite(
    first: Sequence[float], second: Sequence[float]
) -> None:
    one, other = world(mdpo=first, no_anchor=second), world(mdpo=second, no_anchor=first)
    assert (find(LESS, one).verdict is Verdict.SHOWN) == (find(LESS, other).verdict is Verdict.OPPOSITE)


def test_a_number_is_compared_with_nothing_or_with_the_model_before_training() -> None:
    assert find(MORE, world(mdpo=(1.0, 1.1, 1.2))).verdict is Verdict.SHOWN
    assert find(MORE, world(mdpo=(-1.0, -1.1, -1.2))).verdict is Verdict.OPPOSITE
    base = Claim("table2", "", "-", "less", "mdpo", BASE)
    assert find(base, world(mdpo=(0.1, 0.11, 0.12))).verdict is Verdict.SHOWN
    assert find(base, world(mdpo=(0.9, 0.91, 0.92))).verdict is Verdict.OPPOSITE


@pytest.mark.parametrize(
    ("rejected", "verdict"),
    [
        ((0.11, 0.12, 0.10), Verdict.SHOWN),  # closer than 0.2, half of the 0.4 between mDPO and DPO
        ((0.01, 0.28, 0.05), Verdict.NOT_SURE),  # each of them closer, the interval is not
        ((0.01, 0.40, 0.05), Verdict.NOT_SHOWN),
        ((0.80, 0.81, 0.82), Verdict.OPPOSITE),
    ],
)
def test_alike_is_judged_by_half_of_what_mdpo_and_dpo_differ_by(rejected: Sequence[float], verdict: Verdict) -> None:
    runs: Mapping[str, Sequence[float]] = {"mdpo": (0.1, 0.1, 0.1), "dpo": (0.5, 0.5, 0.5), "anchor_rejected": rejected}
    found = find(ALIKE, world(**runs))
    assert found.verdict is verdict
    assert "closer than 0.200, half of what mDPO and DPO differ by" in found.sentence
    assert find(ALIKE, world(mdpo=(0.1,), anchor_rejected=(0.1,))).verdict is Verdict.NOT_RUN


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.text)
def test_every_claim_of_order_about_the_paper_s_numbers_holds_in_the_paper(claim: Claim) -> None:
    from benchmarks.study.paper import PAPER

    if claim.kind == "less" and claim.measure == "first" and {claim.first, claim.second} <= PAPER.keys():
        assert PAPER[claim.first].chair_s < PAPER[claim.second].chair_s
        assert f"{PAPER[claim.first].chair_s}" in claim.paper
        assert f"{PAPER[claim.second].chair_s}" in claim.paper
