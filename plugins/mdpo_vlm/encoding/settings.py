"""Settings of a tokenizer and a processor: what older files leave out, and what would never end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, ProcessorMixin

from mdpo_vlm.files.folder import read_json, unfit

# A tokenizer's normalizer may replace a letter by several letters; this is the largest number of them.
_LARGEST_GROWTH = 1000
_LONGEST_SIDE, _MOST_PIXELS = 2**14, 2**28
_ADDITIONAL = "num_additional_image_tokens"
# Vision encoders with a class token before the patches.
_CLASS_TOKEN = ("clip_vision_model",)


def complete(processor: ProcessorMixin, config: PreTrainedConfig, folder: Path) -> None:
    """Fill in what the files of older versions of transformers leave to ``config``, as they were used then.

    Without these settings, processors of the LLaVA family cannot count the tokens of an image.
    """
    vision = getattr(config, "vision_config", None)
    sources = {"patch_size": vision, "vision_feature_select_strategy": config}
    for name, source in sources.items():
        if getattr(processor, name, "") is None and getattr(source, name, None) is not None:
            setattr(processor, name, getattr(source, name))
    if hasattr(processor, _ADDITIONAL) and not _is_written(folder, _ADDITIONAL):
        setattr(processor, _ADDITIONAL, int(getattr(vision, "model_type", None) in _CLASS_TOKEN))


def _is_written(folder: Path, name: str) -> bool:
    files = (folder / "processor_config.json", folder / "preprocessor_config.json")
    return any(read_json(file).get(name) is not None for file in files if file.is_file())


def require_sizes(processor: ProcessorMixin, folder: Path) -> None:
    """Raise `DataError` for numbers that make more of a picture than memory holds, or nothing."""
    images = processor.image_processor
    # Processors that merge patches count all pixels, others those of a side.
    largest = _MOST_PIXELS if hasattr(images, "merge_size") else _LONGEST_SIDE
    for name in ("size", "crop_size", "pad_size"):
        for key, number in _items(getattr(images, name, None)):
            if isinstance(number, int) and not 0 < number <= largest:
                raise unfit(
                    folder, f"{name}.{key} of its image processor is {number}; give a number from 1 to {largest}"
                )
    for name, least in (("patch_size", 1), (_ADDITIONAL, 0)):
        number = getattr(processor, name, None)
        if isinstance(number, int) and not least <= number <= _LONGEST_SIDE:
            raise unfit(folder, f"{name} of its processor is {number}; give a number from {least} to {_LONGEST_SIDE}")


def require_types(processor: ProcessorMixin, folder: Path) -> None:
    """Raise `DataError` for switches and filters of the image processor that it would read as something else."""
    images = processor.image_processor
    for name, value in sorted(vars(images).items()):
        if name.startswith("do_") and not isinstance(value, bool | None):
            raise unfit(folder, f"{name} of its image processor is {value!r}; it must be true or false")
    for name, kind in (("resample", int), ("rescale_factor", int | float)):
        value = getattr(images, name, None)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise unfit(folder, f"{name} of its image processor is {value!r}; it must be a number")


def _items(size: Any) -> Iterator[tuple[str, Any]]:
    """The numbers of a size by name; transformers has mappings and objects with such attributes."""
    if isinstance(size, Mapping):
        yield from size.items()
    elif size is not None and hasattr(size, "__dict__"):
        yield from vars(size).items()


def require_bounded(folder: Path) -> None:
    """Raise `DataError` for a tokenizer that multiplies text, as tokenizers cannot be interrupted, or draws lots."""
    file = folder / "tokenizer.json"
    if not file.is_file():
        return
    content = read_json(file)
    model = content.get("model")
    if isinstance(model, Mapping) and model.get("dropout"):
        raise unfit(file, "model.dropout makes other tokens of the same text each time; set it to null")
    growth = 1
    for normalizer in [*_steps(content.get("normalizer")), *_steps(content.get("pre_tokenizer"))]:
        growth *= max(1, _added_letters(normalizer))
    if growth > _LARGEST_GROWTH:
        raise unfit(
            file, f"its normalizer makes {growth} letters of one, as no valid tokenizer does; download it again"
        )


def _steps(part: Any) -> Iterator[Mapping[str, Any]]:
    """The normalizers, or pre-tokenizers, that a sequence calls one after another."""
    if not isinstance(part, Mapping):
        return
    yield part
    for name in ("normalizers", "pretokenizers"):
        inner = part.get(name)
        for each in inner if isinstance(inner, list) else ():
            yield from _steps(each)


def _added_letters(normalizer: Mapping[str, Any]) -> int:
    text = normalizer.get("content") if normalizer.get("type") == "Replace" else normalizer.get("prepend")
    return len(text) if isinstance(text, str) else 1
