"""The processor of a model, loaded so that its results are the same on every machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoImageProcessor, AutoProcessor, AutoTokenizer, PreTrainedConfig, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from mdpo_vlm.files.damage import reading
from mdpo_vlm.files.folder import unfit


def load_processor(folder: Path, model: Path) -> tuple[ProcessorMixin, int]:
    """Image processor and tokenizer in one, and the id of the token that stands for a patch of an image.

    ``model`` is the folder whose configuration names the class of the processor. Videos are not supported. Pillow
    processes the images, so that results do not depend on whether torchvision is installed.
    """
    config = _vision_language_config(model)
    with reading(folder, "processor"):
        processor = _processor(folder, PROCESSOR_MAPPING.get(type(config), None))
    _require_image_token(processor, config, folder)
    return processor, config.image_token_id


def _vision_language_config(model: Path) -> PreTrainedConfig:
    file = model / "config.json"
    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    except (ValueError, KeyError) as error:
        raise unfit(file, f"transformers cannot read it: {' '.join(str(error).split())}") from error
    if getattr(config, "image_token_id", None) is None:
        raise unfit(file, f"models of type '{config.model_type}' take no images, or have no image token")
    return config


def _processor(folder: Path, kind: type[ProcessorMixin] | None) -> ProcessorMixin:
    if kind is None or "video_processor" not in kind.get_attributes():
        return AutoProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
    parts = [
        AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False),
        AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
        None,
    ]
    options, _ = kind.get_processor_dict(folder)
    return _without_videos(kind).from_args_and_dict(parts, options)


def _require_image_token(processor: ProcessorMixin, config: PreTrainedConfig, folder: Path) -> None:
    if processor.image_token not in processor.tokenizer.get_vocab():
        raise unfit(folder, f"the tokenizer has no image token {processor.image_token!r}")
    # Gemma's processor names the token before an image; its tokenizer names the image token.
    found = processor.image_token_id
    if config.image_token_id not in (found, getattr(processor.tokenizer, "image_token_id", None)):
        ids = f"{found} in the tokenizer and {config.image_token_id} in config.json"
        raise unfit(folder, f"the image token is {ids}; they belong to different models")


def _without_videos(kind: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """The processor class, changed to accept None as its video processor, which it calls only for videos."""

    def check_argument_for_proper_class(self: ProcessorMixin, name: str, argument: Any) -> Any:
        return None if argument is None else kind.check_argument_for_proper_class(self, name, argument)

    checked = {"check_argument_for_proper_class": check_argument_for_proper_class, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), checked)
