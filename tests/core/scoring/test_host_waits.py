"""How often a micro-batch waits for its device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.builders.scorers import examples, make
from support.builders.small_vlms import build_vlm
from support.host_waits import HostWaits

from mdpo_core import Placement, Scores, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.objective.meter import Meter
from mdpo_core.objective.objective import Objective
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.reference import AdapterOff
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.training.number_checks import require_finite

MDPO = {
    "dpo": component("loss", "dpo", beta=0.1),
    "image": component("loss", "dpo", beta=0.1, over="chosen@crop"),
    "anchor": component("anchor", "reward", beta=0.1, on="chosen"),
}
PAIRS = [("A pink flower", "no people", True), ("A temple", "green leaves", True), ("no leaves", "people", False)]


SOURCES = ("boats", "cats", "boats")  # metrics by source wait no more


def micro_batch(builder: Any, objective: Any, scorer: Any, data: Any, meter: Meter) -> None:
    batch = builder.build(data, range(len(data)), epoch=0)
    scores = Scores.of_batch(scorer(batch), batch, objective.needs_tokens)
    outcome = objective(scores)
    require_finite(outcome, batch, 2)
    outcome.loss.sum().backward()
    meter.add(outcome.values, outcome.counted, SOURCES)


def test_a_micro_batch_of_mdpo_waits_fewer_than_10_times(llava: Path, photographs: Path) -> None:
    builder, objective, _, model = make(llava, MDPO)
    scorer = Scorer(model, objective.reads, AdapterOff(), Scoring())
    model.set_training(True)
    waits, meter = HostWaits(), Meter()
    waits.put([*scorer.parameters(), *scorer.buffers()])
    with waits:
        micro_batch(builder, objective, scorer, examples(PAIRS, photographs), meter)
    assert 0 < waits.found.total() < 10, waits.report()
    waits.found.clear()
    with waits:
        meter.means()
    assert waits.found.total() == 2, waits.report()


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl"])
def test_positions_in_three_dimensions_wait_no_more(family: str, photographs: Path, tmp_path: Path) -> None:
    """Pictures of several sizes decide about positions, windows and lengths: all of it is known on the CPU."""
    adapter = component("adapter", "chat_vlm", path=str(build_vlm(family, tmp_path)), lora={"rank": 2, "dropout": 0.05})
    crop = component("corruption", "random_crop")
    builder = BatchBuilder.for_terms(MDPO.values(), {"crop": crop}, adapter.encoder(), 2048, seed=0)  # type: ignore[attr-defined]
    model, objective = adapter.load(Placement()), Objective(MDPO)  # type: ignore[attr-defined]
    scorer = Scorer(model, objective.reads, AdapterOff(), Scoring())
    waits, meter = HostWaits(), Meter()
    waits.put([*scorer.parameters(), *scorer.buffers()])
    with waits:
        micro_batch(builder, objective, scorer, examples(PAIRS, photographs), meter)
    assert 0 < waits.found.total() < 10, waits.report()
