"""Writes the trained model of a checkpoint for transformers or peft, and loads it again to check it."""

from __future__ import annotations

import gc
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mdpo_core.errors import CheckpointError, DataError, RecipeError
from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.interfaces.model import Placement
from mdpo_core.interfaces.plugin_results import code_of, placement_of
from mdpo_core.listeners import stage
from mdpo_core.recipe.loading import load_recipe
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.remedies import option
from mdpo_core.storage.checkpoints import saved_state, verify
from mdpo_core.storage.exported import best_step_of, reading_of, require_finite_logits, told_of_best, write_digests
from mdpo_core.storage.files import atomic_folder, remove_unfinished, sha256
from mdpo_core.storage.run_directory import RunDirectory, read_manifest
from mdpo_core.types.batch import same_inputs
from mdpo_core.types.engine_state import POLICY_PREFIX
from mdpo_core.types.example import Example
from mdpo_core.types.layout import PaddedView, pad_view
from mdpo_core.types.marks import IMAGE_MARK

if TYPE_CHECKING:
    from torch import Tensor

    from mdpo_core.interfaces.model import Encoder, VisionLanguageModel
    from mdpo_core.types.batch import ImageInputs
    from mdpo_core.types.engine_state import SavedEngineState

# The prefix of the policy's weights in a checkpoint.
_POLICY = f"weight:{POLICY_PREFIX}"
# Relative difference of logits that is accepted when LoRA is merged or added in another order: about three times the
# difference measured with 32 layers of random weights. Two other checks are stricter: weights are compared bit for bit,
# and the contract of adapters tests merging in float32.
_ROUNDING = {"float32": 1e-4, "float16": 3e-2, "bfloat16": 2e-1}
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_QUESTION = f"{IMAGE_MARK}\nWhat is in the picture?"
_ANSWER = "A ramp of three colours."


def export_run(
    run_dir: Path, out: Path, *, step: int | None = None, merge: bool = False, base: str | None = None
) -> Path:
    """Export a run's model after ``step`` steps (default: the newest checkpoint). Returns the checkpoint.

    ``base``: the path or hub name that exported LoRA weights give for their model; None: where the run read it.
    Raises `RecipeError` if something is missing or ``out`` is not empty, `CheckpointError` if files are damaged or have
    changed.
    """
    directory = RunDirectory(run_dir)
    if not directory.recipe.is_file():
        raise RecipeError(
            f"{run_dir} is not a run directory: it does not contain {directory.recipe.name}{_of_run(run_dir)}"
        )
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise RecipeError(f"{out} already exists and is not empty; choose another folder with {option('--out DIR')}")
    checkpoint = chosen_checkpoint(directory, step)
    recipe = load_recipe(directory.recipe)
    named = None if base is None else _named(base, complete=merge or not recipe.model.has_lora)
    recipe.model.unquantized.without_kernels.check()
    require_same_model(recipe.model, directory.manifest)
    export_checkpoint(recipe, checkpoint, out.resolve(), merge=merge, base=named)
    return checkpoint


def _of_run(folder: Path) -> str:
    """For what a run exported: how its checkpoint is named; empty for any other folder."""
    run = RunDirectory(folder.absolute().parent)
    if not (folder.is_dir() and run.recipe.is_file()):
        return ""
    step = best_step_of(folder)
    at = "" if step is None else f" {option(f'--step {step}')}"
    return f"; it was exported from a run, whose checkpoint is {folder.parent}{at}"


def export_models(recipe: Recipe, directory: RunDirectory, best_step: int | None) -> None:
    """Write the newest checkpoint's model to ``final`` and, if there is a best step, that one's to ``best`` before."""
    remove_unfinished(directory.path)
    checkpoints = directory.checkpoints.by_step()
    with stage("exporting the model"):
        if best_step is not None and not directory.best.is_dir():
            told = told_of_best(recipe, directory.metrics, best_step)
            export_checkpoint(recipe, checkpoints[best_step], directory.best, told=told)
        # A checkpoint has the same form for every backend.
        export_checkpoint(recipe, checkpoints[max(checkpoints)], directory.final)


def _named(base: str, complete: bool) -> str:
    """An absolute path or a hub name for ``--base``. Raises `RecipeError` for anything else."""
    if complete:
        base = option("--base")
        raise RecipeError(f"{base}: the export is a complete model, which belongs to no other; leave {base} out")
    path = Path(base).expanduser()
    if base and path.is_dir():
        return str(path.absolute())
    if path.is_absolute() or _HUB_NAME.fullmatch(base):
        return base
    raise RecipeError(
        f"{option(f'--base {base}')}: this folder does not exist, and other programs would look for it in their own "
        "working directory; give an absolute path, or a name on the hub, such as llava-hf/llava-1.5-7b-hf"
    )


def export_checkpoint(
    recipe: Recipe,
    checkpoint: Path,
    out: Path,
    *,
    merge: bool = False,
    base: str | None = None,
    told: dict[str, Any] | None = None,
) -> None:
    """Write the model of a checkpoint and its processor into ``out``. Any backend may have saved the checkpoint.

    Works on the CPU, in the run's type of weights, with one copy of the model in memory at a time. A model with
    quantized weights is exported with the original weights instead. ``merge``: LoRA is merged into the weights.
    ``base``: where LoRA weights say that their model is. ``told``: what exported.json says besides. The export is
    loaded again; unless it gives the same logits, ``out`` stays absent.
    """
    if merge and not recipe.model.has_lora:
        raise RecipeError(
            f"{option('--merge')}: the run trained the weights themselves, so there is no LoRA to merge; leave it out"
        )
    state = saved_state(checkpoint, verify(checkpoint))
    adapter = recipe.model.unquantized.without_kernels
    placement = Placement("cpu", placement_of(recipe.backend).dtype)
    # Create the folder first, so that a missing write permission shows before a model is loaded.
    with atomic_folder(out) as folder:
        with code_of(adapter, "load"):
            model = adapter.load(placement)
        restore(model, state, checkpoint)
        trained = _TrainedModel.of(model, adapter.encoder())
        with code_of(adapter, "export"):
            model.export(folder, merge=merge)
            if base is not None:
                adapter.name_base(folder, base)
        del model
        gc.collect()  # frees modules that hold references to their own methods
        encoder, exported = _loaded_again(adapter, folder, placement)
        trained.require_encoder(encoder)
        trained.require_merged(exported) if merge else trained.require_weights(exported, state)
        trained.require_logits(exported, _ROUNDING[placement.dtype])
        reading = reading_of(adapter.in_full(), placement.dtype) | (told or {})
        write_digests(folder, {} if merge else _base_digests(recipe.model, folder, checkpoint), reading)


def _base_digests(adapter: ModelAdapter, folder: Path, checkpoint: Path) -> Mapping[str, str]:
    """The digests of the model that an exported adapter is put on, from the run's manifest; none for a whole model."""
    if not adapter.has_lora:
        return {}
    written = dict(read_manifest(RunDirectory(checkpoint.parents[1]).manifest)["model"])
    files = {file.absolute() for file in adapter.files()}
    return {file.name: written[file.name] for file in adapter.beside_lora.files() if file.absolute() in files}


def chosen_checkpoint(directory: RunDirectory, step: int | None) -> Path:
    """The checkpoint after ``step`` steps; None: the newest."""
    directory.checkpoints.require_whole()
    by_step = directory.checkpoints.by_step()
    if not by_step:
        raise RecipeError(f"{directory.path} has no checkpoint yet")
    if step is None:
        return by_step[max(by_step)]
    if step not in by_step:
        raise RecipeError(f"{directory.path} has no checkpoint of step {step}  (steps: {', '.join(map(str, by_step))})")
    return by_step[step]


def require_same_model(adapter: ModelAdapter, manifest: Path) -> None:
    """Raise `CheckpointError` if files of the model have changed since the run began."""
    then = read_manifest(manifest)["model"]
    now = {file.name: sha256(file) for file in adapter.files()}
    changed = sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))
    if changed:
        raise CheckpointError(
            f"the model has changed since the run began ({manifest}): {', '.join(changed)}; restore it"
        )


def restore(model: VisionLanguageModel, state: SavedEngineState, checkpoint: Path) -> None:
    """Copy the saved weights into every parameter that trains."""
    import torch

    trained = {f"{_POLICY}{name}": value for name, value in model.module.named_parameters() if value.requires_grad}
    try:
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(state.whole(name, parameter.shape))
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint} belongs to another model: {error}") from error
    # Probes belong to the objective and are not exported.
    unused = sorted(name for name in state if name.startswith(_POLICY) and name not in trained)
    if unused:
        raise CheckpointError(
            f"{checkpoint} belongs to another model: it has weights that this one does not train: {unused[:3]}"
        )


def _loaded_again(adapter: ModelAdapter, folder: Path, placement: Placement) -> tuple[Encoder, VisionLanguageModel]:
    try:
        with code_of(adapter, "load_exported"):
            return adapter.load_exported(folder, placement)
    except DataError as error:
        raise CheckpointError(f"the exported model does not load: {error}") from error


@dataclass(frozen=True)
class _TrainedModel:
    """What the exported model must equal, so that the two models need not be in memory together.

    ``shapes``: the shapes of all parameters by name. ``trained``: the names of the parameters that trained. ``rows``
    and ``images``: the test input. ``logits``: the trained model's logits for it, ``(1, time, vocab)``, float32.
    """

    shapes: Mapping[str, tuple[int, ...]]
    trained: Sequence[str]
    rows: PaddedView
    images: Sequence[ImageInputs]
    logits: Tensor

    @classmethod
    def of(cls, model: VisionLanguageModel, encoder: Encoder) -> Self:
        rows, images = _test_input(encoder)
        logits = _logits(model, rows, images)
        require_finite_logits(logits)
        trained = [name for name, value in model.module.named_parameters() if value.requires_grad]
        return cls(_shapes(model), trained, rows, images, logits)

    def require_encoder(self, encoder: Encoder) -> None:
        rows, images = _test_input(encoder)
        if not rows.token_ids.equal(self.rows.token_ids) or not all(map(same_inputs, images, self.images)):
            raise CheckpointError(
                "the exported processor encodes text or images differently from the one used in training"
            )

    def require_weights(self, exported: VisionLanguageModel, state: SavedEngineState) -> None:
        """Check that the exported model has every parameter, and that trained ones are equal bit for bit."""
        shapes = _shapes(exported)
        wrong = sorted(name for name in shapes.keys() | self.shapes.keys() if shapes.get(name) != self.shapes.get(name))
        if wrong:
            raise CheckpointError(f"the exported model has missing, extra or reshaped parameters: {wrong[:3]}")
        values = dict(exported.module.named_parameters())
        for name in self.trained:
            value = values[name].detach()
            if not value.equal(state.whole(f"{_POLICY}{name}", value.shape).to(value.dtype)):
                raise CheckpointError(f"the exported model has other values of {name} than the trained model")

    def require_merged(self, exported: VisionLanguageModel) -> None:
        """Check that the exported model has the parameter shapes of the base model without LoRA; names may differ."""
        expected = Counter(shape for name, shape in self.shapes.items() if name not in set(self.trained))
        merged = Counter(_shapes(exported).values())
        if merged != expected:
            missing, extra = sorted((expected - merged).elements()), sorted((merged - expected).elements())
            raise CheckpointError(
                f"the exported model lacks parameters of the shapes {missing[:3]}, and has extra ones of {extra[:3]}"
            )

    def require_logits(self, exported: VisionLanguageModel, rounding: float) -> None:
        logits = _logits(exported, self.rows, self.images)
        difference = float((logits - self.logits).norm() / self.logits.norm())
        # `difference > rounding` would let NaN pass.
        if not difference <= rounding:
            raise CheckpointError(
                f"the exported model gives other logits than the trained model: the relative difference is "
                f"{difference:.1e}, but rounding explains at most {rounding:.0e}"
            )


def _shapes(model: VisionLanguageModel) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.module.named_parameters()}


def _test_input(encoder: Encoder) -> tuple[PaddedView, Sequence[ImageInputs]]:
    """An encoded question about a picture with its answer, and the encoded picture."""
    from PIL import Image

    ramp = Image.linear_gradient("L")
    picture = Image.merge("RGB", (ramp, ramp.rotate(90), ramp.rotate(180)))
    prompt = encoder.encode_prompt(Example("probe", _QUESTION, {}, (picture,)))
    return pad_view([prompt.token_ids], [encoder.encode_response(_ANSWER)]), prompt.images


def _logits(model: VisionLanguageModel, rows: PaddedView, images: Sequence[ImageInputs]) -> Tensor:
    import torch

    with torch.no_grad():
        hidden = model.hidden_states(rows, model.encode_images(images))
        return model.logits(hidden).float()
