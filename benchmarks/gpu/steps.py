"""Our step at one shape: micro-batches, attention, recomputation, reference; and the estimate of its memory."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.gpu.stages import GB, Bench, Skipped
from benchmarks.speed.job import LEARNING_RATE
from benchmarks.speed.model import start_lora
from benchmarks.speed.pairs import make_builder, make_encoder, make_examples, make_terms
from mdpo_core import Batch, Example, Recipe, RecipeError, Scores, Train, component
from mdpo_core.data.checking import CheckedData
from mdpo_core.data.encoding import BatchBuilder, TrainingData
from mdpo_core.memory.estimate import Estimator
from mdpo_core.processes.world import ALONE
from mdpo_core.recipe.recipe import Output, Scoring
from mdpo_core.runner import Run
from mdpo_core.scoring.compilation import require_compiler
from mdpo_core.scoring.reference_store import ReferenceStore
from mdpo_core.storage.run_directory import RunDirectory
from mdpo_core.training.learner import Learner
from mdpo_core.training.reference_pass import Precomputation
from mdpo_core.training.speed.arithmetic import Arithmetic

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from support.real_memory import real_phases

PAIRS = {"cuda": (4, 1, 2, 8), "cpu": (1, 2)}
_STEPS = 3  # that are timed
_MDPO, _DPO = 3, 1  # terms
_SPARE = 20.0  # seconds that a measurement must find left


@dataclass(frozen=True)
class Setting:
    """What a step is measured with. ``terms``: the first of the benchmark's terms; one is plain DPO, of two views.

    The reference is cached, as in a run of several epochs, or computed in each step by the policy without adapter.
    """

    attention: Literal["auto", "sdpa"] = "auto"
    recompute: Literal["off", "full"] | int = "off"
    dropout: float = 0.05
    compile: bool = False
    reference: Literal["cached", "adapter_off"] = "cached"
    terms: int = _MDPO


def steps(bench: Bench) -> None:
    """By pairs of a micro-batch, by FlexAttention and by SDPA; and with the reference in each step."""
    for attention in ("auto", "sdpa") if bench.cuda else ("auto",):
        measure(bench, Setting(attention), PAIRS[bench.device])
    measure(bench, Setting(reference="adapter_off"), PAIRS[bench.device][:1])


def recomputed(bench: Bench) -> None:
    """All layers again in backward, or every second; and without dropout."""
    for setting in (Setting(recompute="full"), Setting(recompute=2), Setting(dropout=0.0)):
        measure(bench, setting, PAIRS[bench.device][:1])


def compiled(bench: Bench) -> None:
    """With compiled layers."""
    try:
        require_compiler(bench.device)
    except RecipeError as error:
        raise Skipped(str(error)) from error
    measure(bench, Setting(compile=True), PAIRS[bench.device][:1])


def two_views(bench: Bench) -> None:
    """Plain DPO, as TRL's."""
    measure(bench, Setting(terms=_DPO), sorted(PAIRS[bench.device])[:3])


def memory(bench: Bench) -> None:
    """The estimate of `mdpo check --memory` against the card's own count; on a CPU, against the tensors held."""
    for setting in (Setting(), Setting(reference="adapter_off"), Setting(recompute="full")):
        pairs = PAIRS[bench.device][0]
        bench.tried(lambda: _compared(bench, setting, pairs), **vars(setting), pairs=pairs)  # noqa: B023


def _compared(bench: Bench, setting: Setting, pairs: int) -> dict[str, float]:
    recipe = recipe_of(bench, setting, pairs)
    batch = batch_of(bench, recipe, pairs)
    estimate = Estimator(recipe, on_gpu=bench.cuda).estimate(batch, recipe.train, 1).peak / GB
    if bench.cuda:
        step = _Step(bench, setting, pairs)
        bench.clear()
        bench.timed(lambda: step(batch), 2)
        counted = bench.peaks()["allocated_gb"]
    else:
        counted = max(real_phases(recipe, batch).values()) / GB
    return {"estimate_gb": estimate, "counted_gb": counted, "apart": counted / estimate - 1}


def measure(bench: Bench, setting: Setting, sizes: Any) -> None:
    """Steps with some numbers of pairs on one model. If that cannot be built, the next setting still runs."""
    step = bench.attempted(lambda: _Step(bench, setting, max(sizes)), **vars(setting), pairs=max(sizes))
    if step is None:
        return
    for pairs in sizes:
        if bench.left < _SPARE:
            bench.note(**vars(setting), pairs=pairs, skipped=f"{bench.left:.0f} s are left")
            continue
        batch = batch_of(bench, step.recipe, pairs)
        bench.tried(lambda: step.numbers(batch), **vars(setting), pairs=pairs)  # noqa: B023


class _Step:
    """Put together as a run does it; weights are drawn on the device. ``pairs``: the most in a micro-batch."""

    def __init__(self, bench: Bench, setting: Setting, pairs: int) -> None:
        self.recipe = recipe_of(bench, setting, pairs)
        self._bench = bench
        run = Run(self.recipe, RunDirectory(bench.folder / "no-run"), CheckedData([]), None, ALONE)  # type: ignore[arg-type]
        model, self._objective, reference = run.load_model(), run.build_objective(), run.load_reference()
        self._scorer = run.build_scorer(model, self._objective, reference)
        self._learner: Learner = run.start_engine(model, self._scorer, reference)
        start_lora(model.module)
        self._arithmetic = Arithmetic(self.recipe, model, make_encoder(bench.folder).image_token)
        if setting.reference == "cached":
            self._cache_reference(pairs)

    def __call__(self, batch: Batch) -> None:
        scores = Scores.of_batch(self._learner.engine.forward(batch), batch)
        self._learner.engine.backward(self._objective(scores).loss.sum() / len(batch))
        self._learner.engine.step(LEARNING_RATE)

    def numbers(self, batch: Batch) -> dict[str, Any]:
        """Seconds, the rate of the operations that the step needs, and memory."""
        resident = {"resident_gb": torch.cuda.memory_allocated() / GB} if self._bench.cuda else {}
        first = self._bench.timed(lambda: self(batch), 1, warm=0)
        seconds = self._bench.timed(lambda: self(batch), _STEPS)
        flops = self._arithmetic.flops(batch)
        return {
            "first_s": first,
            "seconds": seconds,
            "pairs_per_second": len(batch) / seconds,
            "tflop": flops.needed / 1e12,
            "tflops": flops.needed / seconds / 1e12,
            "tflops_with_repeats": (flops.needed + flops.again) / seconds / 1e12,
            **resident,
            **self._bench.peaks(),
        }

    def _cache_reference(self, pairs: int) -> None:
        """Score the benchmark's first pairs with the policy as it is."""
        builder, examples = pairs_of(self._bench, self.recipe, pairs)
        lengths = [self._bench.shape.sequence_tokens] * pairs
        data = TrainingData(examples, lengths, builder)
        passing = Precomputation(self.recipe, self._learner, data, lambda done, total: None)
        with tempfile.TemporaryDirectory() as folder:
            self._scorer.use_reference(passing.fill(ReferenceStore(Path(folder), {})))


def recipe_of(bench: Bench, setting: Setting, pairs: int) -> Recipe:
    """The recipe of LLaVA's shape, with LoRA."""
    rank = bench.shape.lora_rank
    precision = "bf16" if bench.cuda else "fp32"
    components: Any = {
        "model": component(
            "adapter",
            "llava",
            path=str(bench.folder),
            lora={"rank": rank, "alpha": 2 * rank, "dropout": setting.dropout},
        ),
        "data": component("reader", "pairs", path="nowhere"),
        "corruptions": {"crop": component("corruption", "random_crop", area=(0.01, 0.2))},
        "objective": tuple(make_terms(setting.terms)),
        "backend": component("backend", "local", precision=precision, device=bench.device),
    }
    return Recipe(
        **components,
        train=Train(learning_rate=LEARNING_RATE, batch_size=pairs, micro_batch_size=pairs),
        reference=setting.reference,
        scoring=Scoring(
            attention=setting.attention, activation_checkpointing=setting.recompute, compile=setting.compile
        ),
        output=Output(dir=Path("nowhere")),
    )


def batch_of(bench: Bench, recipe: Recipe, pairs: int) -> Batch:
    """The benchmark's pairs, under the views of the recipe's terms."""
    builder, examples = pairs_of(bench, recipe, pairs)
    return builder.build(examples, range(pairs), epoch=0)


def pairs_of(bench: Bench, recipe: Recipe, pairs: int) -> tuple[BatchBuilder, list[Example]]:
    """The benchmark's pairs, and what builds batches of them."""
    encoder = make_encoder(bench.folder)
    views = tuple(dict.fromkeys(view for term in recipe.objective for view in term.views()))
    return make_builder(encoder).of(views), make_examples(replace(bench.shape, num_pairs=pairs), encoder)
