"""Losses and anchors with modules of their own, and these modules, against plain Python."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import num_examples

from mdpo_core import ScorerOutput, Scores, TokenLogProbs, View, component
from mdpo_core.testing import scores
from mdpo_core.types.scores import ByView

VIEWS = (View("chosen"), View("rejected"))
PROPERTY = settings(deadline=None, max_examples=num_examples(15, 40))


def masked(found: Scores, masks: torch.Tensor) -> Scores:
    """With the part of some masks that there are tokens for."""
    shapes = {view: tokens.mask.shape for view, tokens in found.policy_tokens.items()}
    cut = {view: masks[:rows, :time] for view, (rows, time) in shapes.items()}
    return replace(found, probes={"masks": ByView(cut)})


@PROPERTY
@given(scores(VIEWS), st.floats(0.01, 2), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_sparse_po_counts_what_its_masks_let(found: Scores, beta: float, l1_u: float, l1_d: float, seed: int) -> None:
    term: Any = component("loss", "sparse_po", beta=beta, l1_u=l1_u, l1_d=l1_d)
    masks = torch.rand(4, 4, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    divergence = {view: tokens.values.abs() / 7 for view, tokens in found.policy_tokens.items()}
    seen = replace(masked(found, masks), statistics={"divergence_from_reference": ByView(divergence)})
    for row, value in enumerate(term(seen).tolist()):
        u, d, cost = {}, {}, 0.0
        for view in VIEWS:
            length = int(found.num_tokens[view][row])
            policy, reference = (
                side[view].values[row, :length].tolist() for side in (found.policy_tokens, found.reference_tokens)
            )
            kl = divergence[view][row, :length].tolist()
            one, other = masks[row, :length, 0].tolist(), masks[row, :length, 1].tolist()
            u[view] = sum(m * (p - q) for m, p, q in zip(one, policy, reference, strict=True))
            d[view] = sum(m * k for m, k in zip(other, kl, strict=True))
            cost += l1_u * sum(one) + l1_d * sum(other)
        x = beta * ((u[VIEWS[0]] - u[VIEWS[1]]) - (d[VIEWS[1]] - d[VIEWS[0]]))
        plain = math.log1p(math.exp(-x)) if x > 0 else -x + math.log1p(math.exp(x))
        assert value == pytest.approx(plain + cost, rel=1e-9, abs=1e-9)


@PROPERTY
@given(scores(VIEWS), st.integers(0, 99))
def test_a_shared_mask_is_both_masks(found: Scores, seed: int) -> None:
    one: Any = component("loss", "sparse_po", shared=True)
    two: Any = component("loss", "sparse_po")
    masks = torch.rand(4, 4, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    divergence = {view: tokens.values.abs() for view, tokens in found.policy_tokens.items()}
    seen = replace(found, statistics={"divergence_from_reference": ByView(divergence)})
    assert one(masked(seen, masks)).equal(two(masked(seen, masks.expand(4, 4, 2))))


def test_activations_go_from_0_to_1_over_a_response() -> None:
    from mdpo_objectives.losses.masks import spread_out

    values = torch.tensor([[1.0, 3.0, 8.0, 99.0], [5.0, -2.0, -99.0, 99.0]], dtype=torch.float64)
    values = torch.stack([values, -values / 100], dim=-1)
    mask = torch.tensor([[True, True, True, False], [True, True, False, False]])
    found = spread_out(values, mask)
    expected = torch.tensor([[0, 2 / 7, 1], [1, 0, math.nan]], dtype=torch.float64)
    for row, length in enumerate([3, 2]):
        torch.testing.assert_close(found[row, :length, 0], expected[row, :length])
        torch.testing.assert_close(found[row, :length, 1], 1 - expected[row, :length])


def test_activations_that_are_all_equal_let_every_token_count() -> None:
    from mdpo_objectives.losses.masks import spread_out

    one_token = torch.tensor([[True, False, False]])
    assert spread_out(torch.randn(1, 3, 2), one_token)[:, 0].equal(torch.ones(1, 2))
    assert spread_out(torch.full((1, 3, 2), -3.0), torch.ones(1, 3, dtype=torch.bool)).equal(torch.ones(1, 3, 2))


def test_masks_of_activations_are_means_over_layers() -> None:
    term: Any = component("loss", "sparse_po", beta=0.5, masks="activations", l1_u=0.25, l1_d=0.5)
    draw = torch.Generator().manual_seed(0)
    policy, reference, divergence = (
        {view: torch.rand(1, 4, generator=draw, dtype=torch.float64) for view in VIEWS} for _ in range(3)
    )
    levels = torch.tensor([-1.0, 0.8, 0.3, 2.0], dtype=torch.float64)[:, None]
    activations = {view: levels + 0.1 * torch.randn(1, 4, 3, generator=draw, dtype=torch.float64) for view in VIEWS}
    mask = torch.ones(1, 4, dtype=torch.bool)
    sides = [{view: TokenLogProbs(-side[view], mask) for view in VIEWS} for side in (policy, reference)]
    found = replace(
        Scores.from_tokens(ScorerOutput(sides[0], sides[1]), mask[:, 0], {}),
        statistics={"divergence_from_reference": ByView(divergence)},
        probes={"masks": ByView(activations)},
    )
    logit, cost = 0.0, 0.0
    for view, sign in zip(VIEWS, (1, -1), strict=True):
        inside = activations[view][0]
        held = ((inside - inside.min(0).values) / (inside.max(0).values - inside.min(0).values)).mean(1)
        counted = reference[view] - policy[view] + divergence[view]
        logit += sign * float((held * counted).sum())
        cost += 0.75 * float(held.sum())
    assert term(found).item() == pytest.approx(math.log1p(math.exp(-0.5 * logit)) + cost, rel=1e-9)


@pytest.mark.parametrize(("shared", "masks"), [(True, 1), (False, 2)])
def test_learned_masks_average_clipped_maps_of_normed_layers(shared: bool, masks: int) -> None:
    """Learned masks are clipped linear maps of normed layers, averaged."""
    term: Any = component("loss", "sparse_po", shared=shared)
    module = term.probes()["masks"].make(3, 5).double()
    draw = torch.Generator().manual_seed(0)
    # Layers of different size, of which nothing is to be seen.
    states = torch.randn(6, 3, 5, generator=draw, dtype=torch.float64) * torch.tensor([1.0, 20.0, 50.0])[:, None]
    assert module(states).equal(torch.ones(6, masks, dtype=torch.float64))
    weights = torch.randn(3, 5, masks, generator=draw, dtype=torch.float64)
    biases = torch.randn(3, masks, generator=draw, dtype=torch.float64)
    module.load_state_dict({"weight": weights, "bias": biases})
    found = module(states)
    assert found.shape == (6, masks)
    assert 0 < (found == 1).sum() < found.numel()
    for token in range(6):
        for number in range(masks):
            total = 0.0
            for layer, weight, bias in zip(states[token], weights[..., number], biases[:, number], strict=True):
                normed = (layer - layer.mean()) / (layer.var(correction=0) + 1e-5).sqrt()
                total += max(0.0, float(normed @ weight + bias))
            assert found[token, number].item() == pytest.approx(min(1.0, total / 3), rel=1e-9)


def test_a_learned_mask_above_its_bound_is_drawn_back() -> None:
    module = component("loss", "sparse_po").probes()["masks"].make(2, 3)  # type: ignore[attr-defined]
    with torch.no_grad():
        module.bias.fill_(1.5)
    masks = module(torch.randn(4, 2, 3))
    assert masks.equal(torch.ones(4, 2))
    masks.sum().backward()
    assert (module.bias.grad > 0).all()


def test_activations_are_one_mean_a_layer() -> None:
    module = component("loss", "sparse_po", masks="activations").probes()["masks"].make(2, 3)  # type: ignore[attr-defined]
    states = torch.tensor([[[1.0, 2.0, 6.0], [0.0, -1.0, -2.0]]])
    assert module(states).tolist() == [[3.0, -1.0]]


def test_an_advantage_that_is_given_needs_no_value_head() -> None:
    term: Any = component("anchor", "hpo", weight=1, alpha=1.0)
    assert not term.probes()
    assert term.columns() == ("advantage",)


def test_a_value_head_begins_at_0_and_teaches_no_states() -> None:
    term: Any = component("anchor", "hpo", weight=1, alpha=1.0, advantage="value_head", tau=0.5)
    module = term.probes()["value"].make(2, 3)
    states = torch.ones(4, 2, 3, requires_grad=True)
    values = module(states)
    assert values.equal(torch.zeros(4, 1))
    values.sum().backward()
    assert states.grad is None
    [weight, bias] = [parameter.grad for parameter in module.parameters()]
    assert weight.equal(torch.full((1, 6), 4.0))
    assert bias.equal(torch.tensor([4.0]))


def test_the_classifier_of_degrees_reads_the_whole_of_a_state() -> None:
    term: Any = component("loss", "spo", weight=1, degrees=["chosen", "half", "little"])
    states = torch.eye(6).unflatten(1, (2, 3))
    outputs = term.probes()["degree"].make(2, 3)(states)
    assert outputs.shape == (6, 3)
    assert len(outputs.unique(dim=0)) == 6


@PROPERTY
@given(scores(("chosen", "half", "little")))
def test_spo_tells_degrees_by_the_last_token(found: Scores) -> None:
    term: Any = component("loss", "spo", weight=1, degrees=["chosen", "half", "little"])
    outputs = {
        view: torch.stack([tokens.values, -tokens.values / 2, tokens.values * 0 - 3], dim=-1)
        for view, tokens in found.policy_tokens.items()
    }
    values = term(replace(found, probes={"degree": ByView(outputs)}))
    for row, value in enumerate(values.tolist()):
        cost = 0.0
        for degree, view in enumerate(("chosen", "half", "little")):
            last = float(found.policy_tokens[view].values[row, int(found.num_tokens[view][row]) - 1])
            logits = [last, -last / 2, -3.0]
            top = max(logits)
            cost += top + math.log(sum(math.exp(logit - top) for logit in logits)) - logits[degree]
        assert value == pytest.approx(cost / 3, rel=1e-9, abs=1e-9)


@PROPERTY
@given(scores(("chosen",), {"reward": st.floats(-3, 3)}), st.floats(0.5, 5), st.floats(0.1, 0.9), st.floats(-2, 2))
def test_hpo_value_head_aims_at_expectile_and_detaches_advantage(
    found: Scores, alpha: float, tau: float, value: float
) -> None:
    term: Any = component("anchor", "hpo", weight=1, alpha=alpha, advantage="value_head", tau=tau)
    outputs = torch.full((*found.policy_tokens["chosen"].mask.shape, 1), value, dtype=torch.float64, requires_grad=True)
    total = term(replace(found, probes={"value": ByView({"chosen": outputs})}))
    slope = torch.autograd.grad(total.sum(), outputs)[0][:, 0, 0]
    for row, cost in enumerate(total.tolist()):
        apart = float(found.columns["reward"][row]) - value
        share = 1 - tau if apart < 0 else tau
        expected = -math.exp(apart / alpha) * float(found.policy["chosen"][row]) + share * apart**2
        assert cost == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert slope[row].item() == pytest.approx(-2 * share * apart, rel=1e-9, abs=1e-9)


def test_value_head_refuses_a_view_scored_with_its_prompt() -> None:
    with pytest.raises(ValueError, match="a value head reads the end of the prompt"):
        component("anchor", "hpo", weight=1, alpha=1.0, advantage="value_head", tau=0.5, on="prompt+chosen")


@pytest.mark.parametrize("options", [{"tau": 0.5}, {"advantage": "value_head"}])
def test_tau_and_a_value_head_go_together(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="tau is the expectile of a value head"):
        component("anchor", "hpo", weight=1, alpha=1.0, **options)
