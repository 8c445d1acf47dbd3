"""What losses are of one another: sums, limits, swaps; and what their gradients may not touch."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import num_examples

from mdpo_core import ScorerOutput, Scores, Term, TokenLogProbs, View, component
from mdpo_core.testing import scores
from mdpo_core.types.scores import ByView

PROPERTY = settings(deadline=None, max_examples=num_examples(15, 40))
BETAS = st.floats(0.01, 2)
PAIR = ["chosen", "rejected"]
VIEWS = [*PAIR, "chosen@crop", "rejected@crop", "chosen@none", "rejected@none"]
Values = Callable[[Scores], torch.Tensor]


def loss(name: str, **options: Any) -> Term:
    made = component("loss", name, **options)
    assert isinstance(made, Term)
    return made


def anchor(name: str, **options: Any) -> Term:
    made = component("anchor", name, **options)
    assert isinstance(made, Term)
    return made


def weighted(*terms: tuple[float, Term]) -> Values:
    return lambda found: sum((share * term(found) for share, term in terms), torch.zeros(()))


def pairs_of(beta: float) -> dict[str, tuple[Values, Values]]:
    """Losses that are made of others."""
    dpo = loss("dpo", beta=beta)
    crop, blank = loss("dpo", beta=beta, over="chosen@crop"), {"beta": beta, "over": "chosen@none"}
    own = {"condition": "crop", "response": "rejected"}
    return {
        "robust without flips": (loss("robust_dpo", beta=beta, label_smoothing=0), dpo),
        "softmax of one": (loss("softmax_dpo", beta=beta, over=["rejected"]), dpo),
        "dpop without a penalty": (loss("dpop", beta=beta, lam=0), dpo),
        "f_dpo of the reverse divergence": (loss("f_dpo", beta=beta), dpo),
        "ld_dpo that counts all tokens": (loss("ld_dpo", beta=beta, ld_alpha=1), dpo),
        "length_dpo of free tokens": (loss("length_dpo", beta=beta, alpha=0), dpo),
        "simpo in alphapo's limit": (
            loss("alphapo", beta=beta, gamma=0.3, alpha=0),
            loss("simpo", beta=beta, gamma=0.3),
        ),
        "alphapo near that limit": (
            loss("alphapo", beta=beta, gamma=0.3, alpha=1e-7),
            loss("simpo", beta=beta, gamma=0.3),
        ),
        "bco as two anchors": (
            loss("bco", beta=beta, shift=0.4),
            weighted(
                (1, anchor("reward", beta=beta, delta=0.4)),
                (1, anchor("reward", beta=beta, delta=0.4, on="rejected", direction="below")),
            ),
        ),
        "nca as anchors": (
            loss("nca", beta=beta),
            weighted(
                (1, anchor("reward", beta=beta)),
                (0.5, anchor("reward", beta=beta, direction="below")),
                (0.5, anchor("reward", beta=beta, on="rejected", direction="below")),
            ),
        ),
        "cpo": (
            loss("cpo", beta=beta, alpha=0.7),
            weighted((1, loss("dpo", beta=beta, reference_free=True)), (0.7, anchor("sft"))),
        ),
        "s_vco": (
            loss("s_vco", beta1=beta, beta2=beta, corrupted="crop", blank="none"),
            weighted(
                (1, loss("dpo", **blank)),
                (1, loss("dpo", beta=beta, prefer="chosen@none", over="chosen@crop")),
                (1, loss("dpo", beta=beta, prefer="rejected@crop", over="rejected@none")),
                (1, loss("dpo", beta=beta, prefer="rejected@none", over="rejected")),
            ),
        ),
        "symmpo": (
            loss("symmpo", beta=beta, lam=0.5, gamma=0, over="chosen@none", **own),
            weighted(
                (1, loss("dpo", **blank)),
                (0.5, dpo),
                (0.5, loss("dpo", beta=beta, prefer="rejected@crop", over="chosen@crop")),
                (1, anchor("reward", beta=beta)),
                (1, anchor("reward", beta=beta, on="rejected@crop")),
            ),
        ),
        "chip whose image is not corrupted": (loss("chip", beta=beta, corrupted="clean"), dpo),
        "one pair alone in aot": (one_by_one(loss("aot", beta=beta)), dpo),
        "one pair alone in unpaired aot": (one_by_one(loss("aot", beta=beta, paired=False)), dpo),
        "the rationale as likelihood": (
            loss("rationale", gamma=beta, on="chosen@crop"),
            weighted((beta, anchor("sft", on="chosen@crop", length_normalize=False))),
        ),
        "chip of an answer over itself": (loss("chip", beta=beta, over="chosen", corrupted="crop"), crop),
    }


def one_by_one(term: Term) -> Values:
    from mdpo_core.testing import score_cases

    return lambda found: torch.cat([term(score_cases.row(found, row)) for row in range(len(found.corruptible))])


@pytest.mark.parametrize("name", pairs_of(0.1))
def test_composition(name: str) -> None:
    @PROPERTY
    @given(scores(VIEWS), BETAS)
    def equal(found: Scores, beta: float) -> None:
        one, other = pairs_of(beta)[name]
        near = {"rtol": 1e-4, "atol": 1e-3} if "near" in name else {"rtol": 1e-9, "atol": 1e-9}
        torch.testing.assert_close(one(found), other(found), **near)

    equal()


ANTISYMMETRIC: list[tuple[str, dict[str, Any]]] = [
    ("dpo", {}),
    ("dpo_norm", {"beta": 0.1}),
    ("length_dpo", {}),
    ("ld_dpo", {}),
    ("f_dpo", {"divergence": "js"}),
    ("simpo", {"beta": 0.1, "gamma": 0}),
    ("alphapo", {"beta": 0.1, "gamma": 0, "alpha": 0.01}),
]


@pytest.mark.parametrize(("name", "options"), ANTISYMMETRIC)
def test_swap(name: str, options: dict[str, Any]) -> None:
    """Read as probabilities of a preference, those of a pair and of its mirror image sum to 1."""

    @PROPERTY
    @given(scores(PAIR))
    def to_1(found: Scores) -> None:
        both = [loss(name, prefer=prefer, over=over, **options)(found) for prefer, over in (PAIR, PAIR[::-1])]
        total = (-both[0]).exp() + (-both[1]).exp()
        torch.testing.assert_close(total, torch.ones_like(total))

    to_1()


@PROPERTY
@given(scores(PAIR, {"preference_probability": st.floats(0, 1)}), BETAS)
def test_swapping_the_views_of_soft_labels_swaps_the_label(found: Scores, beta: float) -> None:
    there = loss("soft_dpo", beta=beta, prefer="rejected", over="chosen")(found)
    turned = replace(found, columns={"preference_probability": 1 - found.columns["preference_probability"]})
    torch.testing.assert_close(there, loss("soft_dpo", beta=beta)(turned), rtol=1e-9, atol=1e-9)


@PROPERTY
@given(scores(PAIR), BETAS, st.floats(0, 0.4))
def test_labels_of_one_confidence_are_label_smoothing(found: Scores, beta: float, smoothing: float) -> None:
    smooth = loss("dpo", beta=beta, label_smoothing=smoothing)(found)
    rows = torch.ones(len(found.corruptible), dtype=torch.float64)
    soft = replace(found, columns={"preference_probability": (1 - smoothing) * rows})
    torch.testing.assert_close(loss("soft_dpo", beta=beta)(soft), smooth)
    unsure = replace(found, columns={"low_confidence": rows})
    torch.testing.assert_close(loss("spa", beta=beta, alpha=smoothing)(unsure), smooth)


@PROPERTY
@given(scores(PAIR), BETAS)
def test_sure_wins_cost_half_the_hard_sppo_and_gpo_is_centred(found: Scores, beta: float) -> None:
    """Sure wins cost half of sppo's hard form, and gpo's scores are chances counted from the middle."""
    rows = torch.ones(len(found.corruptible), dtype=torch.float64)
    chances = {"chosen_probability": rows, "rejected_probability": 0 * rows}
    soft = loss("sppo", beta=beta)(replace(found, columns=chances))
    torch.testing.assert_close(2 * soft, loss("sppo", beta=beta, hard=True)(found))
    from_middle = {"chosen_score": 0.5 * rows, "rejected_score": -0.5 * rows}
    torch.testing.assert_close(loss("gpo", beta=beta)(replace(found, columns=from_middle)), soft)


@PROPERTY
@given(scores(PAIR), st.floats(0, 0.4))
def test_flipped_labels_keep_the_mean_of_the_robust_loss(found: Scores, flips: float) -> None:
    """The paper's lemma: unbiased under flips of that rate."""
    right, wrong = (
        loss("robust_dpo", label_smoothing=flips, prefer=prefer, over=over)(found)
        for prefer, over in (PAIR, PAIR[::-1])
    )
    torch.testing.assert_close((1 - flips) * right + flips * wrong, loss("dpo")(found), rtol=1e-9, atol=1e-9)


# Distributions over five words, the response's among them, for two responses of up to three tokens.


def divergence(policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.kl_div(policy, reference, reduction="none", log_target=True).sum(-1)


@functools.cache
def whole() -> tuple[Scores, dict[View, torch.Tensor], dict[View, torch.Tensor]]:
    draw = torch.Generator().manual_seed(0)
    mask = {View(view): torch.arange(3) < torch.tensor(length)[:, None] for view, length in LENGTHS.items()}
    sides = [
        {view: torch.randn(2, 3, 5, dtype=torch.float64, generator=draw).log_softmax(-1) for view in mask}
        for _ in range(2)
    ]
    policy = {view: each.requires_grad_() for view, each in sides[0].items()}
    tokens = [
        {view: TokenLogProbs(each[..., 0] * mask[view], mask[view]) for view, each in side.items()} for side in sides
    ]
    found = Scores.from_tokens(ScorerOutput(tokens[0], tokens[1]), torch.ones(2, dtype=torch.bool), {})
    return found, policy, sides[1]


LENGTHS = {"chosen": [3, 1], "rejected": [2, 3]}


def with_statistics(term: Term) -> Scores:
    found, policy, reference = whole()
    made = {
        name: {
            view: each.function(policy[view].flatten(0, 1), reference[view].flatten(0, 1)).view(2, 3)
            * found.policy_tokens[view].mask
            for view in policy
        }
        for name, each in term.statistics().items()
    }
    return replace(found, statistics={name: ByView(views) for name, views in made.items()})


@pytest.mark.parametrize(("variant", "factor"), [(1, 1.0), (2, 0.7)])
def test_tdpo_follows_formula_and_detaches_in_second_form(variant: int, factor: float) -> None:
    """TDPO is its formula, and its second form detaches the preferred response's divergence."""
    term = loss("tdpo", beta=0.3, variant=variant, **({"alpha": factor} if variant == 2 else {}))
    found, policy, reference = whole()
    drift = {
        view: (divergence(policy[view], reference[view]) * found.policy_tokens[view].mask).sum(1) for view in policy
    }
    preferred = drift[View("chosen")] if variant == 1 else drift[View("chosen")].detach()
    logit = 0.3 * (found.margin(*PAIR) - factor * (drift[View("rejected")] - preferred))
    expected = torch.nn.functional.softplus(-logit)
    values = term(with_statistics(term))
    torch.testing.assert_close(values, expected)
    gradients = [
        torch.autograd.grad(each.sum(), list(policy.values()), retain_graph=True) for each in (values, expected)
    ]
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("clamp", [True, False])
def test_wpo_weighs_pairs_by_policy_without_gradient_through_it(clamp: bool) -> None:
    term = loss("wpo", clamp=clamp, beta=0.3)
    found, policy, _ = whole()
    for row, value in enumerate(term(with_statistics(term)).tolist()):
        weight = 1.0
        for name, lengths in LENGTHS.items():
            rows = policy[View(name)][row, : lengths[row]].detach().exp().tolist()
            logs = [math.log(each[0] / sum(p * p for p in each)) for each in rows]
            weight *= math.exp(sum(logs) / len(logs))
        plain = loss("dpo", beta=0.3)(found)[row].item()
        assert value == pytest.approx((min(weight, 1.0) if clamp else weight) * plain)
    weight = (term(with_statistics(term)) / loss("dpo", beta=0.3)(found)).detach()
    both = [term(with_statistics(term)), weight * loss("dpo", beta=0.3)(found)]
    gradients = [torch.autograd.grad(each.sum(), list(policy.values()), retain_graph=True) for each in both]
    torch.testing.assert_close(gradients[0], gradients[1])
