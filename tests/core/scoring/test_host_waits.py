"""How often a micro-batch waits for its device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.builders.scorers import examples, make
from support.host_waits import HostWaits

from mdpo_core import Scores, component
from mdpo_core.objective.meter import Meter
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


def micro_batch(builder: Any, objective: Any, scorer: Any, data: Any, meter: Meter) -> None:
    batch = builder.build(data, range(len(data)), epoch=0)
    scores = Scores.of_batch(scorer(batch), batch, objective.needs_tokens)
    outcome = objective(scores)
    require_finite(outcome, batch, 2)
    outcome.loss.sum().backward()
    meter.add(outcome.values, outcome.counted)


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
