"""Short trainings of a small LLaVA by one engine after another, in as many processes as torchrun starts.

``torchrun ... deepspeed_jobs.py JOBS.json``: a list of `Job`s as dictionaries.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from mdpo_deepspeed import DeepSpeed
from mdpo_local import Local
from torch import Tensor, distributed

from mdpo_core import (
    Backend,
    Batch,
    Decoding,
    Engine,
    ModelAdapter,
    SavedEngineState,
    Scores,
    Train,
    TrainableScorer,
    component,
    current_world,
)
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.objective.objective import Objective
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.activation_checkpointing import recompute_in_backward
from mdpo_core.scoring.reference import AdapterOff, FrozenCopy
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.training.optimization import rate_factors
from mdpo_core.types.engine_state import write_state

TRAIN = Train(learning_rate=1e-3, weight_decay=0.1, max_grad_norm=0.5)
_BACKENDS: dict[str, type[Backend]] = {"deepspeed": DeepSpeed, "local": Local}
NUM_STEPS = 4
PAIRS_PER_STEP = 8
MICRO_BATCH = 2


@dataclass(frozen=True)
class Job:
    """What is trained, by what, and where it is kept: ``folder/step-N/`` after each step of ``saved``, metrics.

    ``backend``: its name and options. ``options``: of the adapter, over what ``lora`` and ``freeze`` say. ``start``: a
    folder that a job has saved, of ``first_step``.
    """

    folder: str
    model: str
    pairs: str
    images: str
    backend: dict[str, Any]
    lora: bool = True
    freeze: tuple[str, ...] = ("vision",)
    options: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    first_step: int = 0
    saved: tuple[int, ...] = (NUM_STEPS,)
    share_prefix: bool = True
    recomputed: bool = False
    generates: bool = False

    def run(self) -> None:
        """Train to the end."""
        options = dict(self.backend)
        backend = _BACKENDS[options.pop("backend")](**options)
        backend.check(TRAIN, current_world())
        scorer, builder, rows, objective = self._parts(backend)
        engine = backend.start(scorer, TRAIN)
        if self.start:
            state = SavedEngineState(sorted(Path(self.start).iterdir()))
            engine.restore(state)
            state.require_all_read()
        metrics = []
        for step in range(self.first_step, NUM_STEPS):
            metrics.append(_step(engine, objective, builder, rows, step))
            if self.generates:
                metrics[-1]["generated"] = _generated(engine, scorer, builder, rows)
            if step + 1 in self.saved:
                self._save(engine, step + 1)
        if current_world().is_main:
            Path(self.folder, "metrics.json").write_text(json.dumps(metrics))

    def _parts(self, backend: Backend) -> tuple[TrainableScorer, BatchBuilder, Any, Objective]:
        terms = {
            "text": component("loss", "dpo"),
            "image": component("loss", "dpo", over="chosen@crop"),
            "anchor": component("anchor", "reward"),
        }
        corruptions = {"crop": component("corruption", "random_crop", area=[0.1, 0.3])}
        lora = {"rank": 4, "alpha": 8, "dropout": 0.0} if self.lora else None
        options = {"lora": lora, "freeze": self.freeze, **self.options}
        adapter = component("adapter", "llava", path=self.model, **options)
        assert isinstance(adapter, ModelAdapter)
        builder = BatchBuilder.for_terms(tuple(terms.values()), corruptions, adapter.encoder(), 2048, 0)  # type: ignore[arg-type]
        rows = component("reader", "pairs", path=self.pairs, images=self.images).open()  # type: ignore[attr-defined]
        objective = Objective(terms)  # type: ignore[arg-type]
        torch.manual_seed(0)
        with backend.loading(TRAIN):
            model = adapter.load(backend.placement())
        recompute_in_backward(model.layers(), "full" if self.recomputed else "off")
        reference: Any = AdapterOff()
        if not adapter.has_lora:
            with backend.loading(TRAIN):
                frozen = adapter.load(backend.placement(), trainable=False)
            backend.place_reference(frozen, TRAIN)
            reference = FrozenCopy(frozen)
        scoring = Scoring(share_prefix=self.share_prefix)
        scorer = Scorer(model, objective.reads, reference, scoring)
        trainable = TrainableScorer(scorer, model, rate_factors(adapter, model, TRAIN))
        return trainable, builder, rows, objective

    def _save(self, engine: Engine, step: int) -> None:
        folder = Path(self.folder, f"step-{step}")
        folder.mkdir(parents=True, exist_ok=True)
        write_state(engine.state(), folder / f"{current_world().rank}.safetensors")
        if distributed.is_initialized():
            distributed.barrier()


def _generated(engine: Engine, scorer: TrainableScorer, builder: BatchBuilder, rows: Any) -> list[list[int]]:
    prompts = [builder.encoder.encode_prompt(rows[row]) for row in range(2)]
    model: Any = scorer.model
    return [ids.tolist() for ids in engine.using_model(lambda: model.generate(prompts, Decoding(4)))]


def _step(engine: Engine, objective: Objective, builder: BatchBuilder, rows: Any, step: int) -> dict[str, Any]:
    """One step over the same global batch, however many processes there are."""
    world = current_world()
    chosen = [(PAIRS_PER_STEP * step + pair) % len(rows) for pair in range(PAIRS_PER_STEP)]
    mine = chosen[world.rank :: world.size]
    loss = torch.zeros(())
    for start in range(0, len(mine), MICRO_BATCH):
        batch: Batch = builder.build(rows, mine[start : start + MICRO_BATCH], epoch=0)
        scores = Scores.from_tokens(
            engine.forward(batch, last=start + MICRO_BATCH >= len(mine)), batch.corruptible, batch.columns
        )
        part: Tensor = objective(scores).loss.sum() / PAIRS_PER_STEP
        engine.backward(part)
        loss += part.detach()
    if world.size > 1:
        distributed.all_reduce(loss)
    return {"loss": float(loss), "norm": engine.step(TRAIN.learning_rate / (step + 1))}


def main(file: str) -> None:
    """Run the jobs of a file, one after another."""
    if current_world().size > 1:
        distributed.init_process_group("gloo")
    for job in json.loads(Path(file).read_text()):
        Job(**{**job, "saved": tuple(job["saved"]), "freeze": tuple(job["freeze"])}).run()
    if distributed.is_initialized():
        distributed.destroy_process_group()


def write_jobs(jobs: list[Job], file: Path) -> Path:
    file.write_text(json.dumps([asdict(job) for job in jobs]))
    return file


if __name__ == "__main__":
    main(sys.argv[1])
