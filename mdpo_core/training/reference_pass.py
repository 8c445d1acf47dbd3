"""The pass that scores every row with the untrained policy, before training, for the cached reference."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from mdpo_core.data.encoding import BatchBuilder, BuildBatch
from mdpo_core.data.sampler import MicroBatch, split_over_processes
from mdpo_core.errors import CheckpointError
from mdpo_core.interfaces.backend import Engine
from mdpo_core.interfaces.model import VisionLanguageModel
from mdpo_core.processes.devices import device_of
from mdpo_core.processes.stop import RunStopped, StopRequest
from mdpo_core.processes.workers import computed_ahead
from mdpo_core.processes.world import ALONE, World
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.scoring.reference import Cached
from mdpo_core.scoring.reference_store import ELSEWHERE, CachedView, ReferenceStore, Shard
from mdpo_core.storage.files import exclusive_folder
from mdpo_core.training.guards import ROUNDING
from mdpo_core.training.out_of_memory import MemoryAdvice
from mdpo_core.types.batch import Batch
from mdpo_core.types.example import Example
from mdpo_core.types.scores import TokenLogProbs
from mdpo_core.types.view import CLEAN, View

# What a killed process costs at most.
SHARD_ROWS = 512
# Rows of each set that are scored again when it was there already.
_CHECKED_ROWS = 2


@dataclass(frozen=True)
class ReferenceSet:
    """Views that are scored together: those that are the same in every epoch, or those that one epoch draws."""

    name: str
    views: tuple[View, ...]
    epoch: int


@dataclass(frozen=True)
class _Job:
    """A shard, and the rows that belong into it."""

    of: ReferenceSet
    rows: range

    @property
    def name(self) -> str:
        return f"{self.of.name}/rows-{self.rows.start:07d}-{self.rows.stop:07d}.safetensors"


class _ScoredRows(NamedTuple):
    """What is kept of a micro-batch."""

    ids: Sequence[str]
    digests: Mapping[View, Sequence[bytes]]
    log_probs: Mapping[View, TokenLogProbs]


def reference_sets(builder: BatchBuilder, epochs: int) -> list[ReferenceSet]:
    """The sets that training for so many epochs reads."""
    drawn = tuple(view for view in builder.views if _is_drawn_anew(view, builder))
    once = tuple(view for view in builder.views if view not in drawn)
    sets = [ReferenceSet("once", once, 0)] if once else []
    return sets + [ReferenceSet(f"epoch-{epoch:03d}", drawn, epoch) for epoch in range(epochs) if drawn]


def _is_drawn_anew(view: View, builder: BatchBuilder) -> bool:
    return view.condition != CLEAN and builder.corruptions[view.condition].draw == "epoch"


@dataclass(frozen=True)
class Precomputation:
    """Fills a store through the engine that trains, whose policy must be as it was loaded.

    Only the engine knows how the scorer is placed and in which precision it computes. ``lengths``: tokens of each row.
    ``progress(done, total)`` is first told of the rows that were there already. All processes score, each its share of
    every shard's rows, and the main one writes.
    """

    recipe: Recipe
    model: VisionLanguageModel
    engine: Engine
    builder: BatchBuilder
    data: Sequence[Example]
    lengths: Sequence[int]
    advice: MemoryAdvice
    progress: Callable[[int, int], object]
    world: World = ALONE

    def fill(self, store: ReferenceStore) -> Cached:
        """Compute what is not there yet. Raises `CheckpointError` if what is there is not to be used."""
        holding = exclusive_folder(store.folder) if self.world.is_main else nullcontext()
        with holding, StopRequest() as stop, self._without_dropout():
            self.world.computed_by_main(store.begin)
            store.check()
            sets = reference_sets(self.builder, self.recipe.train.epochs)
            jobs = [_Job(each, rows) for each in sets for rows in _ranges(len(self.data))]
            found = {job: store.read(job.name, job.of.views) for job in jobs}
            shards = {job: shard for job, shard in found.items() if shard is not None}
            for each in sets:
                self._spot_check(each, {job: shard for job, shard in shards.items() if job.of == each}, store)
            self._compute(jobs, shards, store, stop)
        return _cached(shards, store)

    def _compute(
        self, jobs: Sequence[_Job], shards: dict[_Job, Shard], store: ReferenceStore, stop: StopRequest
    ) -> None:
        """Add the shards that are missing; a SIGTERM or SIGINT costs one of them."""
        done, total = _num_rows(shards), _num_rows(jobs)
        self.progress(done, total)
        missing = {job: self._tasks(job.of, job.rows) for job in jobs if job not in shards}
        workers = self.recipe.train.workers
        with computed_ahead(self._build, chain.from_iterable(missing.values()), workers) as batches:
            for job, tasks in missing.items():
                scored: list[_ScoredRows] = []
                for task in tasks:
                    self._stop_if_asked(stop, _num_rows(shards), total)
                    found = self._score(next(batches))
                    for each in self.world.gather(None if task.is_filler else found):
                        scored += [each] if each else []
                        done += len(each.ids) if each else 0
                    self.progress(done, total)
                shards[job] = _shard(scored)
                self.world.computed_by_main(partial(store.write, job.name, shards[job]))
        self._stop_if_asked(stop, total, total)

    def _stop_if_asked(self, stop: StopRequest, kept: int, total: int) -> None:
        signum = self.world.max_over_processes(stop.signum or 0)
        if signum:
            raise RunStopped(f"stopped while caching the reference, {kept} of {total} rows are kept", signum)

    def _tasks(self, of: ReferenceSet, rows: Iterable[int], world: World | None = None) -> list[MicroBatch]:
        """This process's micro-batches, of rows of similar length."""
        ordered, size = sorted(rows, key=self.lengths.__getitem__), self.recipe.train.micro_batch_size
        parts = split_over_processes(ordered, size, of.epoch, world or self.world)
        return [part._replace(views=of.views) for part in parts]

    @property
    def _build(self) -> BuildBatch:
        return BuildBatch(replace(self.builder, columns=(), checks=()), self.data)

    def _score(self, batch: Batch) -> _ScoredRows:
        # Without LoRA the policy is its own reference, as nothing has trained it yet.
        base = self.model.adapter_disabled() if self.recipe.model.has_lora else nullcontext()
        with torch.no_grad(), base, self.advice.explained(batch):
            policy = self.engine.forward(batch).policy
        log_probs = {view: TokenLogProbs(values.float().cpu(), mask.cpu()) for view, (values, mask) in policy.items()}
        return _ScoredRows(batch.ids, batch.digests, log_probs)

    def _spot_check(self, of: ReferenceSet, shards: Mapping[_Job, Shard], store: ReferenceStore) -> None:
        """Score a few rows again, and compare them with what was stored."""
        rows = [row for job in shards for row in job.rows]
        cached = _cached(shards, store)
        drawn = random.Random(f"{self.recipe.train.seed}|{of.name}").sample(rows, min(_CHECKED_ROWS, len(rows)))
        # The same ones in every process: they are few.
        for batch in map(self._build, self._tasks(of, drawn, ALONE)):
            stored = cached.log_probs(batch, device_of(self.model.module))
            for view, (values, mask) in self._score(batch).log_probs.items():
                found = zip(batch.ids, values - stored[view].values.cpu(), mask.sum(dim=1).tolist(), strict=True)
                for name, differences, num_tokens in found:
                    self._require_rounding(differences, num_tokens, f"example '{name}': '{view}'", store)

    def _require_rounding(self, differences: Tensor, num_tokens: int, where: str, store: ReferenceStore) -> None:
        # As one sum, and one by one, should they cancel.
        size = max(float(differences.sum().abs()), float(differences.norm()))
        if not size <= ROUNDING[self.recipe.backend.arithmetic] * math.sqrt(num_tokens):
            raise CheckpointError(
                f"{where} scores otherwise now than in the reference in {store.folder}, by {size:.2g} nats over "
                f"{num_tokens} tokens; {ELSEWHERE}"
            )

    @contextmanager
    def _without_dropout(self) -> Iterator[None]:
        self.model.set_training(False)
        try:
            yield
        finally:
            self.model.set_training(True)


def _cached(shards: Mapping[_Job, Shard], store: ReferenceStore) -> Cached:
    sets = dict.fromkeys(job.of for job in shards)
    return Cached([[shards[job] for job in shards if job.of == each] for each in sets], store.folder)


def _shard(scored: Sequence[_ScoredRows]) -> Shard:
    views = {}
    for view in scored[0].log_probs:
        rows = [values[mask] for each in scored for values, mask in zip(*each.log_probs[view], strict=True)]
        digests = b"".join(digest for each in scored for digest in each.digests[view])
        views[view] = CachedView(
            torch.cat(rows),
            torch.tensor([len(row) for row in rows]),
            torch.frombuffer(bytearray(digests), dtype=torch.uint8).view(len(rows), -1),
        )
    return Shard([name for each in scored for name in each.ids], views)


def _ranges(num_rows: int) -> list[range]:
    return [range(start, min(start + SHARD_ROWS, num_rows)) for start in range(0, num_rows, SHARD_ROWS)]


def _num_rows(jobs: Iterable[_Job]) -> int:
    return sum(len(job.rows) for job in jobs)
