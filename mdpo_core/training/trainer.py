"""The training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from mdpo_core.data.encoding import BatchBuilder
from mdpo_core.data.sampler import MicroBatch
from mdpo_core.errors import DataError
from mdpo_core.objective.meter import Meter
from mdpo_core.objective.objective import Objective
from mdpo_core.processes.devices import device_of, peak_reserved_memory
from mdpo_core.processes.stop_request import RunStopped, StopRequest, asked_to_stop
from mdpo_core.processes.world import World
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.storage.quarantine import MetRows, stopped_by
from mdpo_core.storage.resuming import settings_of_rounding
from mdpo_core.storage.run_directory import RunDirectory
from mdpo_core.training.evaluation import Evaluation
from mdpo_core.training.feed import Feed, SampledFeed, Step
from mdpo_core.training.goals import Goals
from mdpo_core.training.learner import Learner
from mdpo_core.training.number_checks import (
    draws_at_start,
    indifference_tolerance,
    require_finite,
    require_finite_gradient,
    require_indifference,
)
from mdpo_core.training.schedule import learning_rate
from mdpo_core.training.speed.arithmetic import Arithmetic
from mdpo_core.training.speed.throughput import Clock
from mdpo_core.training.steps.balance import with_balance
from mdpo_core.training.steps.whole_batch import WholeBatch, counts, seed_dropout
from mdpo_core.training.trackers import Tracking
from mdpo_core.types.batch import Batch
from mdpo_core.types.scores import Scores


@dataclass(frozen=True)
class RunRecord:
    """What records a run: its directory, and the hooks that hear of each step."""

    directory: RunDirectory
    hooks: Any


@dataclass
class Trainer:
    """Trains step by step; logs, saves and evaluates between steps.

    ``feed`` gives the batches of each step, which ``builder`` builds. ``evaluation`` measures the policy; the goals of
    the recipe judge by it. ``matrix_rate``: FLOP/s of this process's device.
    """

    recipe: Recipe
    learner: Learner
    objective: Objective
    builder: BatchBuilder
    feed: Feed
    evaluation: Evaluation
    record: RunRecord
    world: World
    matrix_rate: float | None = None

    def __post_init__(self) -> None:
        image_token = self.builder.encoder.image_token
        self.arithmetic = Arithmetic.of(self.recipe, self.learner.model, image_token)
        data = self.feed.data if isinstance(self.feed, SampledFeed) else None
        self._met = MetRows.of(data, self.recipe, self.record.directory, self.world)
        self.goals = Goals.of(self.recipe)
        self._whole_batch = WholeBatch(self.objective, self.learner, self.world, self.recipe.train.seed)

    def restore(self, metadata: Mapping[str, Any]) -> None:
        """Take what a checkpoint remembers besides the engine's state."""
        self.objective.running.restore(metadata["running"])
        self.feed.restore(metadata)
        if self._met is not None:
            self._met.restore(metadata)

    def fit(self, first_step: int, trackers: Tracking) -> None:
        """Train from ``first_step`` finished steps to the end, or until the goals say stop.

        Raises `RunStopped` after a signal.
        """
        self._trackers = trackers
        with ExitStack() as stack:
            stack.enter_context(StopRequest())
            self._steps = stack.enter_context(self.feed.steps(first_step))
            self.record.hooks.mdpo_run_started(
                run_dir=self.record.directory.path, first_step=first_step, num_steps=self.feed.num_steps
            )
            self._take_up_evaluations()
            self._saved = first_step
            self._evaluate(first_step)
            self._meter, self._skipped, self._clock = Meter(), 0, Clock(self.matrix_rate)
            for step in range(first_step, self.feed.num_steps):
                if self.goals.reason_to_stop:
                    self._end_early(step)
                    break
                self._finish(step + 1, self._step(step))

    def _take_up_evaluations(self) -> None:
        directory = self.record.directory
        evaluations, kept = self.world.computed_by_main(
            lambda: (directory.metrics.evaluations(), list(directory.checkpoints.by_step()))
        )
        self._evaluated = set(evaluations)
        self.goals.resume(evaluations, kept)

    @contextmanager
    def rehearsing(self, clock: Clock) -> Iterator[Callable[[int], float]]:
        """A function that trains one step, to be called with 0, 1, 2, and so on.

        These steps are counted by ``clock``, but not logged or saved, and nothing is evaluated.
        """
        with self.feed.steps(0) as self._steps:
            self._meter, self._skipped, self._clock, self._saved = Meter(), 0, clock, self.feed.num_steps
            yield self._step

    def _finish(self, finished: int, grad_norm: float) -> None:
        last = finished == self.feed.num_steps
        logged = finished % self.recipe.train.log_every == 0 or last
        if logged:
            self._log(finished, grad_norm)
        # Signals reach processes at different moments; all processes must stop after the same step.
        signum = asked_to_stop(self.world)
        if finished % self.recipe.output.save_every == 0 or last or signum:
            self._save(finished)
        if signum:
            self._stop(finished, signum)
        self._evaluate(finished)
        if self.goals.reason_to_stop and not logged:
            self._log(finished, grad_norm)

    def _end_early(self, finished: int) -> None:
        if self._saved < finished:
            self._save(finished)
        self.record.hooks.mdpo_stopped_early(step=finished, reason=self.goals.reason_to_stop)

    def _stop(self, finished: int, signum: int) -> NoReturn:
        """Raise `RunStopped`, with a checkpoint of the finished steps."""
        if self._saved < finished:
            self._save(finished)
        kept = "checkpoint saved" if finished else "no step is lost"
        raise RunStopped(f"stopped after step {finished} of {self.feed.num_steps}, {kept}", signum)

    def _step(self, step: int) -> float:
        with self._clock.waiting(), self._ended_by_bad_rows(step):
            taken = next(self._steps)
        batches = taken.batches if self._met is None else self._sound(step, taken, self._met)
        batches = self._whole_batch.measured(step, taken, batches)
        for micro_batch in taken.micro_batches:
            with self._clock.waiting():
                batch = next(batches)
            with self.learner.advice.explained(batch):
                self._micro_step(step, taken, micro_batch, batch)
        rate = learning_rate(self.recipe.train, step, self.feed.num_steps)
        with self.learner.advice.explained(batch):
            # The first step allocates the optimizer's state.
            grad_norm = self.learner.engine.step(rate)
        self._skipped += not require_finite_gradient(grad_norm, step + 1, self.recipe.backend)
        self.objective.running.finish_step(self.world)
        return grad_norm

    def _sound(self, step: int, taken: Step, met: MetRows) -> Iterator[Batch]:
        """The batches of a step, of sound rows. Raises `DataError` if a bad row ends the run."""
        with self._clock.waiting():
            batches = [next(taken.batches) for _ in taken.micro_batches]
        with self._ended_by_bad_rows(step):
            met.meet(batches)
        return iter(batches)

    @contextmanager
    def _ended_by_bad_rows(self, finished: int) -> Iterator[None]:
        """Save a checkpoint before the `DataError` of bad rows ends the run in all processes."""
        try:
            yield
        except DataError as error:
            if self._saved < finished:
                self._save(finished)
            raise stopped_by(error, finished, self.recipe.data.is_streamed()) from error

    def _micro_step(self, step: int, taken: Step, micro_batch: MicroBatch, batch: Batch) -> None:
        apart = step == 0 and draws_at_start(self.recipe)
        if apart:
            self.learner.model.set_training(False)
            with torch.no_grad():  # and so without noise
                scores = Scores.of_batch(self.learner.engine.forward(batch), batch, tokens=False)
            require_indifference(scores, indifference_tolerance(self.recipe))
            self.learner.model.set_training(True)
        seed_dropout(self.recipe.train.seed, step, micro_batch.number)
        scored = self.learner.engine.forward(batch, last=micro_batch is taken.micro_batches[-1])
        scores = Scores.of_batch(scored, batch, self.objective.needs_tokens)
        if step == 0 and not apart:
            require_indifference(scores, indifference_tolerance(self.recipe))
        self._whole_batch.measure_one(taken, micro_batch, batch, scores)
        outcome = self.objective(scores)
        outcome = with_balance(outcome, scored.router_aux_loss, self.recipe.train.router_aux_loss_coef)
        require_finite(outcome, batch, step + 1)
        # Divides by the pairs of the whole step, so that the loss is their mean, even in a smaller last batch.
        # A bad row that was met too late counts there as a row without a loss.
        share = counts(micro_batch, batch) / taken.num_rows
        self.learner.engine.backward(outcome.loss.sum() * share)
        if share:
            self.objective.running.add(outcome.running)
            sources = batch.sources if self.recipe.train.metrics_by_source else ()
            self._meter.add(outcome.values, outcome.counted, sources)
            self._clock.count(len(batch), _num_tokens(batch, self.objective), self._flops(batch))

    def _flops(self, batch: Batch) -> float:
        return 0.0 if self.arithmetic is None else self.arithmetic.flops(batch).needed

    def _log(self, finished: int, grad_norm: float) -> None:
        metrics = {
            "epoch": self.feed.epochs(finished),
            **self._meter.means(self.world),
            **({"grad_norm": grad_norm} if math.isfinite(grad_norm) else {}),
            **({"skipped_updates": self._skipped} if self.recipe.backend.scales_gradients else {}),
            "learning_rate": learning_rate(self.recipe.train, finished - 1, self.feed.num_steps),
            **self._clock.read(self.world),
            **self._memory(),
        }
        self._meter, self._skipped = Meter(), 0
        self._record(finished, metrics)
        self.record.hooks.mdpo_step_finished(step=finished, metrics=metrics)

    def _memory(self) -> dict[str, float]:
        """The most that a process had in use; on CUDA also the most that it had reserved."""
        mine = {"memory_gb": self.learner.engine.peak_memory()}
        reserved = peak_reserved_memory(device_of(self.learner.model.module))
        if reserved is not None:
            mine["memory_reserved_gb"] = reserved
        of_processes = self.world.gather(mine)
        return {name: max(each[name] for each in of_processes) for name in mine}

    def _record(self, finished: int, metrics: Mapping[str, float]) -> None:
        if self.world.is_main:
            self.record.directory.metrics.append(finished, metrics)
            self._trackers.log(finished, metrics)

    def _save(self, finished: int) -> None:
        if self.world.is_main:
            self.record.directory.metrics.sync()
        checkpoints, best = self.record.directory.checkpoints, self.goals.best_step
        path = checkpoints.save(self.learner.engine, finished, self.world, self._metadata, best)
        self._saved = finished
        self.record.hooks.mdpo_checkpoint_saved(step=finished, path=path)

    @property
    def _metadata(self) -> Mapping[str, Any]:
        """What a resumed run needs from a checkpoint besides the engine's state."""
        met = {} if self._met is None else {"met": self._met.state()}
        running = self.objective.running.state()
        return {**settings_of_rounding(self.recipe), "running": running, **self.feed.state(), **met}

    def _evaluate(self, finished: int) -> None:
        # A run may stop between a checkpoint and its evaluation; the resumed run then evaluates.
        if finished in self._evaluated:
            return
        try:
            metrics, is_best = self._judged(finished)
        except RunStopped as stopped:
            self._stop(finished, stopped.signum)
        if metrics:
            self._keep_samples(finished)
            self._record(finished, {"epoch": self.feed.epochs(finished), **metrics})
            self.record.hooks.mdpo_evaluated(step=finished, metrics=metrics)
            # The next rates must not include the time of the evaluation.
            self._clock = Clock(self.matrix_rate)
        if is_best and self._saved < finished:
            self._save(finished)

    def _keep_samples(self, finished: int) -> None:
        """Write the answers before the metrics: a step whose metrics are there is not evaluated again."""
        if self.world.is_main and self.evaluation.samples:
            self.record.directory.samples.keep(finished, self.evaluation.samples)
            self._trackers.log_samples(finished, self.evaluation.samples)

    def _judged(self, finished: int) -> tuple[Mapping[str, float], bool]:
        """The metrics that are due, and whether their model is the best so far. All processes decide alike."""
        mine = self.evaluation(finished)
        metrics = self.world.computed_by_main(lambda: mine)
        if finished == 0 and metrics:
            self.goals.require_measured(metrics)
        is_best = self.goals.judge(finished, metrics)
        if self.goals.reason_to_stop:
            metrics = {**metrics, **self.evaluation.of_the_end(finished)}
        return metrics, is_best


def _num_tokens(batch: Batch, objective: Objective) -> int:
    items = [item for view in objective.reads.views for item in batch.items[view]]
    return sum(len(item.prompt) + len(item.response) for item in items)
