"""A run, from a recipe to a model on the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.errors import RecipeError
from mdpo_core.listeners import listeners, progress_of
from mdpo_core.processes.group import process_group
from mdpo_core.processes.world import ALONE, World
from mdpo_core.recipe.consistency import check_consistency
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.scoring.reference_store import CACHING, ReferenceStore
from mdpo_core.storage.differences import differences
from mdpo_core.storage.files import remove_unfinished
from mdpo_core.storage.run_directory import RunDirectory, warn_of_changes

if TYPE_CHECKING:
    from mdpo_core.data.checking import CheckedData
    from mdpo_core.data.encoding import BatchBuilder
    from mdpo_core.interfaces.model import VisionLanguageModel
    from mdpo_core.objective.objective import Objective
    from mdpo_core.scoring.reference import Reference
    from mdpo_core.scoring.scorer import Scorer
    from mdpo_core.training.trainer import Trainer
    from mdpo_core.types.batch import Batch
    from mdpo_core.types.example import Example


@dataclass(frozen=True)
class RunResult:
    """What a run left behind: its directory, the exported model, and the evaluations by step."""

    run_dir: Path
    final: Path
    evaluations: dict[int, dict[str, float]]


def run(recipe: Recipe, *, run_dir: str | Path | None = None, resume: bool = False) -> RunResult:
    """Check the recipe and its data, train, and export the model.

    ``run_dir`` stands for ``output.dir``. With ``resume`` a run goes on from its newest checkpoint, or begins if it
    has none. Raises a subclass of `MdpoError`; `RunStopped` after a SIGTERM, when a checkpoint has been saved.

    In a process that a launcher started (torchrun's environment variables) it is that process's part of the run: the
    main process reads the data, writes and speaks.
    """
    directory = RunDirectory(Path(run_dir or recipe.output.dir), recipe.output.keep)
    with process_group() as world:
        check_consistency(recipe, world.size)
        _require_one_recipe(recipe, world)
        recipe.backend.check(recipe.train, world)
        world.computed_by_main(lambda: directory.claim(recipe, resume))
        if world.computed_by_main(lambda: not directory.final.exists()):
            checked, builder = read_data(recipe, world)
            _train(recipe, directory, checked, builder, world)
        return RunResult(directory.path, directory.final, world.computed_by_main(directory.metrics.evaluations))


def _require_one_recipe(recipe: Recipe, world: World) -> None:
    """Processes that learn differently would make a mixture of weights, and nobody would notice."""
    main = world.computed_by_main(recipe.to_dict)
    different = world.gather(differences(main, recipe.to_dict()))
    for rank, found in enumerate(different):
        if found:
            raise RecipeError(f"process {rank} was started with another recipe than process 0: {'; '.join(found)}")


def read_data(recipe: Recipe, world: World = ALONE) -> tuple[CheckedData, BatchBuilder]:
    """Find the model's files and check every row, without loading the model. Raises `DataError`."""
    from mdpo_core.data.checking import open_data
    from mdpo_core.data.encoding import BatchBuilder

    recipe.model.check()
    data = open_data(recipe.data)
    builder = BatchBuilder.for_terms(
        recipe.objective,
        recipe.corruptions,
        recipe.model.encoder(),
        recipe.model.max_length,
        recipe.train.seed,
        # Also alone where weights before the language model train: a step without any image moves them as in a crowd.
        always_images=world.size > 1 or recipe.model.trains_images,
    )
    found = world.computed_by_main(lambda: _checked(recipe, data, builder, world))
    return replace(found, data=data), builder


def _checked(recipe: Recipe, data: Sequence[Example], builder: BatchBuilder, world: World) -> CheckedData:
    """What is found in the data, without them: every process opens its own."""
    from mdpo_core.data.checking import check_data

    checked = check_data(data, builder, progress_of("checking data", world), recipe.train.workers)
    checked.require_sound(quarantine=recipe.data.bad_rows == "quarantine")
    builder.build(checked.sound(), [0], epoch=0)  # a corruption that can work on no row fails here
    return replace(checked, data=())


def _train(recipe: Recipe, directory: RunDirectory, checked: CheckedData, builder: BatchBuilder, world: World) -> None:
    manifest = world.computed_by_main(lambda: _manifest(recipe, directory, checked))
    store = _reference_store(recipe, directory, manifest, builder, world)
    world.computed_by_main(lambda: _prepare(recipe, directory, checked, manifest))
    directory.require_shared(world)
    trainer = _assemble(recipe, directory, checked, builder, store, world)
    first_step = _restore(recipe, directory, trainer, world)
    trainer.fit(first_step)
    world.computed_by_main(lambda: _export(recipe, directory))
    listeners(world).mdpo_run_finished(run_dir=directory.path, final=directory.final)


def _manifest(recipe: Recipe, directory: RunDirectory, checked: CheckedData) -> dict[str, Any]:
    from mdpo_core.storage.manifest import describe

    manifest = describe(recipe, checked)
    directory.require_same_inputs(manifest)
    return manifest


def _prepare(recipe: Recipe, directory: RunDirectory, checked: CheckedData, manifest: Mapping[str, Any]) -> None:
    directory.prepare(recipe, manifest)
    if checked.bad:
        checked.write_quarantine(directory.quarantine)


def _restore(recipe: Recipe, directory: RunDirectory, trainer: Trainer, world: World) -> int:
    """The number of steps that the run has behind it."""
    about = directory.checkpoints.load_newest(trainer.engine, world)
    first_step = 0 if about is None else int(about["step"])
    if about is not None:
        trainer.objective.running.restore(about["running"])
        if world.is_main:
            warn_of_changes(about, recipe, world)
    world.computed_by_main(lambda: directory.metrics.truncate(first_step))
    return first_step


def _export(recipe: Recipe, directory: RunDirectory) -> None:
    """From the last checkpoint, which is the same whatever shared out the model."""
    from mdpo_core.storage.export import export_checkpoint

    remove_unfinished(directory.path)
    export_checkpoint(recipe, directory.checkpoints.all()[-1], directory.final)


def _reference_store(
    recipe: Recipe, directory: RunDirectory, manifest: Mapping[str, Any], builder: BatchBuilder, world: World
) -> ReferenceStore | None:
    """Where the reference is cached, if it is; one that does not fit is refused before the model is loaded."""
    from mdpo_core.storage.manifest import reference_key

    if recipe.reference_kind() != "cached":
        return None
    folder = recipe.output.reference or directory.reference
    store = ReferenceStore(folder, reference_key(recipe, manifest, builder))
    world.computed_by_main(store.check)
    return store


def _assemble(
    recipe: Recipe,
    directory: RunDirectory,
    checked: CheckedData,
    builder: BatchBuilder,
    store: ReferenceStore | None,
    world: World,
) -> Trainer:
    from mdpo_core.data.sampler import Sampler
    from mdpo_core.interfaces.backend import TrainableScorer
    from mdpo_core.objective.objective import Objective
    from mdpo_core.training.evaluation import Evaluation, TrainedPolicy
    from mdpo_core.training.optimization import numbers_of_parts, rate_factors
    from mdpo_core.training.out_of_memory import MemoryAdvice
    from mdpo_core.training.reference_pass import Precomputation
    from mdpo_core.training.trainer import Trainer

    model = _load_policy(recipe)
    listeners(world).mdpo_model_loaded(parts=numbers_of_parts(recipe, model))
    objective = Objective(dict(zip(recipe.labels(), recipe.objective, strict=True)))
    rows, train = checked.sound(), recipe.train
    reference = _load_reference(recipe)
    scorer = _scorer(recipe, model, objective, reference)
    factors = rate_factors(recipe.model, model, train)
    engine = recipe.backend.start(TrainableScorer(scorer, model, factors), train)
    if recipe.shares_prefix():
        # Of two rows: one must not see the other.
        batch = builder.build(rows, range(min(2, len(rows))), epoch=0)
        engine.using_model(lambda: _check_sharing(recipe, model, batch))
    advice = MemoryAdvice(recipe, model, reference)
    if store is not None:
        # Only now: the pass goes through the engine, which knows devices and precision.
        progress = progress_of(CACHING, world)
        filling = Precomputation(recipe, model, engine, builder, rows, checked.lengths, advice, progress, world)
        scorer.use_reference(filling.fill(store))
    sampler = Sampler(checked.lengths, train.batch_size, train.epochs, train.seed, train.length_window)
    progress = progress_of("evaluating", world)
    policy = TrainedPolicy(model, engine, objective, builder, train.batch_size, progress, world)
    evaluation = Evaluation(recipe.evaluators, policy, directory.path, sampler.num_steps)
    return Trainer(
        recipe, engine, objective, builder, rows, sampler, directory, evaluation, advice, listeners(world), world
    )


def _check_sharing(recipe: Recipe, model: VisionLanguageModel, batch: Batch) -> None:
    """What an adapter says of itself changes every number of the run, so it is tried before it."""
    from mdpo_core.scoring.attention import ATTENTIONS
    from mdpo_core.scoring.shared_prefix_check import require_shared_prefix

    name = recipe.model.component_name()
    require_shared_prefix(name, model, batch, ATTENTIONS[recipe.scoring.attention])


def _scorer(recipe: Recipe, model: VisionLanguageModel, objective: Objective, reference: Reference | None) -> Scorer:
    from mdpo_core.scoring.scorer import Scorer

    options = recipe.scoring.model_copy(update={"share_prefix": recipe.shares_prefix()})
    return Scorer(model, objective.reads, reference, options, recipe.train.seed)


def _load_policy(recipe: Recipe) -> VisionLanguageModel:
    import torch

    from mdpo_core.scoring.activation_checkpointing import recompute_in_backward

    torch.manual_seed(recipe.train.seed)  # of the LoRA weights
    with recipe.backend.loading(recipe.train):
        model = recipe.model.load(recipe.backend.placement())
    recompute_in_backward(model.layers(), recipe.scoring.activation_checkpointing)
    model.set_training(True)
    return model


def _load_reference(recipe: Recipe) -> Reference | None:
    """The reference that can be had before anything is scored."""
    from mdpo_core.scoring.reference import AdapterOff, FrozenCopy

    match recipe.reference_kind():
        case "adapter_off":
            return AdapterOff()
        case "frozen_copy":
            with recipe.backend.loading(recipe.train):
                model = recipe.model.load(recipe.backend.placement(), trainable=False)
            recipe.backend.place_reference(model, recipe.train)
            return FrozenCopy(model)
        case "cached" | None:
            return None
