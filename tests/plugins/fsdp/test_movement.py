"""How far all weights of a small LLaVA move in steps of mDPO with the recipes' rates, in each precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mdpo_fsdp import FSDP
from support.processes.parallel_jobs import examples
from torch import Tensor

from mdpo_core import Scores, Train, TrainableScorer, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.objective.objective import Objective
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.reference import FrozenCopy
from mdpo_core.scoring.scorer import Scorer

STEPS, PAIRS = 30, 4


def movement(llava: Path, precision: str, rate: float) -> Tensor:
    """What training in full adds to all weights, as one vector."""
    backend, adapter = FSDP(precision=precision), component("adapter", "llava", path=str(llava), freeze=[])
    terms = {
        "dpo": component("loss", "dpo"),
        "image": component("loss", "dpo", over="chosen@crop"),
        "anchor": component("anchor", "reward"),
    }
    crop, train = component("corruption", "random_crop"), Train(learning_rate=rate)
    builder = BatchBuilder.for_terms(list(terms.values()), {"crop": crop}, adapter.encoder(), adapter.max_length, 0)
    objective = Objective(terms)
    model = adapter.load(backend.placement())
    copy = adapter.load(backend.placement(), trainable=False)
    before = {name: value.detach().clone() for name, value in copy.module.named_parameters()}
    backend.place_reference(copy, train)
    scorer = Scorer(model, objective.reads, FrozenCopy(copy), Scoring())
    engine = backend.start(TrainableScorer(scorer, model), train)
    rows = examples()
    for step in range(STEPS):
        batch = builder.build(rows, [(step * PAIRS + pair) % len(rows) for pair in range(PAIRS)], epoch=0)
        scores = Scores.of_batch(engine.forward(batch), batch)
        engine.backward(objective(scores).loss.sum() / PAIRS)
        engine.step(rate)
    after = {each.name: each.values for each in engine.state() if each.name.startswith("weight:")}
    moved = [values.float() - before[name.removeprefix("weight:policy.")].flatten() for name, values in after.items()]
    return torch.cat(moved)


@pytest.mark.long
@pytest.mark.parametrize("rate", [5e-7, 1e-5])
def test_mixed_precision_moves_as_far_as_float32_and_bfloat16_does_not(rate: float, llava: Path) -> None:
    exact, mixed, refused = (movement(llava, precision, rate) for precision in ("fp32", "bf16_mixed", "bf16"))
    distance = float(exact.norm())
    assert float(mixed.norm()) == pytest.approx(distance, rel=0.02)
    assert float(torch.cosine_similarity(mixed, exact, dim=0)) > 0.99
    # Why recipes with weights that train in full refuse `bf16`.
    assert float(refused.norm()) < 0.3 * distance
