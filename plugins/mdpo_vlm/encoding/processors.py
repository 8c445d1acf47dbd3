"""Load the processor of a model, so that its results are the same on every machine."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, PreTrainedConfig, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from mdpo_vlm.encoding.settings import complete, require_bounded, require_sizes, require_types
from mdpo_vlm.encoding.torchvision_only import image_processor_without_torchvision
from mdpo_vlm.files.config import image_token_id, load_config
from mdpo_vlm.files.damage import reading
from mdpo_vlm.files.folder import encoder_files, require_tokenizer, unfit
from mdpo_vlm.files.known import require_known

_SECONDS = 60.0
_FAILURE = "its processor cannot be loaded"
_REMEDY = "download the model again, or save its processor beside it"
# Processors that cannot be made without a video processor's settings.
_READ_VIDEO_SETTINGS = ("MiniCPMV4_6Processor", "MiniCPMV4_7Processor")
_PIXTRAL = "PixtralProcessor"
# Model types that are a part of another, and have its processor.
_PART_OF = {"qwen3_omni_moe_thinker": "qwen3_omni_moe"}
# The image token, where a processor writes another one than the mark that it replaces, and does not say which.
_WRITTEN = {"Ovis2Processor": "<IMG_ATOM>", "Molmo2Processor": "<im_patch>"}


def load_processor(folder: Path, model: Path) -> tuple[ProcessorMixin, PreTrainedConfig]:
    """Image processor and tokenizer in one, and the model's configuration.

    ``model`` is the folder whose configuration names the class of the processor. Videos are not supported. Pillow
    processes the images, or torch those of models that transformers prepares with torchvision alone, so that results do
    not depend on whether torchvision is installed.
    """
    config = _vision_language_config(model)
    require_tokenizer(folder)
    # AutoProcessor asks config.json for what the other files do not say.
    own = [file for file in (folder / "config.json",) if file.is_file()]
    with reading(folder, _FAILURE, [*own, *encoder_files(folder)], _SECONDS, _REMEDY) as staged:
        require_bounded(folder)
        processor = _processor(staged, config)
        complete(processor, config, folder)
        require_types(processor, folder)
        require_sizes(processor, folder)
        _require_image_token(processor, config, folder)
        _require_end(processor, folder)
    return processor, config


def image_text(processor: ProcessorMixin) -> str:
    """The image token that a processor writes, once for each feature of an image."""
    written = getattr(processor, "img_patch_token", None) or _WRITTEN.get(type(processor).__name__)
    return str(written or processor.image_token)


def numbers_of(tokens: Sequence[str], folder: Path) -> list[int]:
    """The numbers of special tokens in a tokenizer; those that it lacks are left out. Raises `DataError`."""
    with reading(folder, _FAILURE, encoder_files(folder), _SECONDS, _REMEDY) as staged:
        vocabulary = AutoTokenizer.from_pretrained(staged, trust_remote_code=False).get_vocab()
    return [vocabulary[token] for token in tokens if token in vocabulary]


def class_that_needs_torchvision(model: Path) -> str:
    """The processor class of the model in a folder if transformers makes it only with torchvision; else nothing."""
    config = load_config(model)
    kind, own = _class_of(config), image_processor_without_torchvision(config.model_type)
    return kind.__name__ if kind is not None and (own is not None or _needs_torchvision(kind)) else ""


def _class_of(config: PreTrainedConfig) -> type[ProcessorMixin] | None:
    kind: type[ProcessorMixin] | None = PROCESSOR_MAPPING.get(_whole_config(config), None)
    return kind


def _whole_config(config: PreTrainedConfig) -> type[PreTrainedConfig]:
    whole = _PART_OF.get(config.model_type)
    return type(config) if whole is None else CONFIG_MAPPING[whole]


def _needs_torchvision(kind: type[ProcessorMixin]) -> bool:
    """Whether the class has a video processor, or shares a file with code that needs torchvision, as these do."""
    return kind.__name__ == _PIXTRAL or "video_processor" in kind.get_attributes()


def _vision_language_config(model: Path) -> PreTrainedConfig:
    require_known(model / "config.json")
    config = load_config(model)
    if config.is_encoder_decoder:
        message = f"models of type '{config.model_type}' are encoder-decoders: they read a prompt apart from its answer"
        raise unfit(model / "config.json", f"{message}; mdpo trains models that read both as one text")
    if image_token_id(config) is None:
        message = f"models of type '{config.model_type}' take no images, or have no image token"
        raise unfit(model / "config.json", message)
    return config


def _processor(folder: Path, config: PreTrainedConfig) -> ProcessorMixin:
    kind, own = _class_of(config), image_processor_without_torchvision(config.model_type)
    if kind is None or (own is None and not _needs_torchvision(kind)):
        return AutoProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
    made = {
        "image_processor": _images(folder) if own is None else own.from_pretrained(folder),
        "tokenizer": AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
        "video_processor": _NoVideos() if kind.__name__ in _READ_VIDEO_SETTINGS else None,
    }
    kind = _pixtral() if kind.__name__ == _PIXTRAL else kind
    options, _ = kind.get_processor_dict(folder)
    in_order = [made.get(name) for name in kind.get_attributes()]
    return _without_videos(kind).from_args_and_dict(in_order, options)


def _images(folder: Path) -> Any:
    return AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)


class _NoVideos(dict[str, Any]):
    """Stands where a video processor is, for classes that read its settings when they are made.

    A dictionary, because transformers writes processors as JSON.
    """

    slice_mode = False
    downsample_mode = ""


def _require_end(processor: ProcessorMixin, folder: Path) -> None:
    tokenizer = processor.tokenizer
    if not tokenizer.eos_token or tokenizer.eos_token not in tokenizer.get_vocab():
        message = (
            "eos_token is missing or not in the vocabulary, but every response ends with it; write the model's end "
            "token there"
        )
        raise unfit(folder / "tokenizer_config.json", message)


@lru_cache(maxsize=1)
def _pixtral() -> type[ProcessorMixin]:
    """Pixtral's processor. Its file takes one function from a file that imports torchvision; Pillow's has it, too."""
    package = "transformers.models.pixtral"
    other = f"{package}.image_processing_pixtral"
    is_loaded = other in sys.modules
    sys.modules.setdefault(other, import_module(f"{package}.image_processing_pil_pixtral"))
    try:
        kind: type[ProcessorMixin] = import_module(f"{package}.processing_pixtral").PixtralProcessor
    finally:
        if not is_loaded:
            del sys.modules[other]
    return kind


def _require_image_token(processor: ProcessorMixin, config: PreTrainedConfig, folder: Path) -> None:
    text = image_text(processor)
    if text not in processor.tokenizer.get_vocab():
        raise unfit(folder, f"the tokenizer has no image token {text!r}")
    # Gemma's processor names the token before an image; its tokenizer names the image token.
    token_id = processor.tokenizer.convert_tokens_to_ids(text)
    of_model = image_token_id(config)
    if of_model not in (token_id, getattr(processor.tokenizer, "image_token_id", None)):
        ids = f"{token_id} in the tokenizer and {of_model} in config.json"
        raise unfit(folder, f"the image token is {ids}; they belong to different models")


def _without_videos(kind: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """The processor class, changed to accept a video processor that is none: it is called only for videos.

    Nor does it ask which image processor it has, which need not be one of those that transformers knows here.
    """

    def check_argument_for_proper_class(self: ProcessorMixin, name: str, argument: Any) -> Any:
        if argument is None or isinstance(argument, _NoVideos | BaseImageProcessor):
            return argument
        return kind.check_argument_for_proper_class(self, name, argument)

    checked = {"check_argument_for_proper_class": check_argument_for_proper_class, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), checked)
