"""One rank of measured runs: ``python -m benchmarks.scale.worker JOBS.json RESULTS``, in a launcher's environment."""

from __future__ import annotations

import dataclasses
import gc
import importlib
import json
import os
import random
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import PIL.Image
import torch
from torch import Tensor

from benchmarks.scale.job import Found, Job
from benchmarks.scale.parts import parts_of
from benchmarks.scale.probe import bytes_sent, interface_bytes, tensor_bytes
from benchmarks.scale.stages import STAGES
from mdpo_core import Backend, Batch, Engine, Example, ScorerOutput, Train, TrainableScorer, View, World, component
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.interfaces.measurements import TermInputs
from mdpo_core.processes.rendezvous import process_group
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.activation_checkpointing import recompute_in_backward
from mdpo_core.scoring.reference import AdapterOff, FrozenCopy, Reference
from mdpo_core.scoring.scorer import Scorer

TERMS: Any = (("dpo", {}), ("dpo", {"over": "chosen@crop"}))
VIEWS = ("chosen", "rejected", "chosen@crop")
WARM_UP = 2
PAIRS = 2  # a micro-batch


def run(job: Job, world: World) -> Found:
    before = tensor_bytes()
    train = Train(learning_rate=1e-4, micro_batch_size=PAIRS, batch_size=PAIRS * job.micro_batches * job.world)
    engine, encoder, parameters = _start(job, train)
    batch = make_batch(encoder, world.rank)
    for _ in range(WARM_UP):
        held = _step(engine, batch, job, before)
    world.gather(None)
    at_first, started = _counters(), time.perf_counter()
    for _ in range(job.steps):
        held = _step(engine, batch, job, before)
    seconds = time.perf_counter() - started
    sent, store, interface = (now - then for now, then in zip(_counters(), at_first, strict=True))
    gc.collect()
    return Found(sent / job.steps, store / seconds, interface / job.steps, tensor_bytes() - before, held, parameters)


def _counters() -> tuple[int, int, int]:
    return *bytes_sent(int(os.environ["MASTER_PORT"])), interface_bytes()


def _start(job: Job, train: Train) -> tuple[Engine, Any, dict[str, Any]]:
    backend, options = STAGES[job.stage].backend
    chosen: Any = component("backend", backend, precision=job.precision, **options)
    lora = None if job.lora_rank is None else {"rank": job.lora_rank, "alpha": job.lora_rank, "dropout": 0.0}
    adapter: Any = component("adapter", "llava", path=job.folder, lora=lora)
    torch.manual_seed(0)
    with chosen.loading(train):
        model = adapter.load(chosen.placement())
    recompute_in_backward(model.layers(), "full" if job.recompute else "off")
    model.set_training(True)
    parameters = dataclasses.asdict(parts_of(model))
    reference = _reference(job, chosen, adapter, train)
    scorer = Scorer(model, TermInputs(tuple(map(View.parse, VIEWS))), reference, Scoring())
    return chosen.start(TrainableScorer(scorer, model), train), adapter.encoder(), parameters


def _reference(job: Job, backend: Backend, adapter: Any, train: Train) -> Reference | None:
    if job.reference == "cached":
        return None
    if job.reference == "adapter_off":
        return AdapterOff()
    with backend.loading(train):
        model = adapter.load(backend.placement(), trainable=False)
    backend.place_reference(model, train)
    return FrozenCopy(model)


def _step(engine: Engine, batch: Batch, job: Job, before: int) -> int:
    """Train one step; gives the bytes that tensors hold after a backward, at most."""
    held = []
    for number in range(job.micro_batches):
        engine.backward(_loss(engine.forward(batch, last=number == job.micro_batches - 1)) / job.world)
        gc.collect()
        held.append(tensor_bytes() - before)
    engine.step(1e-4)
    return max(held)


def _loss(scored: ScorerOutput) -> Tensor:
    """Of any objective: what is sent and held depends on none."""
    return -torch.stack([tokens.values.mean() for tokens in scored.policy.values()]).sum()


def make_batch(encoder: Any, rank: int) -> Batch:
    drawn = random.Random(rank)
    examples = [
        Example(
            str(row),
            "USER: <image>\nWhat is in the picture? ASSISTANT:",
            {"chosen": "A pink flower.", "rejected": "A Chinese temple."},
            (PIL.Image.frombytes("RGB", (28, 28), drawn.randbytes(3 * 28 * 28)),),
        )
        for row in range(PAIRS)
    ]
    terms: Any = [component("loss", name, **options) for name, options in TERMS]
    crop: Any = component("corruption", "random_crop", area=(0.01, 0.2))
    return BatchBuilder.for_terms(terms, {"crop": crop}, encoder, 2048, seed=0).build(examples, range(PAIRS), epoch=0)


def main() -> None:
    _import_everything()
    jobs, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    for number, (job, port) in enumerate(jobs):
        # A process of its own for each, so that nothing is left of another; what is imported is there already.
        child = os.fork()
        if child == 0:
            os.environ["MASTER_PORT"] = str(port)
            _run_and_exit(Job(**job), folder, number)
        os.waitpid(child, 0)


def _import_everything() -> None:
    """Once, and not in each job."""
    for name in ("transformers", "peft", "mdpo_vlm.forward.model", "mdpo_local.engine", "mdpo_fsdp.engine"):
        importlib.import_module(name)
    if any(STAGES[stage].backend[0] == "deepspeed" for stage in STAGES):
        importlib.import_module("mdpo_deepspeed.engine")


def _run_and_exit(job: Job, folder: Path, number: int) -> None:
    code = 1
    try:
        with process_group() as world:
            found = run(job, world)
            (folder / f"{number}-{world.rank}.json").write_text(json.dumps(dataclasses.asdict(found)))
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
