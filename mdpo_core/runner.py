"""READ THIS FIRST: a run, from a recipe to a model on the disk, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.errors import CheckpointError, RecipeError
from mdpo_core.interfaces.plugin_results import code_of
from mdpo_core.listeners import listeners, progress_of
from mdpo_core.processes.devices import use_expandable_segments
from mdpo_core.processes.rendezvous import process_group
from mdpo_core.processes.world import World
from mdpo_core.recipe.consistency import check_consistency
from mdpo_core.recipe.given import RecipeLike, as_recipe
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.registry.plugin_files import loaded_files
from mdpo_core.result import RunResult
from mdpo_core.scoring.reference_store import CACHING, ReferenceStore
from mdpo_core.storage.differences import differences
from mdpo_core.storage.logged.kept_warnings import hearing_warnings
from mdpo_core.storage.resuming import warn_of_changes
from mdpo_core.storage.run_directory import RunDirectory, expanded
from mdpo_core.storage.run_lock import only_run_in
from mdpo_core.storage.stored_checks import StoredChecks, write_check
from mdpo_core.training.trackers import Tracking, check_trackers, tracking

if TYPE_CHECKING:
    from mdpo_core.data.checking import CheckedData
    from mdpo_core.data.encoding import BatchBuilder, TrainingData
    from mdpo_core.interfaces.model import VisionLanguageModel
    from mdpo_core.objective.objective import Objective
    from mdpo_core.scoring.reference import Cached, Reference
    from mdpo_core.scoring.scorer import Scorer
    from mdpo_core.training.evaluation import Evaluation
    from mdpo_core.training.learner import Learner
    from mdpo_core.training.trainer import Trainer


def run(
    recipe: RecipeLike, *, run_dir: str | Path | None = None, resume: bool = False, accept_changed_code: bool = False
) -> RunResult:
    """Check the recipe (or load it, as `load_recipe` does) and its data, train, and export the model.

    ``run_dir`` replaces ``output.dir``. With ``resume`` a run continues from its newest checkpoint, or begins if it
    has none; ``accept_changed_code``: even if a plugin file or a class of a notebook has changed since it began.
    Raises a subclass of `MdpoError`; `RunStopped` after a SIGTERM, when a checkpoint has been saved.

    Each process of a launcher (torchrun) calls this function. The main one reads the data, writes files and prints.
    """
    from mdpo_core.data.reading import read_data
    from mdpo_core.storage.manifest import code_in

    given = as_recipe(recipe)
    directory = RunDirectory(expanded(Path(run_dir or given.output.dir)), given.output.keep)
    with hearing_warnings(), process_group() as world, ExitStack() as held:
        check_consistency(given, world.size)
        _require_one_recipe(given, world)
        with code_of(given.backend, "check"):
            given.backend.check(given.train, world)
        world.computed_by_main(lambda: check_trackers(given.trackers))
        world.computed_by_main(lambda: held.enter_context(only_run_in(directory.path)))
        world.computed_by_main(lambda: directory.claim(given, resume, None if accept_changed_code else code_in(given)))
        if not world.computed_by_main(lambda: directory.is_finished(given)):
            use_expandable_segments()
            if given.scoring.compile:
                from mdpo_core.scoring.compilation import require_compiler

                require_compiler(given.backend.compute_device(world))
            checked, builder = read_data(given, world, store=StoredChecks(given, directory.checked))
            Run(given, directory, checked, builder, world, accept_changed_code).complete()
        return RunResult(directory.path, directory.final, world.computed_by_main(directory.metrics.evaluations))


def _require_one_recipe(recipe: Recipe, world: World) -> None:
    """Processes with different recipes would train a mixture of weights, and nobody would notice."""
    files = loaded_files(recipe.plugins)
    own = recipe.to_dict() | {"digests of plugin files": {file.path.name: file.sha256 for file in files}}
    main = world.computed_by_main(lambda: own)
    for rank, changes in enumerate(world.gather(differences(main, own))):
        if changes:
            raise RecipeError(f"process {rank} was started with another recipe than process 0: {'; '.join(changes)}")


@dataclass(frozen=True)
class Run:
    """This process's part of a run: a method for each stage, in the order in which `complete` calls them.

    ``directory`` is claimed for this run; ``checked`` and ``builder`` come from `read_data`.
    """

    recipe: Recipe
    directory: RunDirectory
    checked: CheckedData
    builder: BatchBuilder
    world: World
    accept_changed_code: bool = False

    def complete(self) -> None:
        """Train from the newest checkpoint, or from the start, and export the model."""
        store = self.prepare()  # and trackers before the model, so that one that is down says so at once
        with tracking(self.recipe.trackers if self.world.is_main else (), self.directory.path) as trackers:
            self._train(store, trackers)

    def _train(self, store: ReferenceStore | None, trackers: Tracking) -> None:
        matrix_rate = self.measure_device()
        model = self.load_model()
        objective = self.build_objective()
        reference = self.load_reference()
        scorer = self.build_scorer(model, objective, reference)
        learner = self.start_engine(model, scorer, reference)
        self.try_sharing(learner, scorer)
        if store is not None:
            scorer.use_reference(self.cache_reference(learner, store))
        trainer = self.build_trainer(learner, objective, matrix_rate)
        trainer.fit(self.restore(trainer), trackers)
        self.export(model, trainer.goals.best_step)

    @property
    def data(self) -> TrainingData:
        """The rows to train on."""
        return self.checked.with_builder(self.builder)

    def prepare(self) -> ReferenceStore | None:
        """Write the recipe and the manifest. Returns the store of a cached reference.

        Raises before the model is loaded if the directory or the store belongs to another model or other data.
        """
        manifest = self.world.computed_by_main(self._manifest)
        store = self._reference_store(manifest)
        self.world.computed_by_main(lambda: self._write_inputs(manifest))
        self.directory.require_shared(self.world)
        return store

    def _manifest(self) -> dict[str, Any]:
        from mdpo_core.storage.manifest import describe

        manifest = describe(self.recipe, self.checked)
        self.directory.require_same_inputs(manifest, accept_changed_code=self.accept_changed_code)
        return manifest

    def _reference_store(self, manifest: Mapping[str, Any]) -> ReferenceStore | None:
        from mdpo_core.storage.manifest import reference_key

        if self.recipe.reference_kind() != "cached":
            return None
        folder = self.recipe.output.reference or self.directory.reference
        store = ReferenceStore(folder, reference_key(self.recipe, manifest, self.builder))
        self.world.computed_by_main(store.check)
        return store

    def _write_inputs(self, manifest: Mapping[str, Any]) -> None:
        self.directory.prepare(self.recipe, manifest)
        write_check(self.directory, self.checked)

    def measure_device(self, seconds: float = 0.1) -> float:
        """The FLOP/s of this process's device, measured with matrix products for about ``seconds``."""
        from mdpo_core.training.speed.matrix_rate import matrix_rate_of

        return matrix_rate_of(self.recipe.backend, self.world, seconds)

    def load_model(self) -> VisionLanguageModel:
        """The policy's model, ready to train."""
        import torch

        from mdpo_core.scoring.activation_checkpointing import recompute_in_backward
        from mdpo_core.training.optimization import numbers_of_parts

        torch.manual_seed(self.recipe.train.seed)  # LoRA draws its first weights
        model = self._loaded(trainable=True)
        self._compile(model)
        recompute_in_backward(model.layers(), self.recipe.scoring.activation_checkpointing)
        model.set_training(True)
        listeners(self.world).mdpo_model_loaded(parts=numbers_of_parts(self.recipe, model))
        return model

    def build_objective(self) -> Objective:
        """The weighted sum of the recipe's terms."""
        from mdpo_core.objective.objective import Objective

        return Objective(dict(zip(self.recipe.labels(), self.recipe.objective, strict=True)))

    def load_reference(self) -> Reference | None:
        """The reference, if it scores beside the policy; None if there is none or it is computed before training."""
        from mdpo_core.scoring.reference import AdapterOff, FrozenCopy

        match self.recipe.reference_kind():
            case "adapter_off":
                return AdapterOff()
            case "frozen_copy":
                model = self._loaded(trainable=False)
                self._compile(model)
                with code_of(self.recipe.backend, "place_reference"):
                    self.recipe.backend.place_reference(model, self.recipe.train)
                return FrozenCopy(model)
            case "cached" | None:
                return None

    def _loaded(self, *, trainable: bool) -> VisionLanguageModel:
        from mdpo_core.training.model_loading import load_model

        return load_model(self.recipe.model, self.recipe.backend, self.recipe.train, self.world, trainable=trainable)

    def _compile(self, model: VisionLanguageModel) -> None:
        if self.recipe.scoring.compile:
            from mdpo_core.scoring.compilation import compile_layers

            compile_layers(model.layers())

    def build_scorer(self, model: VisionLanguageModel, objective: Objective, reference: Reference | None) -> Scorer:
        """The module that computes what the objective reads."""
        from mdpo_core.scoring.scorer import Scorer

        options = self.recipe.scoring.model_copy(update={"share_prefix": self.recipe.shares_prefix()})
        train = self.recipe.train
        noise, balanced = train.neftune_noise_alpha, train.router_aux_loss_coef is not None
        return Scorer(model, objective.reads, reference, options, train.seed, noise=noise, balanced=balanced)

    def start_engine(self, model: VisionLanguageModel, scorer: Scorer, reference: Reference | None) -> Learner:
        """Let the backend wrap the scorer."""
        from mdpo_core.interfaces.backend import TrainableScorer
        from mdpo_core.training.learner import Learner
        from mdpo_core.training.optimization import rate_factors
        from mdpo_core.training.out_of_memory import MemoryAdvice, explained_while

        factors = rate_factors(self.recipe.model, model, self.recipe.train)
        with code_of(self.recipe.backend, "start"), explained_while("the backend started"):
            engine = self.recipe.backend.start(TrainableScorer(scorer, model, factors), self.recipe.train)
        return Learner(model, engine, MemoryAdvice(self.recipe, model, reference))

    def try_sharing(self, learner: Learner, scorer: Scorer) -> None:
        """Compare shared prompts with plain forwards: a mistake of the adapter here would change every number."""
        from mdpo_core.scoring.attention_trial import AttentionTrial
        from mdpo_core.scoring.shared_prefix_check import require_shared_prefix

        if not self.recipe.shares_prefix():
            return
        # Two rows, if there are two: one must not see the other.
        rows = self.data.rows
        batch = self.builder.build(rows, range(min(2, len(rows))), epoch=0)
        name, trial = self.recipe.model.component_name(), AttentionTrial.of(self.recipe)
        learner.engine.using_model(lambda: require_shared_prefix(name, learner.model, batch, trial.attention))
        scorer.use_attention(trial.outcome(self.world))

    def cache_reference(self, learner: Learner, store: ReferenceStore) -> Cached:
        """Score every row with the untrained policy, through the engine, which knows devices and precision."""
        from mdpo_core.training.reference_pass import Precomputation

        progress, held_out = progress_of(CACHING, self.world), self.checked.held_out
        filling = Precomputation(self.recipe, learner, self.data, progress, self.world)
        return filling.fill_both(store, None if held_out is None else held_out.with_builder(self.builder))

    def build_trainer(self, learner: Learner, objective: Objective, matrix_rate: float | None = None) -> Trainer:
        """The loop over all steps, and what it calls between them. ``matrix_rate``: from `measure_device`."""
        from mdpo_core.training.feed import feed_of
        from mdpo_core.training.trainer import RunRecord, Trainer

        feed = feed_of(self.recipe, self.checked, self.builder, self.world, self.directory.quarantine)
        evaluation = self._evaluation(learner, objective, feed.num_steps)
        record = RunRecord(self.directory, listeners(self.world))
        return Trainer(self.recipe, learner, objective, self.builder, feed, evaluation, record, self.world, matrix_rate)

    def _evaluation(self, learner: Learner, objective: Objective, num_steps: int) -> Evaluation:
        from mdpo_core.training.automatic import evaluators_of
        from mdpo_core.training.evaluation import Evaluation, TrainedPolicy, sound_rows

        ask, train, progress = self.recipe.model.questions, self.recipe.train, progress_of("evaluating", self.world)
        rows = (self.checked.held_out_examples(), sound_rows(self.checked.valid_examples(), self.builder))
        policy = TrainedPolicy(learner, objective, self.builder, train, ask, progress, self.world, *rows, num_steps)
        return Evaluation(evaluators_of(self.recipe, policy, self.directory), policy, self.directory.path, num_steps)

    def restore(self, trainer: Trainer) -> int:
        """Load the newest checkpoint, if there is one. Returns the number of finished steps."""
        metadata = self.directory.checkpoints.load_newest(trainer.learner.engine, self.world)
        first_step = 0 if metadata is None else int(metadata["step"])
        num_steps = trainer.feed.num_steps
        if first_step > num_steps:
            raise CheckpointError(
                f"{self.directory.checkpoints.all()[-1]} is of step {first_step}, but the run has {num_steps} steps; "
                "remove the folder to resume from an older checkpoint"
            )
        if metadata is not None:
            trainer.restore(metadata)
            if self.world.is_main:
                warn_of_changes(metadata, self.recipe, self.world)
        log_every = self.recipe.train.log_every
        self.world.computed_by_main(lambda: self.directory.metrics.continue_from(first_step, log_every))
        return first_step

    def export(self, model: VisionLanguageModel, best_step: int | None = None) -> None:
        """Write the trained model, that of the best step if there is one, and the report, and tell the listeners."""
        from mdpo_core.reporting.report import write_report
        from mdpo_core.storage.export import export_models

        self.world.computed_by_main(lambda: export_models(self.recipe, self.directory, best_step))
        self.world.computed_by_main(lambda: write_report(self.recipe, self.directory, self.data, model))
        listeners(self.world).mdpo_run_finished(run_dir=self.directory.path, final=self.directory.final)
