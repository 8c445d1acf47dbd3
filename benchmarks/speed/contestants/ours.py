"""Our own library's step, put together as a run does it, with its switches one by one."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch import Tensor

from benchmarks.speed.job import LEARNING_RATE, TERMS, VIEWS, Job, Result
from benchmarks.speed.measure import Watch
from benchmarks.speed.model import lora_weights, start_lora
from benchmarks.speed.pairs import make_builder, make_encoder, make_examples, make_terms
from benchmarks.speed.parity import differences, save
from mdpo_core import (
    Batch,
    Engine,
    Example,
    Recipe,
    Scores,
    Train,
    TrainableScorer,
    View,
    VisionLanguageModel,
    component,
)
from mdpo_core.data.encoding import BatchBuilder, TrainingData
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.objective.meter import Meter
from mdpo_core.objective.objective import Objective
from mdpo_core.recipe.recipe import Output, Scoring
from mdpo_core.scoring.reference import AdapterOff, Cached
from mdpo_core.scoring.reference_store import ReferenceStore
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.training.learner import Learner
from mdpo_core.training.number_checks import require_finite
from mdpo_core.training.out_of_memory import MemoryAdvice
from mdpo_core.training.reference_pass import Precomputation

CHUNK = Scoring().max_logits
CACHING_PASSES = 3


class Switches(NamedTuple):
    scoring: Scoring
    reference: Literal["adapter_off", "cached"] = "adapter_off"


PLAIN = Scoring(share_prefix=False, max_logits=None)
SWITCHES = {
    "ours: plain": Switches(PLAIN),
    "ours: + shared prefix": Switches(Scoring(share_prefix=True, max_logits=None)),
    "ours: + chunked head": Switches(Scoring(share_prefix=False, max_logits=CHUNK)),
    "ours: + cached reference": Switches(PLAIN, "cached"),
    "ours: all": Switches(Scoring(share_prefix=True, max_logits=CHUNK), "cached"),
}


class Run(NamedTuple):
    """What a run holds before its first step."""

    recipe: Recipe
    model: VisionLanguageModel
    scorer: Scorer
    engine: Engine
    builder: BatchBuilder
    examples: list[Example]
    cache_seconds: float | None = None


def run(job: Job) -> Result:
    begun = begin(job)
    return _measure(job, begun, begun.builder.build(begun.examples, range(job.shape.num_pairs), epoch=0))


def begin(job: Job) -> Run:
    """All that comes before the first step, the cached reference included."""
    begun = _begin(job)
    if begun.recipe.reference == "cached":
        cached, cache_seconds = _cache(begun)
        begun.scorer.use_reference(cached)
        begun = begun._replace(cache_seconds=cache_seconds)
    start_lora(begun.model.module)
    return begun


def _begin(job: Job) -> Run:
    switches = SWITCHES[job.contestant]
    recipe = _recipe(job, switches)
    model = recipe.model.load(recipe.backend.placement())
    model.set_training(True)
    reference = None if switches.reference == "cached" else AdapterOff()
    scorer = Scorer(model, TermInputs(tuple(map(View.parse, VIEWS))), reference, switches.scoring)
    engine = recipe.backend.start(TrainableScorer(scorer, model), recipe.train)
    encoder = make_encoder(Path(job.folder))
    return Run(recipe, model, scorer, engine, make_builder(encoder), make_examples(job.shape, encoder))


def _recipe(job: Job, switches: Switches) -> Recipe:
    """Its data is not opened: the examples are there already."""
    lora = {"rank": job.shape.lora_rank, "alpha": 2 * job.shape.lora_rank, "dropout": job.dropout}
    components: Any = {
        "model": component("adapter", "llava", path=job.folder, lora=lora),
        "data": component("reader", "pairs", path="nowhere"),
        "objective": tuple(make_terms(len(TERMS))),
        "backend": component(
            "backend", "local", precision="fp32" if job.device == "cpu" else "bf16", device=job.device
        ),
    }
    return Recipe(
        **components,
        train=Train(learning_rate=LEARNING_RATE, micro_batch_size=job.shape.num_pairs),
        scoring=switches.scoring,
        reference=switches.reference,
        output=Output(dir=Path("nowhere")),
    )


def _cache(begun: Run) -> tuple[Cached, float]:
    """The reference of the step's pairs, and the seconds that a pass takes from rows to files on the disk."""
    seconds = []
    # The first pass warms up.
    for _ in range(1 + CACHING_PASSES):
        with tempfile.TemporaryDirectory() as name:
            learner = Learner(begun.model, begun.engine, MemoryAdvice(begun.recipe, begun.model, None))
            lengths = [begun.recipe.model.max_length] * len(begun.examples)  # all are alike
            data = TrainingData(begun.examples, lengths, begun.builder)
            computation = Precomputation(begun.recipe, learner, data, lambda done, total: None)
            started = time.perf_counter()
            cached = computation.fill(ReferenceStore(Path(name), {}))
            seconds.append(time.perf_counter() - started)
    return cached, statistics.median(seconds[1:])


def _measure(job: Job, begun: Run, batch: Batch) -> Result:
    objectives = {num: objective_of(num) for num in job.num_terms}
    watch = Watch(job)
    for step in range(watch.num_steps):
        objective = objectives[watch.terms]
        watch.begin()
        loss = forward_backward(begun.engine, objective, batch, step)
        if step == 0 and job.gradients is not None:
            save(_own(job.gradients), loss, dict(lora_weights(begun.model.module)))
        begun.engine.step(LEARNING_RATE)
        watch.end()
    compared = None if job.gradients is None else differences(_own(job.gradients), Path(job.gradients))
    return watch.result(differences=compared, cache_seconds=begun.cache_seconds)


def forward_backward(engine: Engine, objective: Objective, batch: Batch, step: int) -> Tensor:
    scores = Scores.of_batch(engine.forward(batch), batch)
    outcome = objective(scores)
    require_finite(outcome, batch, step + 1)
    loss = outcome.loss.sum() / len(batch)
    engine.backward(loss)
    Meter().add(outcome.values, outcome.counted)
    return loss


def objective_of(num_terms: int) -> Objective:
    terms: Any = make_terms(num_terms)
    return Objective({f"{place}:{type(term).__name__}": term for place, term in enumerate(terms)})


def _own(gradients: str) -> Path:
    return Path(f"{gradients}.ours")
