"""Short trainings of a small LLaVA, in one process or, started by torchrun, in several."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, distributed
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mdpo_core import (
    Backend,
    Decoding,
    Engine,
    Example,
    SavedEngineState,
    Scores,
    Train,
    TrainableScorer,
    VisionLanguageModel,
    component,
    current_world,
)
from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.objective.objective import Objective
from mdpo_core.processes.world import ALONE
from mdpo_core.recipe.recipe import Scoring
from mdpo_core.scoring.activation_checkpointing import recompute_in_backward
from mdpo_core.scoring.compilation import compile_layers
from mdpo_core.scoring.reference import AdapterOff, FrozenCopy, Reference
from mdpo_core.scoring.scorer import Scorer
from mdpo_core.training.model_loading import load_model
from mdpo_core.training.optimization import rate_factors
from mdpo_core.types.engine_state import write_state
from support.kept_bytes import LiveStorages
from support.paths import TESTS

TRAIN = Train(learning_rate=3e-4, weight_decay=0.05, batch_size=4, micro_batch_size=1)
ANSWERS = ["A pink flower.", "A Chinese temple with a red roof.", "Green leaves.", "A row of trees and no people."]
PROMPT = "USER: <image>\nWhat is in the picture? ASSISTANT:"


@dataclass(frozen=True)
class Job:
    """Some steps of a training; ``start`` is the folder of the state to go on from, relative to that of all jobs.

    ``broken``: the step in which the last process's loss is not a number. ``counts``: leave, too, what processes
    exchanged in each step, and the bytes that each read, and at most held until the start. ``everywhere``: every
    process reads the whole model.
    """

    name: str
    backend: dict[str, Any]
    model: dict[str, Any]
    scoring: dict[str, Any] = field(default_factory=dict)
    steps: tuple[int, ...] = (0, 1, 2, 3)
    start: str | None = None
    broken: int | None = None
    counts: bool = False
    everywhere: bool = False


def run_job(job: Job, folder: Path) -> None:
    """Train, and leave what was seen of it, and what every process remembers, in ``folder / job.name``."""
    world = current_world()
    storages = LiveStorages()
    with storages if job.counts else nullcontext():
        training = _assemble(job)
    answers = [training.answers()]
    if job.start is not None:
        state = SavedEngineState(sorted((folder / job.start).glob("*.safetensors")))
        training.engine.restore(state)
        state.require_all_read()
    steps, counts = [], []
    for step in job.steps:
        counter = _Exchanges()
        with counter if job.counts else nullcontext():
            steps.append(training.step(step, job.broken == step))
        counts.append(counter.found)
    # A look in between: what it puts together must not outlive it.
    answers.append(training.answers())
    there = folder / job.name
    there.mkdir(parents=True, exist_ok=True)
    (there / f"loading-{world.rank}.json").write_text(json.dumps([training.read_bytes, storages.peak_bytes]))
    write_state(training.engine.state(), there / f"{world.rank}.safetensors")
    if world.is_main:
        (there / "seen.json").write_text(json.dumps({"steps": steps, "answers": answers}))
        (there / "exchanges.json").write_text(json.dumps(counts))


class _Exchanges(TorchDispatchMode):  # type: ignore[misc]  # torch does not type it
    """How often each operation between processes was called, and the numbers that it was about, by its name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, list[int]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.namespace == "c10d":
            found = self.found.setdefault(function.overloadpacket.__name__, [0, 0])
            found[0] += 1
            found[1] += max((each.numel() for each in tree_leaves(args) if isinstance(each, Tensor)), default=0)
        return function(*args, **kwargs or {})


@dataclass(frozen=True)
class _Training:
    engine: Engine
    model: VisionLanguageModel
    builder: BatchBuilder
    objective: Objective
    read_bytes: int

    def step(self, step: int, broken: bool) -> list[float]:
        """Loss over all pairs, and norm."""
        world, data, loss = current_world(), examples(), torch.zeros(())
        first = TRAIN.batch_size * step
        rows = [row % len(data) for row in range(first, first + TRAIN.batch_size)][world.rank :: world.size]
        for row in rows:
            share = self._loss(row, last=row == rows[-1]) / TRAIN.batch_size
            self.engine.backward(share * math.nan if broken and world.rank == world.size - 1 else share)
            loss += share.detach().cpu()
        norm = self.engine.step(TRAIN.learning_rate)
        return [sum(float(each) for each in world.gather(loss)), norm]

    def _loss(self, row: int, last: bool) -> Tensor:
        batch = self.builder.build(examples(), [row], epoch=0)
        scores = Scores.of_batch(self.engine.forward(batch, last=last), batch)
        return self.objective(scores).loss.sum()

    def answers(self) -> list[Any]:
        """Greedy answers, and a loss without gradients."""
        prompts = [self.builder.encoder.encode_prompt(example) for example in examples()[:2]]
        made = self.engine.using_model(lambda: self.model.generate(prompts, Decoding(5)))
        with torch.no_grad():
            return [[ids.tolist() for ids in made], float(self._loss(0, last=True))]


def _assemble(job: Job) -> _Training:
    adapter, backend = component("adapter", "llava", **job.model), component("backend", **job.backend)
    crop = component("corruption", "random_crop")
    terms = {
        "dpo": component("loss", "dpo"),
        "image": component("loss", "dpo", over="chosen@crop"),
        "anchor": component("anchor", "reward"),
    }
    # Of the seeds up to 8, this is the one with which the instruction sets of a processor differ least.
    builder = BatchBuilder.for_terms(list(terms.values()), {"crop": crop}, adapter.encoder(), adapter.max_length, 7)
    objective = Objective(terms)
    torch.manual_seed(0)
    model = _load(job, adapter, backend)
    read_bytes = sum(values.nbytes for values in model.module.parameters() if not values.is_meta)
    options = Scoring(**{"share_prefix": True, **job.scoring})
    if options.compile:
        compile_layers(model.layers())
    recompute_in_backward(model.layers(), options.activation_checkpointing)
    model.set_training(True)
    scorer = Scorer(model, objective.reads, _reference(job, adapter, backend), options)
    trainable = TrainableScorer(scorer, model, rate_factors(adapter, model, TRAIN))
    return _Training(backend.start(trainable, TRAIN), model, builder, objective, read_bytes)


def _reference(job: Job, adapter: Any, backend: Backend) -> Reference:
    if adapter.has_lora:
        return AdapterOff()
    copy = _load(job, adapter, backend, trainable=False)
    backend.place_reference(copy, TRAIN)
    return FrozenCopy(copy)


def _load(job: Job, adapter: Any, backend: Backend, trainable: bool = True) -> VisionLanguageModel:
    world = ALONE if job.everywhere else current_world()
    return load_model(adapter, backend, TRAIN, world, trainable=trainable)


def examples() -> Sequence[Example]:
    """Pairs about pictures of noise."""
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.randint(256, (28, 28, 3), generator=generator, dtype=torch.uint8) for _ in range(6)]
    return [
        Example(
            str(row),
            PROMPT,
            {"chosen": ANSWERS[row % 4], "rejected": ANSWERS[(row + 1 + row // 4) % 4]},
            (PIL.Image.fromarray(picture.numpy()),),
        )
        for row, picture in enumerate(pictures)
    ]


def run_in_parallel(jobs: Sequence[Job], folder: Path, processes: int = 2) -> None:
    """Run jobs one after another in one launch of several processes; an error of theirs is raised."""
    file = folder / "jobs.json"
    file.write_text(json.dumps([asdict(job) for job in jobs]))
    launcher = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--rdzv-backend=c10d"]
    command = [*launcher, "--rdzv-endpoint=127.0.0.1:0", "--local-addr=127.0.0.1", __file__, str(file)]
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise AssertionError(done.stderr[-6000:])


def exchanges(folder: Path) -> list[dict[str, list[int]]]:
    """For each step, what `_Exchanges` found."""
    return list(json.loads((folder / "exchanges.json").read_text()))


def loading_bytes(folder: Path) -> list[list[int]]:
    """For each process, the bytes of the model that it read, and the most that its operators held until the start."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("loading-*.json"))]


def require_alike(folder: Path, other: Path, tolerance: float = 1e-5) -> None:
    """Two jobs gave the same losses, norms, answers and numbers, up to ``tolerance``, relative; 0: to the bit."""
    seen, wanted = (json.loads((each / "seen.json").read_text()) for each in (folder, other))
    assert seen == _close(wanted, tolerance)
    require_same_state(folder, other, tolerance)


def require_same_state(folder: Path, other: Path, tolerance: float = 0) -> None:
    """Two jobs left the same numbers."""
    found, expected = numbers(folder), numbers(other)
    assert found.keys() == expected.keys()
    gaps = {name: _gap(name, values, expected[name]) for name, values in found.items()}
    if tolerance:
        # Attention does not depend on a bias of the keys: its gradient is rounding, of which AdamW makes whole steps.
        gaps = {name: gap for name, gap in gaps.items() if not name.endswith("k_proj.bias")}
    worst = max(gaps, key=gaps.__getitem__)
    assert gaps[worst] <= tolerance, worst


def _close(expected: Any, tolerance: float) -> Any:
    if isinstance(expected, dict):
        return {name: _close(each, tolerance) for name, each in expected.items()}
    if isinstance(expected, list):
        return [_close(each, tolerance) for each in expected]
    return pytest.approx(expected, rel=tolerance, abs=0) if isinstance(expected, float) and tolerance else expected


def _gap(name: str, one: Tensor, other: Tensor) -> float:
    """Of a moment, the largest difference as a share of its largest number; of a weight, the same of root mean squares.

    A number whose gradient is near 0 makes a step of AdamW that follows its rounding, which depends on the processor.
    So single numbers of a weight tell little. The moments show every number's gradients without that step.
    """
    if name.startswith("weight:"):
        return float((one - other).norm() / other.norm().clamp(min=1e-30))
    return float((one - other).abs().max() / other.abs().max().clamp(min=1e-30))


def numbers(folder: Path) -> dict[str, Tensor]:
    """All that was remembered, by name; every number once."""
    found: dict[str, Tensor] = {}
    for file in folder.glob("*.safetensors"):
        for key, values in load_file(file).items():
            assert key not in found
            found[key] = values
    names = {key.rpartition("@")[0] for key in found}
    return {name: torch.cat([found[key] for key in _places(found, name)]) for name in names}


def _places(keys: Iterable[str], name: str) -> list[str]:
    """Those of a tensor's parts, which lie side by side from 0 on."""
    return sorted((key for key in keys if key.rpartition("@")[0] == name), key=lambda key: int(key.rpartition("@")[2]))


def _main(file: Path) -> None:
    distributed.init_process_group("gloo")
    for job in json.loads(file.read_text()):
        run_job(Job(**job), file.parent)
    distributed.destroy_process_group()


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
