"""A run, from a recipe to a model on the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdpo_core.consistency import check_consistency
from mdpo_core.files import remove_unfinished, whole_folder
from mdpo_core.recipe import Recipe
from mdpo_core.reference_cache import CACHING, ReferenceStore
from mdpo_core.registry import current_registry
from mdpo_core.rundir import RunDirectory
from mdpo_core.world import World

if TYPE_CHECKING:
    from mdpo_core.batch import Batch
    from mdpo_core.data import CheckedData
    from mdpo_core.encoding import BatchBuilder
    from mdpo_core.objective import Objective
    from mdpo_core.protocols import VisionLanguageModel
    from mdpo_core.reference import Reference
    from mdpo_core.scorer import Scorer
    from mdpo_core.train import Trainer


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
    """
    check_consistency(recipe)
    directory = RunDirectory(Path(run_dir or recipe.output.dir), recipe.output.keep)
    directory.claim(recipe, resume)
    if not directory.final.exists():
        checked, builder = read_data(recipe)
        _train(recipe, directory, checked, builder)
    return RunResult(directory.path, directory.final, directory.metrics.evaluations())


def read_data(recipe: Recipe) -> tuple[CheckedData, BatchBuilder]:
    """Find the model's files and check every row, without loading the model. Raises `DataError`."""
    from mdpo_core.data import check_data
    from mdpo_core.encoding import BatchBuilder

    recipe.model.check()
    data = recipe.data.open()
    builder = BatchBuilder.for_terms(
        recipe.objective,
        recipe.corruptions,
        recipe.model.encoder(),
        recipe.model.max_length,
        recipe.train.seed,
    )
    checked = check_data(data, builder, progress_of("checking data"), recipe.train.workers)
    checked.require_sound(quarantine=recipe.data.bad_rows == "quarantine")
    builder.build(checked.sound(), [0], epoch=0)  # a corruption that can work on no row fails here
    return checked, builder


def _train(recipe: Recipe, directory: RunDirectory, checked: CheckedData, builder: BatchBuilder) -> None:
    from mdpo_core.manifest import describe

    manifest = describe(recipe, checked)
    directory.require_same_inputs(manifest)
    store = _reference_store(recipe, directory, manifest, builder)
    directory.prepare(recipe, manifest)
    if checked.bad:
        checked.write_quarantine(directory.quarantine)
    model, trainer = _assemble(recipe, directory, checked, builder, store)
    restored = directory.checkpoints.load_newest(trainer.engine, World())
    first_step = int(restored["step"]) if restored else 0
    directory.metrics.truncate(first_step)
    trainer.fit(first_step)
    remove_unfinished(directory.path)
    with whole_folder(directory.final) as folder:
        model.export(folder)
    current_registry().plugins.hook.mdpo_run_finished(run_dir=directory.path, final=directory.final)


def _reference_store(
    recipe: Recipe, directory: RunDirectory, manifest: Mapping[str, Any], builder: BatchBuilder
) -> ReferenceStore | None:
    """Where the reference is cached, if it is; one that does not fit is refused before the model is loaded."""
    from mdpo_core.manifest import reference_key

    if recipe.reference_kind() != "cached":
        return None
    folder = recipe.output.reference or directory.reference
    store = ReferenceStore(folder, reference_key(recipe, manifest, builder))
    store.check()
    return store


def _assemble(
    recipe: Recipe,
    directory: RunDirectory,
    checked: CheckedData,
    builder: BatchBuilder,
    store: ReferenceStore | None,
) -> tuple[VisionLanguageModel, Trainer]:
    from mdpo_core.evaluation import Evaluation, TrainedPolicy
    from mdpo_core.memory import MemoryAdvice
    from mdpo_core.objective import Objective
    from mdpo_core.precompute import Precomputation
    from mdpo_core.sampler import Sampler
    from mdpo_core.train import Trainer

    model = _load_policy(recipe)
    objective = Objective(dict(zip(recipe.labels(), recipe.objective, strict=True)))
    rows = checked.sound()
    if recipe.shares_prefix():
        # Of two rows: one must not see the other.
        _check_sharing(recipe, model, builder.build(rows, range(min(2, len(rows))), epoch=0))
    scorer = _scorer(recipe, model, objective)
    engine = recipe.backend.start(scorer, recipe.train)
    advice = MemoryAdvice(recipe, model, scorer.reference)
    train = recipe.train
    if store is not None:
        # Only now: the pass goes through the engine, which knows devices and precision.
        scorer.reference = Precomputation(
            recipe, model, engine, builder, rows, checked.lengths, advice, progress_of(CACHING)
        ).fill(store)
    sampler = Sampler(checked.lengths, train.batch_size, train.epochs, train.seed, train.length_window)
    policy = TrainedPolicy(model, engine, objective, builder, train.batch_size, progress_of("evaluating"))
    evaluation = Evaluation(recipe.evaluators, policy, directory.path, sampler.num_steps)
    hooks = current_registry().plugins.hook
    return model, Trainer(recipe, engine, objective, builder, rows, sampler, directory, evaluation, advice, hooks)


def _check_sharing(recipe: Recipe, model: VisionLanguageModel, batch: Batch) -> None:
    """What an adapter says of itself changes every number of the run, so it is tried before it."""
    from mdpo_core.sharing import require_shared_prefix

    name = current_registry().name_of(type(recipe.model))
    require_shared_prefix(name, model, batch, flex=recipe.scoring.attention == "auto")


def _scorer(recipe: Recipe, model: VisionLanguageModel, objective: Objective) -> Scorer:
    from mdpo_core.scorer import Scorer

    options = recipe.scoring.model_copy(update={"share_prefix": recipe.shares_prefix()})
    return Scorer(model, objective.views, _load_reference(recipe), options, objective.statistics)


def _load_policy(recipe: Recipe) -> VisionLanguageModel:
    import torch

    from mdpo_core.recompute import recompute_in_backward

    torch.manual_seed(recipe.train.seed)  # of the LoRA weights
    model = recipe.model.load(recipe.backend.placement())
    recompute_in_backward(model.layers(), recipe.scoring.activation_checkpointing)
    model.set_training(True)
    return model


def _load_reference(recipe: Recipe) -> Reference | None:
    """The reference that can be had before anything is scored."""
    from mdpo_core.reference import AdapterOff, FrozenCopy

    match recipe.reference_kind():
        case "adapter_off":
            return AdapterOff()
        case "frozen_copy":
            return FrozenCopy(recipe.model.load(recipe.backend.placement(), trainable=False))
        case "cached" | None:
            return None


def progress_of(stage: str) -> Callable[[int, int], object]:
    """What a stage calls with work done and total work."""

    def report(done: int, total: int) -> None:
        current_registry().plugins.hook.mdpo_progress(stage=stage, done=done, total=total)

    return report
