"""Where a trained model is: in a run directory, or in an exported folder; and how it is loaded from there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mdpo_core.errors import DataError, RecipeError
from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.interfaces.backend import Backend
from mdpo_core.interfaces.model import Dtype, Placement, VisionLanguageModel
from mdpo_core.interfaces.plugin_results import code_of, placement_of
from mdpo_core.recipe.loading import load_sections
from mdpo_core.remedies import either, option
from mdpo_core.storage.checkpoints import saved_state, verify
from mdpo_core.storage.export import chosen_checkpoint, require_same_model, restore
from mdpo_core.storage.exported import belongs_to_another, digests, how_to_read, require_as_exported
from mdpo_core.storage.files import sha256
from mdpo_core.storage.run_directory import RunDirectory, expanded

# A folder with one of these files holds a model that transformers or peft saved.
_MODELS = ("config.json", "adapter_config.json")


@dataclass(frozen=True)
class FoundModel:
    """A trained model on the disk, whose files were checked; no weights are loaded yet.

    ``adapter`` reads it: from ``folder``, where it was exported, or by ``checkpoint``, which is laid over the untrained
    model. ``untrained``: the adapter of the model before training. ``dtype``: the type of the weights.
    """

    adapter: ModelAdapter
    untrained: ModelAdapter
    dtype: Dtype
    folder: Path | None = None
    checkpoint: Path | None = None

    def load(self, device: str) -> VisionLanguageModel:
        """The trained model, ready to generate."""
        placement = Placement(device, self.dtype)
        model = self._from_checkpoint(placement) if self.folder is None else self._from_folder(self.folder, placement)
        model.set_training(False)
        return model

    def _from_folder(self, folder: Path, placement: Placement) -> VisionLanguageModel:
        with code_of(self.adapter, "load_exported"):
            return self.adapter.load_exported(folder, placement)[1]

    def _from_checkpoint(self, placement: Placement) -> VisionLanguageModel:
        assert self.checkpoint is not None
        state = saved_state(self.checkpoint, verify(self.checkpoint))
        with code_of(self.adapter, "load"):
            model = self.adapter.load(placement)
        restore(model, state, self.checkpoint)
        return model

    def load_untrained(self, device: str) -> VisionLanguageModel:
        """The model before training."""
        with code_of(self.untrained, "load"):
            return self.untrained.load(Placement(device, self.dtype), trainable=False)

    def require_untrained(self) -> None:
        """Raise `RecipeError` or `DataError` if the model before training is not there. Reads no weights."""
        _require_there(self.untrained)
        self.untrained.check()


def find_trained(path: Path, step: int | None = None, base_path: str | None = None) -> FoundModel:
    """The trained model of a run directory or of an exported folder.

    ``step``: the checkpoint after this step; None: ``final``, or the newest checkpoint of a run that has not ended.
    ``base_path``: where the model is now that was trained. Raises `RecipeError`, `DataError` or `CheckpointError` if
    something is missing, damaged or changed; loads no weights.
    """
    path = expanded(path)
    if not path.is_dir():
        raise RecipeError(f"'{path}' is not a folder; give a run directory, or an exported model such as RUN/final")
    directory = RunDirectory(path)
    if not directory.recipe.is_file():
        if step is not None:
            raise RecipeError(
                f"{option(f'--step {step}')}: '{path}' is not a run directory, so it has no checkpoints; leave "
                f"{option('--step')} out"
            )
        return _exported(path, base_path)
    if step is None and directory.final.is_dir():
        return _exported(directory.final, base_path)
    return _of_checkpoint(directory, step, base_path)


def _of_checkpoint(directory: RunDirectory, step: int | None, base_path: str | None) -> FoundModel:
    if not directory.checkpoints.by_step():
        raise RecipeError(
            f"'{directory.path}' has no model yet: neither {directory.final.name}/ nor a checkpoint; wait until the "
            "run saves one (output.save_every), or resume it"
        )
    checkpoint = chosen_checkpoint(directory, step)
    adapter, dtype = _of_recipe(directory.recipe)
    adapter = (adapter if base_path is None else adapter.at(base_path)).unquantized.without_kernels
    _require_there(adapter)
    adapter.check()
    require_same_model(adapter, directory.manifest)
    return FoundModel(adapter, adapter, dtype, checkpoint=checkpoint)


def _exported(folder: Path, base_path: str | None) -> FoundModel:
    adapter, dtype = _how_to_read(folder)
    reads = adapter.for_exported(folder)
    # LoRA weights know best where their model is: `mdpo export --base` may have said it.
    untrained = reads if reads.has_lora and adapter.beside_lora is adapter else adapter
    if base_path is not None:
        untrained = untrained.at(base_path)
        reads = untrained.beside_lora if reads.has_lora else reads
    _require_there(reads)
    base: dict[str, str] = {}
    if belongs_to_another(folder):
        reads.check()
        base = {file.name: sha256(file) for file in reads.files()}
    require_as_exported(folder, digests(folder), base, _place())
    reads.check_exported(folder, same_base=bool(base))
    return FoundModel(reads, untrained, dtype, folder=folder)


def _how_to_read(folder: Path) -> tuple[ModelAdapter, Dtype]:
    """The adapter of an exported folder: the folder says it, or the recipe of the run that it lies in."""
    said = how_to_read(folder)
    if said is not None:
        return said
    run = RunDirectory(folder.absolute().parent)
    if not any((folder / name).is_file() for name in _MODELS):
        raise RecipeError(
            f"'{folder}' is neither a run directory, which has a {run.recipe.name}, nor an exported model, which has a "
            f"{' or an '.join(_MODELS)}"
        )
    if run.recipe.is_file():
        return _of_recipe(run.recipe)
    raise DataError(
        f"'{folder}' does not say which adapter reads it: mdpo did not export it, or an earlier version did; export "
        f"the run again{either(' with mdpo export', '')}, or give the run directory"
    )


def _of_recipe(recipe: Path) -> tuple[ModelAdapter, Dtype]:
    model, backend = load_sections(recipe, "model", "backend")
    assert isinstance(model, ModelAdapter)
    assert isinstance(backend, Backend)
    return model.unquantized.without_kernels, placement_of(backend).dtype


def _place() -> str:
    return f"say where it is with {option('--base-path PATH')}"


def _require_there(adapter: ModelAdapter) -> None:
    lost = adapter.lost
    if lost is not None:
        raise RecipeError(f"the model before training, '{lost}', is not found: was it moved? If so, {_place()}")
