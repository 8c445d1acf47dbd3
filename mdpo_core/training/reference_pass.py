"""The reference pass: scores every row with the untrained policy before training, for the cached reference.

It plans shards of `SHARD_ROWS` rows, scores those that the store does not hold yet, and writes each one when it is
finished.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from mdpo_core.data.encoding import BatchBuilder, BuildBatch, TrainingData
from mdpo_core.data.sampler import MicroBatch, split_over_processes
from mdpo_core.errors import CheckpointError, DataError, Problem
from mdpo_core.processes.devices import device_of
from mdpo_core.processes.stop_request import RunStopped, StopRequest
from mdpo_core.processes.workers import computed_ahead
from mdpo_core.processes.world import ALONE, World
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.scoring.reference import Cached
from mdpo_core.scoring.reference_store import ELSEWHERE, CachedView, ReferenceStore, Shard
from mdpo_core.storage.files import exclusive_folder
from mdpo_core.storage.quarantine import stopped_by, with_met
from mdpo_core.training.learner import Learner
from mdpo_core.training.number_checks import ROUNDING
from mdpo_core.types.batch import Batch
from mdpo_core.types.scores import TokenLogProbs
from mdpo_core.types.view import CLEAN, View

# A killed process loses at most the rows of one shard.
SHARD_ROWS = 512
# Rows of each group that are scored again and compared with those that the store already holds.
_CHECKED_ROWS = 2


@dataclass(frozen=True)
class ViewGroup:
    """Views that are scored together: those that are the same in every epoch, or those that one epoch draws."""

    name: str
    views: tuple[View, ...]
    epoch: int


@dataclass(frozen=True)
class PlannedShard:
    """The rows that one file of the store holds, under the views of a group."""

    group: ViewGroup
    rows: range

    @property
    def name(self) -> str:
        """The file's name in the store."""
        return f"{self.group.name}/rows-{self.rows.start:07d}-{self.rows.stop:07d}.safetensors"


def view_groups(builder: BatchBuilder, epochs: int) -> list[ViewGroup]:
    """The groups of views that a training of ``epochs`` epochs reads."""
    drawn = tuple(view for view in builder.views if _is_drawn_each_epoch(view, builder))
    once = tuple(view for view in builder.views if view not in drawn)
    groups = [ViewGroup("once", once, 0)] if once else []
    return groups + [ViewGroup(f"epoch-{epoch:03d}", drawn, epoch) for epoch in range(epochs) if drawn]


def _is_drawn_each_epoch(view: View, builder: BatchBuilder) -> bool:
    return view.condition != CLEAN and builder.corruptions[view.condition].draw == "epoch"


def planned_shards(groups: Iterable[ViewGroup], num_rows: int) -> list[PlannedShard]:
    """Every shard that a finished store holds, in the order in which they are computed."""
    ranges = [range(start, min(start + SHARD_ROWS, num_rows)) for start in range(0, num_rows, SHARD_ROWS)]
    return [PlannedShard(group, rows) for group in groups for rows in ranges]


class _ScoredRows(NamedTuple):
    """The results of a micro-batch that a shard keeps, and its bad rows, if they were not checked before."""

    ids: Sequence[str] = ()
    digests: Mapping[View, Sequence[bytes]] = {}
    log_probs: Mapping[View, TokenLogProbs] = {}
    left_out: Mapping[int, Sequence[Problem]] = {}


@dataclass
class _Progress:
    """Tells a listener how many rows are scored, and ends the pass after a SIGTERM or SIGINT.

    ``kept``: rows of finished shards. ``bad``: rows that were met and are left out, by index.
    """

    report: Callable[[int, int], object]
    stop: StopRequest
    world: World
    total: int
    kept: int
    bad: dict[int, list[Problem]] = field(default_factory=dict)
    _scored: int = field(init=False)

    def __post_init__(self) -> None:
        self._scored = self.kept
        self.report(self._scored, self.total)

    def count(self, num_rows: int) -> None:
        """Count rows that are scored but not yet kept."""
        self._scored += num_rows
        self.report(self._scored, self.total)

    def stop_if_asked(self) -> None:
        """Raise `RunStopped` in every process if one of them got a signal."""
        signum = self.world.max_over_processes(self.stop.signum or 0)
        if signum:
            raise RunStopped(f"stopped while caching the reference, {self.kept} of {self.total} rows are kept", signum)


@dataclass(frozen=True)
class Precomputation:
    """Fills a store through the engine that trains, whose policy must be as it was loaded.

    Only the engine knows how the scorer is placed and in which precision it computes. ``progress(done, total)`` is
    first called with the number of rows that the store already holds. All processes score a part of every shard's
    rows; the main process writes. ``part``: the folder in the store; rows that are held out have one of their own.
    """

    recipe: Recipe
    learner: Learner
    data: TrainingData
    progress: Callable[[int, int], object]
    world: World = ALONE
    part: str = ""

    def fill(self, store: ReferenceStore) -> Cached:
        """Score what ``store`` does not hold yet. Raises `CheckpointError` if its contents cannot be used."""
        holding = exclusive_folder(store.folder) if self.world.is_main else nullcontext()
        with holding, StopRequest("this batch; what is cached is kept") as stop, self._without_dropout():
            self.world.computed_by_main(store.begin)
            store.check()
            groups = self._groups()
            plan = planned_shards(groups, len(self.data.rows))
            shards = _stored_shards(plan, store)
            for group in groups:
                self._spot_check(group, _of_group(shards, group), store)
            progress = _Progress(self.progress, stop, self.world, _num_rows(plan), _num_rows(shards))
            self._add_missing(plan, shards, store, progress)
        return _cached(shards, store)

    def fill_both(self, store: ReferenceStore, held_out: TrainingData | None) -> Cached:
        """As `fill`, and the same for held-out rows if an evaluator scores them."""
        trained = self.fill(store)
        if held_out is None or not any(each.reads_held_out and each.needs_reference for each in self.recipe.evaluators):
            return trained
        return trained.joined(replace(self, data=held_out, part="held-out").fill(store))

    def _groups(self) -> list[ViewGroup]:
        if not self.part:
            return view_groups(self.data.builder, self.recipe.train.epochs)
        # Evaluators see every row under the corruptions of the first epoch.
        return [replace(group, name=f"{self.part}/{group.name}") for group in view_groups(self.data.builder, 1)]

    def _add_missing(
        self,
        plan: Sequence[PlannedShard],
        shards: dict[PlannedShard, Shard],
        store: ReferenceStore,
        progress: _Progress,
    ) -> None:
        """Score the planned shards that ``shards`` lacks; write each one, and add it to ``shards``."""
        missing = [planned for planned in plan if planned not in shards]
        micro_batches = {planned: self._micro_batches(planned.group, planned.rows, self.world) for planned in missing}
        tasks = chain.from_iterable(micro_batches.values())
        with computed_ahead(self._build, tasks, self.recipe.train.workers) as batches:
            for planned in missing:
                shards[planned] = _shard(self._score_all(micro_batches[planned], batches, progress), planned.group)
                self.world.computed_by_main(partial(store.write, planned.name, shards[planned]))
                progress.kept += len(planned.rows)
        progress.stop_if_asked()

    def _score_all(
        self, micro_batches: Sequence[MicroBatch], batches: Iterator[Batch], progress: _Progress
    ) -> list[_ScoredRows]:
        """Score this process's micro-batches of a shard, and gather those of all processes."""
        scored: list[_ScoredRows] = []
        for micro_batch in micro_batches:
            progress.stop_if_asked()
            mine = self._score(next(batches))
            of_processes = self.world.gather(None if micro_batch.is_filler else mine)
            gathered = [rows for rows in of_processes if rows is not None]
            self._require_few_bad(gathered, progress)
            scored += gathered
            progress.count(sum(len(rows.ids) + len(rows.left_out) for rows in gathered))
        return scored

    def _require_few_bad(self, gathered: Sequence[_ScoredRows], progress: _Progress) -> None:
        """Raise `DataError`, in all processes, for too many bad rows. Training meets and lists those that may be."""
        met = {row: list(problems) for rows in gathered for row, problems in rows.left_out.items()}
        if not met.keys() <= progress.bad.keys():
            progress.bad |= met
            try:
                with_met(self.data.checked, progress.bad).require_valid(self.recipe.data.most_bad)
            except DataError as error:
                raise stopped_by(error, 0, streamed=False) from error

    def _micro_batches(self, group: ViewGroup, rows: Iterable[int], world: World) -> list[MicroBatch]:
        """A process's part of the rows, in micro-batches of similar lengths."""
        ordered = sorted(rows, key=self.data.lengths.__getitem__)
        parts = split_over_processes(ordered, self.recipe.train.micro_batch_size, group.epoch, world)
        return [part._replace(views=group.views) for part in parts]

    @property
    def _build(self) -> BuildBatch:
        return BuildBatch(replace(self.data.builder, columns=(), checks=()), self.data.rows)

    def _score(self, batch: Batch) -> _ScoredRows:
        # Without LoRA the policy is its own reference, as nothing has trained it yet.
        base = self.learner.model.adapter_disabled() if self.recipe.model.has_lora else nullcontext()
        with torch.no_grad(), base, self.learner.advice.explained(batch):
            policy = self.learner.engine.forward(batch).policy  # of a filler too, as every process must run it
        if batch.is_filler:
            return _ScoredRows(left_out=batch.left_out)
        log_probs = {view: TokenLogProbs(values.float().cpu(), mask.cpu()) for view, (values, mask) in policy.items()}
        return _ScoredRows(batch.ids, batch.digests, log_probs, batch.left_out)

    def _spot_check(self, group: ViewGroup, shards: Mapping[PlannedShard, Shard], store: ReferenceStore) -> None:
        """Score a few rows of a group again, and compare them with what the store holds."""
        rows = [row for planned in shards for row in planned.rows]
        rng = random.Random(f"{self.recipe.train.seed}|{group.name}")
        sample = rng.sample(rows, min(_CHECKED_ROWS, len(rows)))
        cached = _cached(shards, store)
        # Every process scores all of the sample: it is small.
        for batch in map(self._build, self._micro_batches(group, sample, ALONE)):
            if not batch.is_filler:
                self._require_as_stored(batch, cached, store)

    def _require_as_stored(self, batch: Batch, cached: Cached, store: ReferenceStore) -> None:
        stored = cached.log_probs(batch, device_of(self.learner.model.module))
        for view, (values, mask) in self._score(batch).log_probs.items():
            differences = values - stored[view].values.cpu()
            for name, row, num_tokens in zip(batch.ids, differences, mask.sum(dim=1).tolist(), strict=True):
                self._require_rounding(row, num_tokens, f"example '{name}': '{view}'", store)

    def _require_rounding(self, differences: Tensor, num_tokens: int, source: str, store: ReferenceStore) -> None:
        # The sum finds a shift; the norm finds differences that cancel in the sum.
        size = max(float(differences.sum().abs()), float(differences.norm()))
        if not size <= ROUNDING[self.recipe.backend.arithmetic] * math.sqrt(num_tokens):
            raise CheckpointError(
                f"{source} scores differently now than in the reference in {store.folder}, by {size:.2g} nats over "
                f"{num_tokens} tokens; {ELSEWHERE}"
            )

    @contextmanager
    def _without_dropout(self) -> Iterator[None]:
        self.learner.model.set_training(False)
        try:
            yield
        finally:
            self.learner.model.set_training(True)


def _stored_shards(plan: Iterable[PlannedShard], store: ReferenceStore) -> dict[PlannedShard, Shard]:
    stored = {planned: store.read(planned.name, planned.group.views) for planned in plan}
    return {planned: shard for planned, shard in stored.items() if shard is not None}


def _of_group(shards: Mapping[PlannedShard, Shard], group: ViewGroup) -> dict[PlannedShard, Shard]:
    return {planned: shard for planned, shard in shards.items() if planned.group == group}


def _cached(shards: Mapping[PlannedShard, Shard], store: ReferenceStore) -> Cached:
    groups = dict.fromkeys(planned.group for planned in shards)
    return Cached([list(_of_group(shards, group).values()) for group in groups], store.folder)


def _shard(scored: Sequence[_ScoredRows], group: ViewGroup) -> Shard:
    sound = [part for part in scored if part.ids]
    views = {}
    for view in group.views:
        rows = [values[mask] for part in sound for values, mask in zip(*part.log_probs[view], strict=True)]
        digests = [list(digest) for part in sound for digest in part.digests[view]]
        views[view] = CachedView(
            torch.cat(rows) if rows else torch.empty(0),
            torch.tensor([len(row) for row in rows], dtype=torch.int64),
            torch.tensor(digests, dtype=torch.uint8).view(len(rows), hashlib.sha256().digest_size),
        )
    return Shard([name for part in sound for name in part.ids], views)


def _num_rows(shards: Iterable[PlannedShard]) -> int:
    return sum(len(planned.rows) for planned in shards)
