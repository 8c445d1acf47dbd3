"""A model's own processor, loaded so that it works everywhere alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoImageProcessor, AutoProcessor, AutoTokenizer, ProcessorMixin
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from mdpo_core import RecipeError


def load_processor(folder: Path, model: Path) -> ProcessorMixin:
    """Image processor and tokenizer in one; of those that also take videos, the part for images.

    ``model``: the folder whose configuration says what processor it is.

    Pictures are processed by Pillow: results must not depend on torchvision being installed, which videos need.
    """
    config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    kind = PROCESSOR_MAPPING.get(type(config), None)
    if kind is None or "video_processor" not in kind.get_attributes():
        return AutoProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
    parts = [
        AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False),
        AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
        None,
    ]
    options, _ = kind.get_processor_dict(folder)
    try:
        return _for_images(kind).from_args_and_dict(parts, options)
    except ImportError as error:
        raise RecipeError(f"model.path: {error}") from error


def _for_images(kind: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """The same processor, which also takes None for a part; its own calls of it are for videos alone."""

    def check_argument_for_proper_class(self: ProcessorMixin, name: str, argument: Any) -> Any:
        return None if argument is None else kind.check_argument_for_proper_class(self, name, argument)

    checked = {"check_argument_for_proper_class": check_argument_for_proper_class, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), checked)
