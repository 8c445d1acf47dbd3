"""Runs some steps of a recipe as a run would, and measures them. Nothing is saved but the trace."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch.profiler import profile

from mdpo_core.data.checking import CheckedData
from mdpo_core.data.reading import read_data
from mdpo_core.data.sampler import Sampler
from mdpo_core.errors import RecipeError
from mdpo_core.interfaces.plugin_results import code_of
from mdpo_core.listeners import progress_of
from mdpo_core.processes.devices import device_of, use_expandable_segments
from mdpo_core.processes.end_signals import temporary_folder
from mdpo_core.processes.rendezvous import process_group
from mdpo_core.processes.world import World
from mdpo_core.profiling.instruments import WHOLE, Instruments
from mdpo_core.profiling.report import Profile, communication_of, operators_of
from mdpo_core.profiling.stopwatch import Stopwatch
from mdpo_core.recipe.consistency import check_consistency
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.runner import Run
from mdpo_core.scoring import compilation
from mdpo_core.scoring.reference_store import CACHING, ReferenceStore
from mdpo_core.storage.files import atomic_write
from mdpo_core.storage.run_directory import RunDirectory
from mdpo_core.storage.stored_checks import StoredChecks
from mdpo_core.training.reference_pass import Precomputation
from mdpo_core.training.trainer import Trainer
from mdpo_core.words.amounts import counted

_BESIDE = 2  # steps that are not timed: the first one, and the one that is recorded
_MEASURING = 1.0  # seconds for the device's own matrix product


def profile_recipe(recipe: Recipe, num_steps: int, trace: Path) -> Profile:
    """Measure ``num_steps`` steps after a first one, then record one more in the file ``trace``.

    Touches no run directory. A launcher may start several processes, as for `run`. Raises `RecipeError` if the recipe
    has fewer pairs, and what `run` raises.
    """
    with process_group() as world, temporary_folder("mdpo-profile-") as folder:
        check_consistency(recipe, world.size)
        with code_of(recipe.backend, "check"):
            recipe.backend.check(recipe.train, world)
        use_expandable_segments()
        if recipe.scoring.compile:
            compilation.require_compiler(recipe.backend.compute_device(world))
        checked, builder = read_data(recipe, world, store=StoredChecks(recipe))
        some = _rows_of_steps(recipe, checked, num_steps + _BESIDE)
        once = recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": 1})})
        run = Run(once, RunDirectory(folder), some, builder, world)
        return _Profiling(run, num_steps, trace, world).measured()


def _rows_of_steps(recipe: Recipe, checked: CheckedData, num_steps: int) -> CheckedData:
    """The rows of the run's first full steps: a cached reference is computed for them alone."""
    train = recipe.train
    sampler = Sampler.of(train, checked.lengths, checked.keys)
    drawn = (row for step in range(sampler.num_steps) for row in sampler.rows(step))
    rows = list(islice(drawn, num_steps * train.batch_size))
    if len(rows) < num_steps * train.batch_size:
        raise RecipeError(
            f"--steps {num_steps - _BESIDE} needs {num_steps} steps of {counted(train.batch_size, 'pair')}, one to "
            f"begin with and one to record, but the run trains on {counted(len(rows), 'pair')}; use fewer steps or a "
            "smaller train.batch_size"
        )
    return replace(checked.of(rows), bad=checked.bad)


@dataclass(frozen=True)
class _Profiling:
    run: Run
    num_steps: int
    trace: Path
    world: World

    def measured(self) -> Profile:
        """Build what a run builds, run the steps, and collect the numbers."""
        run = self.run
        matrix_rate = run.measure_device(_MEASURING)
        model, objective, reference = run.load_model(), run.build_objective(), run.load_reference()
        scorer = run.build_scorer(model, objective, reference)
        learner = run.start_engine(model, scorer, reference)
        run.try_sharing(learner, scorer)
        if run.recipe.reference_kind() == "cached":
            progress = progress_of(CACHING, self.world)
            passing = Precomputation(run.recipe, learner, run.data, progress, self.world)
            reference = passing.fill(ReferenceStore(run.directory.reference, {}))
            scorer.use_reference(reference)
        trainer = run.build_trainer(learner, objective, matrix_rate)
        instruments = Instruments(learner, trainer.arithmetic, Stopwatch(device_of(model.module), WHOLE))
        if reference is not None:
            instruments.measure_reference(reference)
        return self._steps(trainer, instruments, matrix_rate)

    def _steps(self, trainer: Trainer, instruments: Instruments, matrix_rate: float) -> Profile:
        watch, clock = instruments.watch, instruments.clock(matrix_rate)
        with trainer.rehearsing(clock) as step:
            step(0)
            clock.read(self.world)
            instruments.again = 0.0
            watch.restart()
            for number in range(self.num_steps):
                step(1 + number)
            seconds, rates = watch.seconds(), clock.read(self.world)
            again = sum(self.world.gather(instruments.again)) / sum(seconds.values()) / 1e12
            peaks = watch.peaks()
            with instruments.recording() as recorded:
                step(1 + self.num_steps)
        self.world.computed_by_main(lambda: self._write(recorded))
        recipe = self.run.recipe
        return Profile(
            num_steps=self.num_steps,
            num_pairs=recipe.train.batch_size,
            num_processes=self.world.size,
            device=_name_of(device_of(trainer.learner.model.module)),
            arithmetic=recipe.backend.arithmetic,
            seconds={name: each / self.num_steps for name, each in seconds.items()},
            peaks=peaks,
            rates=rates,
            tflops_with_repeats=rates["tflops"] + again if "tflops" in rates else None,
            matrix_rate=matrix_rate,
            operators=operators_of(recorded),
            communication=communication_of(recorded) if self.world.size > 1 else None,
        )

    def _write(self, recorded: profile) -> None:
        """Write the trace. torch alone would say nothing if that fails."""
        beside = self.run.directory.path / self.trace.name
        recorded.export_chrome_trace(str(beside))
        atomic_write(self.trace, beside.read_bytes())


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
