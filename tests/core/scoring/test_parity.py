"""Every way of scoring against the plain one, and what a wrong one looks like."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.builders.tiny_batches import VIEWS, Drawn, build_batch, drawn_rows, some_views
from support.builders.tiny_models import VOCAB, Loaded, Tiny, build
from support.effort import num_examples
from support.oracles.plain_attention import Place, attend_as, right
from torch import Tensor

from mdpo_core import Batch, Scores, Statistic, View, component
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.objective.objective import Objective
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring import head, hidden_states
from mdpo_core.scoring.attention import ATTENTIONS
from mdpo_core.scoring.scorer import PLAIN, Scorer
from mdpo_core.testing.adapters.parity import Measured, measure, require_parity
from mdpo_core.types import layout, packing

FAST = Scoring(max_logits=2 * VOCAB)
KINDS = [
    Tiny("llama", "lora"),
    Tiny("llama", "lora_and_head", side=1),
    Tiny("llama", "language"),
    Tiny("grouped", "lora", side=3),
    Tiny("grouped", "all"),
    Tiny("phi", "lora", biased_head=True),
    Tiny("phi", "lora_and_head", biased_head=True),
    Tiny("phi", "language", biased_head=True, side=1),
]
# Two pairs of one prompt, all of them or one of them with equal beginnings; one without a picture; one with two, and
# answers that begin alike.
ROWS = [
    Drawn((0,), [5, 6], [7, 8, 9], []),
    Drawn((0,), [5, 6], [7, 8, 9], [7, 8]),
    Drawn((), [4], [7], [5] * 7),
    Drawn((1, 2), [4], [7, 5, 5, 6, 8], [7, 5, 5] + [5] * 4),
    Drawn((2,), [6], [7, 8, 9], [7, 8, 9]),
    Drawn((0, 1), [6], [7, 8, 9], [7, 8]),
]


def named(kind: Tiny) -> str:
    return f"{kind.text}-{kind.trains}{'-bias' * kind.biased_head}-{kind.num_image_tokens}"


options = st.builds(
    Scoring,
    share_prefix=st.booleans(),
    # One logit, less than a token's, primes of some tokens, more than all, all.
    max_logits=st.sampled_from([1, VOCAB - 1, 127, 509, 10**6, None]),
    activation_checkpointing=st.sampled_from(["off", "full", 2]),
    # Without compiled layers, rows are padded as for them.
    compile=st.booleans(),
)


def divergence(policy: Tensor, reference: Tensor | None) -> Tensor:
    assert reference is not None
    return (reference.exp() * (reference - policy)).sum(-1)


STATISTICS = {"divergence": Statistic(divergence, needs_reference=True)}


def scored(
    loaded: Loaded, batch: Batch, views: list[View] | tuple[View, ...], scoring: Scoring, statistics: bool = False
) -> Measured:
    reads = TermInputs(tuple(views), STATISTICS if statistics else {})
    return measure(Scorer(loaded.model, reads, loaded.reference, scoring), batch)


def check(
    kind: Tiny,
    rows: list[Drawn],
    views: list[View] | tuple[View, ...],
    scoring: Scoring,
    nats: float = 2e-5,
    share: float = 1e-4,
    statistics: bool = False,
) -> None:
    """What all tests of this page ask: the same numbers and gradients as by the plain path."""
    batch = build_batch(rows, views, kind)
    found = scored(build(kind, scoring.activation_checkpointing), batch, views, scoring, statistics)
    expected = scored(build(kind), batch, views, PLAIN, statistics)
    require_parity(named(kind), found, expected, nats, share)


@pytest.mark.parametrize("kind", KINDS, ids=named)
@settings(max_examples=num_examples(4, 12), deadline=None)
@given(rows=drawn_rows, views=some_views, scoring=options, seed=st.integers(0, 1), statistics=st.booleans())
@example(rows=ROWS, views=list(VIEWS), scoring=FAST, seed=0, statistics=True)
def test_every_way_of_scoring_equals_the_plain_one(
    kind: Tiny, rows: list[Drawn], views: list[View], scoring: Scoring, seed: int, statistics: bool
) -> None:
    check(replace(kind, seed=seed), rows, views, scoring, statistics=statistics)


@pytest.mark.parametrize("kind", KINDS[1::2], ids=named)
@settings(max_examples=num_examples(2, 6), deadline=None)
@given(rows=drawn_rows, views=some_views, scoring=options)
@example(rows=ROWS, views=list(VIEWS), scoring=FAST)
def test_in_float64_nothing_but_the_order_of_sums_is_left(
    kind: Tiny, rows: list[Drawn], views: list[View], scoring: Scoring
) -> None:
    check(replace(kind, dtype=torch.float64), rows, views, scoring, nats=1e-10, share=1e-10)


@pytest.mark.parametrize("trains", ["lora", "language"])
@pytest.mark.parametrize("text", ["llama", "grouped", "phi"])
@pytest.mark.parametrize("autocast", [False, True])
def test_in_bfloat16_it_is_as_near_to_float64_as_the_plain_path(autocast: bool, text: Any, trains: Any) -> None:
    kind = Tiny(text, trains, dtype=torch.float32 if autocast else torch.bfloat16)
    batch = build_batch(ROWS, VIEWS, kind)
    exact = copy.deepcopy(build(kind).model)
    exact.module.double()
    truth = measure(Scorer(exact, TermInputs(VIEWS)), batch)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found, plain = (
            measure(Scorer(build(kind).model, TermInputs(VIEWS), None, each), batch) for each in (FAST, PLAIN)
        )
    for ours, theirs in zip(distances(found, truth), distances(plain, truth), strict=True):
        assert 0 < ours <= 1.25 * theirs


def distances(found: Measured, truth: Measured) -> tuple[float, float]:
    """Root mean square over tokens, in nats; and of the gradients, as a share of their length."""
    tokens = [
        (one.values - other.values)[one.mask]
        for one, other in zip(found.scored.policy.values(), truth.scored.policy.values(), strict=True)
    ]
    gaps = [(found.gradients[name] - value).flatten() for name, value in truth.gradients.items()]
    length = torch.cat([value.flatten() for value in truth.gradients.values()]).norm()
    return float(torch.cat(tokens).detach().square().mean().sqrt()), float(torch.cat(gaps).norm() / length)


@pytest.mark.parametrize("trains", ["lora", "lora_and_head"])
@settings(max_examples=num_examples(3, 8), deadline=None)
@given(rows=drawn_rows, views=some_views, scoring=options, seed=st.integers(0, 10**6))
def test_recomputed_layers_drop_out_as_they_did(
    trains: Any, rows: list[Drawn], views: list[View], scoring: Scoring, seed: int
) -> None:
    kind = Tiny("grouped", trains, dropout=0.3)
    batch = build_batch(rows, views, kind)

    def once(recomputed: Any, seed: int) -> Measured:
        torch.manual_seed(seed)
        return scored(build(kind, recomputed), batch, views, scoring)

    kept, other = once("off", seed), once("off", seed + 1)
    require_parity("dropout", once("full", seed), kept, 1e-6, 1e-6)
    require_parity("dropout", once(2, seed), kept, 1e-6, 1e-6)
    with pytest.raises(AssertionError, match="differ"):
        require_parity("dropout", other, kept, 1e-6, 1e-6)


@pytest.mark.parametrize("kind", [*KINDS, Tiny("llama", "all")], ids=named)
@settings(max_examples=num_examples(2, 5), deadline=None)
@given(rows=drawn_rows, views=some_views, scoring=options)
def test_the_reference_equals_a_model_of_its_own(
    kind: Tiny, rows: list[Drawn], views: list[View], scoring: Scoring
) -> None:
    batch = build_batch(rows, views, kind)
    with torch.no_grad():
        found = Scorer(build(kind).model, TermInputs(views), build(kind).reference, scoring)(batch).reference
        alone = Scorer(build(kind).frozen, TermInputs(views))(batch).policy
    for view in views:
        torch.testing.assert_close(found[view].values, alone[view].values, atol=2e-5, rtol=0)


@pytest.mark.parametrize("trains", ["lora", "lora_and_head", "language", "all"])
@settings(max_examples=num_examples(2, 5), deadline=None)
@given(rows=drawn_rows, scoring=options)
@example(
    rows=[Drawn((), [4], [], []), Drawn((), [4], [], [4] * 7)],
    scoring=Scoring(share_prefix=False, max_logits=1),
)
def test_before_training_each_sigmoid_term_costs_log_2(trains: Any, rows: list[Drawn], scoring: Scoring) -> None:
    kind = Tiny("llama", trains, trained=False)
    terms = {
        "dpo": component("loss", "dpo", beta=0.5),
        "copo": component("loss", "dpo", over="chosen@crop"),
        "anchor": component("anchor", "reward"),
    }
    objective = Objective(terms)  # type: ignore[arg-type]  # `component` gives any kind
    loaded = build(kind, scoring.activation_checkpointing)
    batch = build_batch(rows, objective.reads.views, kind)
    scorer = Scorer(loaded.model, objective.reads, loaded.reference, scoring)
    outcome = objective(Scores.of_batch(scorer(batch), batch))
    for name in terms:
        for cost in outcome.metrics[f"loss/{name}"].tolist():
            assert cost == pytest.approx(math.log(2), abs=1e-6)


def sees_a_sibling(query: Place, key: Place) -> bool:
    return query.group == key.group and key.place <= query.place


def sees_only_the_prompt(query: Place, key: Place) -> bool:
    return right(query, key) and (key.branch == 0 or key.place == query.place)


def sees_the_row(query: Place, key: Place) -> bool:
    return key.place <= query.place


def sees_another_prompt(query: Place, key: Place) -> bool:
    return right(query, key) or (key.group == query.group - 1 and key.branch == 0)


def sees_what_follows(query: Place, key: Place) -> bool:
    return query.group == key.group and (key.branch == 0 or right(query, key))


def attention(sees: Callable[[Place, Place], bool]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setitem(ATTENTIONS, "auto", attend_as(sees))


PACK, SHOWN, LOG_PROBS = packing.pack, hidden_states._shown, head._log_probs_of
COMMON = packing.common_beginning
READ = layout.Packed.read
Head = Callable[[Tensor], Tensor]


def moves_on(items: Any, attention: Any, multiple: int) -> packing.Packing:
    """Each branch takes up its positions where the one before it ended."""
    made = PACK(items, attention, multiple)
    positions = torch.cat([torch.arange(sum(lengths)) for lengths in made.packed.lengths])[None]
    return made._replace(packed=replace(made.packed, position_ids=positions))


def never_restarts(items: Any, attention: Any, multiple: int) -> packing.Packing:
    made = PACK(items, attention, multiple)
    positions = torch.arange(made.packed.token_ids.numel())[None]
    return made._replace(packed=replace(made.packed, position_ids=positions))


def all_but_the_first(packed: layout.Packed) -> Tensor:
    return READ.func(packed)[1:]


def swapped(images: Any, pictures: Any) -> Any:
    return SHOWN(images, list(pictures)[::-1])


def one_late(items: Any, attention: Any, multiple: int) -> packing.Packing:
    made = PACK(items, attention, multiple)
    return made._replace(predicting=made.predicting + 1)


def all_that_is_equal(responses: list[Tensor]) -> int:
    """Also what not all of them begin with."""
    return COMMON(responses) + (len(responses) > 1 and min(map(len, responses)) - 1 > COMMON(responses))


def differs_too_early(items: Any, attention: Any, multiple: int) -> packing.Packing:
    """The first token that differs is predicted from the last token of the prompt, as if nothing was in common."""
    made = PACK(items, attention, multiple)
    predicting = made.predicting.clone()
    for parts in made.spans:
        if len(parts) == 2:
            predicting[parts[1].start] = made.predicting[parts[0].start]
    return made._replace(predicting=predicting)


def counted_for_one(self: Any, values: Tensor) -> Any:
    """What is in common carries the gradient of one response only."""
    seen: set[int] = set()

    def of(parts: packing.Parts) -> Tensor:
        again = len(parts) == 2 and parts[0].start in seen
        seen.add(parts[0].start)
        first = values[parts[0]].detach() if again else values[parts[0]]
        return torch.cat([first, *(values[part] for part in parts[1:])])

    return {view: self._of(view, [of(parts) for parts in spans]) for view, spans in self.spans.items()}


def without_the_last(head: Head, hidden: Tensor, token_ids: Tensor) -> Tensor:
    found = LOG_PROBS(head, hidden, token_ids)
    return torch.cat([found[:-1], 0 * found[-1:]]) if len(found) > 1 else found


def without_softmax(head: Head, hidden: Tensor, token_ids: Tensor) -> Tensor:
    logits = head(hidden)
    return logits.gather(-1, token_ids[:, None]).squeeze(-1) - logits.logsumexp(-1).detach()


def made_of(wrong: Callable[[Head, Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The same mistake in the gradient that is made in forward."""

    def with_gradient(logits: Tensor, token_ids: Tensor) -> tuple[Tensor, Tensor]:
        leaf = logits.requires_grad_()
        with torch.enable_grad():
            values = wrong(lambda logits: logits, leaf, token_ids)
            return values.detach(), torch.autograd.grad(values.sum(), leaf)[0]

    return with_gradient


def wrong_head(wrong: Callable[[Head, Tensor, Tensor], Tensor]) -> Callable[[pytest.MonkeyPatch], None]:
    def apply(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(head, "_log_probs_of", wrong)
        patch.setattr(head, "_with_gradient", made_of(wrong))

    return apply


def patch_in(owner: Any, name: str, wrong: Any) -> Callable[[pytest.MonkeyPatch], None]:
    def apply(patch: pytest.MonkeyPatch) -> None:
        if owner is packing and name == "pack":
            patch.setattr(hidden_states, name, wrong)
        else:
            patch.setattr(owner, name, wrong)

    return apply


MUTANTS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "a branch sees its sibling": (attention(sees_a_sibling), "nats"),
    "a branch does not see itself": (attention(sees_only_the_prompt), "nats"),
    "everything sees what is before it": (attention(sees_the_row), "nats"),
    "a row sees the prompt of another": (attention(sees_another_prompt), "nats"),
    "a prompt sees what follows": (attention(sees_what_follows), "nats"),
    "positions go on from branch to branch": (patch_in(packing, "pack", moves_on), "nats"),
    "positions do not restart": (patch_in(packing, "pack", never_restarts), "nats"),
    "the last layer leaves out a place": (patch_in(layout.Packed, "read", property(all_but_the_first)), "nats"),
    "pictures are swapped": (patch_in(hidden_states, "_shown", swapped), "nats"),
    "tokens predict themselves": (patch_in(packing, "pack", one_late), "nats"),
    "what differs counts as in common": (patch_in(packing, "common_beginning", all_that_is_equal), "nats"),
    "the first token that differs is predicted too early": (patch_in(packing, "pack", differs_too_early), "nats"),
    "what is in common counts for one response": (
        patch_in(hidden_states.PredictingHiddenStates, "by_view", counted_for_one),
        "the gradient of",
    ),
    "a chunk loses its last token": (wrong_head(without_the_last), "nats"),
    "the gradient lacks the softmax": (wrong_head(without_softmax), "the gradient of"),
}


@pytest.mark.parametrize("trains", ["lora", "language"])
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_way_fails_the_same_check(mutant: str, trains: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    apply, sentence = MUTANTS[mutant]
    kind = Tiny("llama", trains)
    check(kind, ROWS, VIEWS, FAST)
    expected = scored(build(kind), build_batch(ROWS, VIEWS, kind), VIEWS, PLAIN)
    apply(monkeypatch)
    found = scored(build(kind), build_batch(ROWS, VIEWS, kind), VIEWS, FAST)
    with pytest.raises(AssertionError, match=sentence):
        require_parity(mutant, found, expected, 2e-5, 1e-4)


def test_attention_written_out_with_the_right_mask_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    attention(right)(monkeypatch)
    check(KINDS[0], ROWS, VIEWS, FAST)
