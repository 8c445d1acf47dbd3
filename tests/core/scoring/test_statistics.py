"""Statistics of whole distributions: the divergence of TDPO and the confidence of WPO, against whole logits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from support.builders.scorers import examples, make
from torch import Tensor

from mdpo_core import PairLoss, PluginError, Scores, Statistic, View
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.objective.objective import Objective
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.reference import AdapterOff
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.types.layout import pad_view

VIEWS = (View("chosen"), View("rejected"))


def forward_divergence(policy: Tensor, reference: Tensor | None) -> Tensor:
    assert reference is not None
    return (reference.exp() * (reference - policy)).sum(-1)


def confidence(policy: Tensor, reference: Tensor | None) -> Tensor:
    assert reference is None
    return policy.mul(2).logsumexp(-1)


DIVERGENCE = Statistic(forward_divergence, needs_reference=True)
CONFIDENCE = Statistic(confidence)


class TokenDpo(PairLoss):
    """TDPO1 (arXiv:2404.11999), as a third party might write it."""

    beta: float = 0.1

    def statistics(self) -> Mapping[str, Statistic]:
        return {"divergence": DIVERGENCE}

    def __call__(self, scores: Scores) -> Tensor:
        drift = scores.statistics["divergence"][self.over].sum(1) - scores.statistics["divergence"][self.prefer].sum(1)
        margin = scores.margin(self.prefer, self.over) - drift
        return -torch.nn.functional.logsigmoid(self.beta * margin)


class Other(TokenDpo):
    def statistics(self) -> Mapping[str, Statistic]:
        return {"divergence": CONFIDENCE}


@pytest.fixture(scope="module")
def scored(llava: Path, photographs: Path):  # type: ignore[no-untyped-def]
    builder, objective, _, model = make(llava, {"tdpo": TokenDpo()})
    data = examples([("A pink flower", "no", True), ("A", "green leaves and people", False)], photographs)
    return objective, model, builder.build(data, range(len(data)), epoch=0)


def whole(model, batch, view: View, row: int) -> Tensor:  # type: ignore[no-untyped-def]
    """The distributions of one response by one forward, written out."""
    item = batch.items[view][row]
    rows = pad_view([item.prompt], [item.response])
    images = [batch.images[index] for index in item.image_indices]
    logits = model.logits(model.hidden_states(rows, model.encode_images(images) if images else ()))[0]
    return logits[len(item.prompt) - 1 : -1].log_softmax(-1)


@pytest.mark.parametrize("options", [Scoring(max_logits=500), Scoring(share_prefix=False, max_logits=None)])
def test_statistics_and_gradients_equal_those_of_whole_logits(options: Scoring, scored) -> None:  # type: ignore[no-untyped-def]
    _, model, batch = scored
    wanted = {"divergence": DIVERGENCE, "confidence": CONFIDENCE}
    found = Scorer(model, TermInputs(VIEWS, wanted), AdapterOff(), options)(batch).statistics
    total, expected_total = torch.zeros(()), torch.zeros(())
    for view in VIEWS:
        for row in range(len(batch)):
            policy = whole(model, batch, view, row)
            with torch.no_grad(), model.adapter_disabled():
                reference = whole(model, batch, view, row)
            expected = {"divergence": forward_divergence(policy, reference), "confidence": confidence(policy, None)}
            for name, values in expected.items():
                torch.testing.assert_close(found[name][view][row, : len(values)], values, atol=2e-5, rtol=0)
                assert not found[name][view][row, len(values) :].any()
                total = total + found[name][view][row].pow(2).sum()
                expected_total = expected_total + values.pow(2).sum()
    trained = [value for value in model.module.parameters() if value.requires_grad]
    ours, theirs = torch.autograd.grad(total, trained), torch.autograd.grad(expected_total, trained)
    scale = max(float(value.abs().max()) for value in theirs)
    assert scale > 0
    assert all(float((one - other).abs().max()) <= 1e-4 * scale for one, other in zip(ours, theirs, strict=True))


def test_a_term_reads_its_statistics_from_the_scores(scored) -> None:  # type: ignore[no-untyped-def]
    objective, model, batch = scored
    scorer = Scorer(model, objective.reads, AdapterOff(), Scoring())
    outcome = objective(Scores.of_batch(scorer(batch), batch))
    assert outcome.loss.isfinite().all()
    assert outcome.loss.requires_grad


def test_terms_may_share_a_statistic_but_not_reuse_its_name() -> None:
    """Two terms may share a statistic, and may not mean two things by one name."""
    assert list(Objective({"one": TokenDpo(), "two": TokenDpo(beta=0.2)}).reads.statistics) == ["divergence"]
    with pytest.raises(PluginError, match=r"'two'.*another term has another statistic 'divergence'"):
        Objective({"one": TokenDpo(), "two": Other()})


def test_no_tensor_of_logits_is_larger_than_asked_for(scored, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    _, model, batch = scored
    seen: list[int] = []
    through = type(model).through_head

    def watched(self, compute, states):  # type: ignore[no-untyped-def]
        return through(
            self,
            lambda head, all_states: compute(lambda some: seen.append(len(some)) or head(some), all_states),
            states,
        )

    monkeypatch.setattr(type(model), "through_head", watched)
    scorer = Scorer(model, TermInputs(VIEWS, {"divergence": DIVERGENCE}), AdapterOff(), Scoring(max_logits=2000))
    result = scorer(batch)
    result.statistics["divergence"][VIEWS[0]].sum().backward()
    vocab = model.logits(torch.zeros(1, 32)).shape[-1]
    assert max(seen) == 2000 // vocab
    model.module.zero_grad()
