"""An adapter of peft as a model: its base and the adapter are merged once, and used like any other model."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mdpo_core import DataError, Placement
from mdpo_vlm.files.folder import (
    encoder_files,
    find_folder,
    from_folder,
    has_processor,
    has_tokenizer,
    model_files,
    read_json,
    unfit,
)
from mdpo_vlm.files.kept import cache, digest_of, kept

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
# Raise this number whenever merging changes.
_VERSION = 2
_OFFER = (
    "continue_lora: true   # trains the adapter itself on, and does not merge it; lora is then what the adapter has"
)


def is_peft_folder(folder: Path) -> bool:
    """Whether a folder contains an adapter and no model."""
    return (folder / CONFIG).is_file() and not (folder / "config.json").exists()


def base_name(folder: Path, given: str | None = None) -> str:
    """The path or hub name of an adapter's model: the one that is given, or the one that the adapter names.

    peft reads relative paths from the working directory alone; here they may start in the adapter's folder, too.
    """
    if given:
        return given
    name = read_json(folder / CONFIG).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise unfit(folder / CONFIG, "base_model_name_or_path names no model; say which one it is: model.base")
    return from_folder(name, folder)


def base_folder(folder: Path, given: str | None = None) -> Path:
    """The folder of an adapter's model. Raises `DataError` if it is not there, or is an adapter itself."""
    name = base_name(folder, given)
    try:
        found = find_folder(name)
    except DataError as error:
        if given is not None:
            raise
        sought = "" if Path(name).is_absolute() else _sought(error)
        message = f"base_model_name_or_path is '{name[:200]}', which is not there{sought}"
        raise unfit(folder / CONFIG, f"{message}; say where the model is: model.base") from error
    if is_peft_folder(found):
        raise unfit(folder, f"its model, '{name[:200]}', is an adapter, too; merge that one into its model first")
    return found


def _sought(error: DataError) -> str:
    """Where no model was found. ``error``: why there is none where the command runs, and none on the hub."""
    reason = error.problems[0].message.partition(";")[0]
    of_hub = f" ({reason})" if "hub" in reason else ""
    return f", neither where the command runs nor in the adapter's folder{of_hub}"


def encoder_folder(adapter: Path, base: Path) -> Path:
    """The folder with tokenizer and processor: the adapter's, if it has them, else its model's.

    Raises `DataError` for a tokenizer without a processor.
    """
    if not has_tokenizer(adapter):
        return base
    if not has_processor(adapter):
        message = "contains a tokenizer, but no processor; save the processor beside it"
        raise unfit(adapter, f"{message}, or remove tokenizer_config.json, and both are those of its model")
    return adapter


def merged(adapter: Path, base: Path) -> Path:
    """The folder of the model ``base`` with the LoRA weights of ``adapter``; merges them at the first call.

    The sum is computed as peft computes it, in the type of the base's weights. Raises `DataError` for an adapter that
    does not fit the base, and for one that mdpo does not read.
    """
    encoder_folder(adapter, base)  # refuses a half of it before the weights are read
    files = [*model_files(base), *encoder_files(base), *adapter_files(adapter), *encoder_files(adapter)]
    name = f"{adapter.resolve().name}-{digest_of([_VERSION, str(base.resolve())], files)}"
    about = f"merging the adapter {adapter} into its model {base}"
    remedy = "name a folder that can be written in $MDPO_CACHE"
    return kept(cache() / "merged", name, about, ("merged models", remedy), partial(_merge, adapter, base))


def adapter_folder(folder: Path) -> Path:
    """``folder``, which must contain an adapter alone. Raises `DataError`."""
    if not is_peft_folder(folder):
        raise unfit(folder, "is a whole model and no adapter that could be trained on; leave model.continue_lora out")
    return folder


def adapter_files(adapter: Path) -> list[Path]:
    """The files of an adapter. Raises `DataError` if one is missing."""
    if not (adapter / TENSORS).is_file():
        raise unfit(adapter, f"{TENSORS} is missing; {CONFIG} alone is no adapter. Save it as safetensors")
    return [adapter / CONFIG, adapter / TENSORS]


def _merge(adapter: Path, base: Path, folder: Path) -> None:
    from mdpo_vlm.files.config import load_config
    from mdpo_vlm.files.saving import save_model
    from mdpo_vlm.loading.pretrained import read_weights
    from mdpo_vlm.loading.shapes import without_weights
    from mdpo_vlm.parts.adapter_folder import require_adapter
    from mdpo_vlm.parts.lora import merged_lora, read_lora

    require_adapter(adapter, without_weights(base))
    dtype = str(getattr(load_config(base), "dtype", None) or "float32").removeprefix("torch.")
    model = read_weights(base, Placement("cpu", dtype))  # type: ignore[arg-type]  # whatever the base is stored in
    save_model(merged_lora(read_lora(model, adapter, "cpu")), folder)
    for file in encoder_files(encoder_folder(adapter, base)):
        shutil.copyfile(file, folder / file.name)


def whole_model(folder: Path, given: str | None, model_at: Callable[[str], Path]) -> Path:
    """``folder`` itself, or for an adapter the merged model. ``model_at(path)``: a model in transformers' layout."""
    if is_peft_folder(folder):
        return merged(folder, model_at(str(base_folder(folder, given))))
    if (folder / CONFIG).is_file() and (folder / TENSORS).is_file():
        message = f"contains a model and an adapter ({CONFIG}), which transformers would put on, and mdpo would not"
        raise unfit(folder, f"{message}; move one of them to another folder")
    if given is not None:
        raise unfit(folder, "is a whole model and no adapter, so it has no base; leave model.base out")
    return folder


def described(path: str) -> Path:
    """The folder whose ``config.json`` says what the model at ``path`` is; merges nothing."""
    folder = find_folder(path)
    return base_folder(folder) if is_peft_folder(folder) else folder


def offer_for(path: str) -> str:
    """The option for an adapter at ``path`` that `mdpo new-recipe` offers; empty for a model."""
    return _OFFER if is_peft_folder(find_folder(path)) else ""
