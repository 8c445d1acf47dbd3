"""What an exported folder says of itself: digests, which tell whether it was changed, and how the model is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from mdpo_core.errors import CheckpointError, DataError, PluginError, Problem, RecipeError, first_line
from mdpo_core.interfaces.adapter import ModelAdapter
from mdpo_core.interfaces.model import Dtype
from mdpo_core.recipe.recipe import Recipe
from mdpo_core.registry.discovery import current_registry
from mdpo_core.storage.files import read_json_object, sha256
from mdpo_core.storage.metrics_file import MetricsFile

if TYPE_CHECKING:
    from torch import Tensor

EXPORTED = "exported.json"
_BEST = "best"
# Files beside a model that no program loads.
_BESIDE = (".md", ".gitattributes", ".gitignore", ".png", ".log")


def write_digests(folder: Path, base: Mapping[str, str], reading: Mapping[str, Any] | None = None) -> None:
    """Write the digests of all files in ``folder`` into it, and those of the model ``base`` that they belong to.

    ``reading``: what `how_to_read` gives again.
    """
    content = {"files": digests(folder), "base": dict(sorted(base.items())), **(reading or {})}
    (folder / EXPORTED).write_text(json.dumps(content, indent=2))


def digests(folder: Path) -> dict[str, str]:
    """The digest of each file in a folder. Raises `RecipeError` if there is no file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    if not files:
        raise RecipeError(f"'{folder}' contains no files; give an exported model, such as final/ of a run directory")
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def reading_of(adapter: ModelAdapter, dtype: Dtype) -> dict[str, Any]:
    """How a model is read that an adapter exports: the adapter with its options, and the type of the weights."""
    options = {adapter.kind: adapter.component_name()} | adapter.model_dump(mode="json")
    return {"model": options, "dtype": dtype}


def told_of_best(recipe: Recipe, metrics: MetricsFile, step: int) -> dict[str, Any]:
    """What the model of the best step says of itself: by which metric it was the best, and with which value."""
    goal = recipe.output.keep_best
    assert goal is not None, "a recipe whose run has a best step"
    return {_BEST: {"metric": goal.metric, "step": step, "value": metrics.evaluations()[step][goal.metric]}}


def best_of(folder: Path) -> str:
    """``eval/preference/loss 0.41 after step 20`` for the best model of a run; empty for other folders."""
    try:
        best = read_json_object(folder / EXPORTED)[_BEST]
        return f"{best['metric']} {best['value']:.4g} after step {best['step']}"
    except (ValueError, KeyError, TypeError):
        return ""


def best_step_of(folder: Path) -> int | None:
    """The steps after which the best model of a run was best; None for other folders."""
    try:
        return int(read_json_object(folder / EXPORTED)[_BEST]["step"])
    except (ValueError, KeyError, TypeError):
        return None


def how_to_read(folder: Path) -> tuple[ModelAdapter, Dtype] | None:
    """The adapter that exported ``folder``, and the type of the weights; None if the folder does not say it.

    Raises `DataError` if what it says cannot be used.
    """
    if not (folder / EXPORTED).is_file():
        return None
    content = _content(folder / EXPORTED)
    if "model" not in content:
        return None
    try:
        options = dict(content["model"])
        cls = current_registry().get(ModelAdapter.kind, options.pop(ModelAdapter.kind))
        adapter = cls.model_validate_json(json.dumps(options))
        assert isinstance(adapter, ModelAdapter)
        return adapter, TypeAdapter(Dtype).validate_python(content["dtype"])
    except (PluginError, ValueError, KeyError, TypeError) as error:
        message = f"how the model is read cannot be used ({first_line(error)}); give the run directory instead"
        raise DataError([Problem(str(folder / EXPORTED), "model", message)]) from error


def missing_files(folder: Path) -> list[str]:
    """The names of exported files that are not in the folder any more; empty if it has no digests."""
    if not (folder / EXPORTED).is_file():
        return []
    return [name for name in _digests(folder / EXPORTED)["files"] if not (folder / name).is_file()]


def require_as_exported(
    folder: Path, found: Mapping[str, str], base: Mapping[str, str], remedy: str = "set model.path"
) -> None:
    """Raise `DataError` if files in ``folder`` have changed since it was exported, or belong to another model.

    ``found``: the digests of its files; ``base``: those of the recipe's model, which ``remedy`` changes. A folder
    without digests was not exported by mdpo, or by an earlier version; it passes.
    """
    if EXPORTED not in found:
        return
    written = _digests(folder / EXPORTED)
    others = [name for name in found.keys() - {EXPORTED} if not name.endswith(_BESIDE) and not _is_hidden(name)]
    changed = sorted(name for name in {*others, *written["files"]} if found.get(name) != written["files"].get(name))
    if changed:
        message = (
            f"{', '.join(changed)}: changed, added or removed since the export; export the run again, or remove "
            f"{EXPORTED} if the change is wanted"
        )
        raise DataError([Problem(str(folder), "", message)])
    differ = sorted(name for name, digest in written["base"].items() if base.get(name) != digest)
    if differ:
        message = f"it was trained from another model than the recipe's: {', '.join(differ)} differ; {remedy}"
        raise DataError([Problem(str(folder), "", message)])


def _is_hidden(name: str) -> bool:
    """Whether a file belongs to a download or a file manager: ``.cache/``, ``.DS_Store``."""
    return any(part.startswith(".") for part in Path(name).parts)


def belongs_to_another(folder: Path) -> bool:
    """Whether the folder says that it belongs to a model that lies elsewhere."""
    return (folder / EXPORTED).is_file() and bool(_digests(folder / EXPORTED)["base"])


def _digests(file: Path) -> Mapping[str, Mapping[str, str]]:
    content = _content(file)
    return {part: content[part] for part in ("files", "base")}


def _content(file: Path) -> dict[str, Any]:
    try:
        content = dict(json.loads(file.read_text()))
        return content | {part: dict(content[part]) for part in ("files", "base")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        message = "cannot be read as the digests of an export; export the run again, or remove the file"
        raise DataError([Problem(str(file), "", message)]) from error


def require_finite_logits(logits: Tensor) -> None:
    """Raise `CheckpointError` if the trained model's logits are NaN or infinite: no export of it is of use."""
    if not bool(logits.isfinite().all()):
        raise CheckpointError(
            "the trained model's logits are not finite, so it was not exported: training has diverged; lower "
            "train.learning_rate and train again, or export an earlier checkpoint"
        )
