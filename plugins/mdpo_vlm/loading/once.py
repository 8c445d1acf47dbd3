"""What is found in a model's files once, and not again while they, the adapter and the libraries stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mdpo_core import ModelAdapter, RecipeError, remembered
from mdpo_vlm.families import Family

if TYPE_CHECKING:
    from mdpo_vlm.encoding.encoder import VlmEncoder

Value = TypeVar("Value")

# They read a model's files: what one version takes, another one may refuse.
_LIBRARIES = (
    *("torch", "torchvision", "transformers", "tokenizers", "safetensors", "huggingface-hub", "numpy", "pillow"),
    *("sentencepiece", "protobuf", "tiktoken", "jinja2", "accelerate"),
)


def require_fit_once(adapter: ModelAdapter, folder: Path, family: Family, encoder: VlmEncoder, processor: Path) -> None:
    """See `require_fit`."""

    def compute() -> None:
        from mdpo_vlm.loading.fit import require_fit

        require_fit(folder, family, encoder, processor)

    _found("fit", compute, adapter, folder, processor)


def require_targets_once(adapter: ModelAdapter, folder: Path, family: Family) -> None:
    """Raise `RecipeError` if a LoRA pattern of an adapter matches no module that can train."""

    def compute() -> None:
        from mdpo_vlm.loading.shapes import without_weights
        from mdpo_vlm.parts.lora_targets import choose

        choose(without_weights(folder), family, adapter.training)

    _found("targets", compute, adapter, folder)


def require_continued_once(adapter: ModelAdapter, folder: Path, family: Family, continued: Path) -> None:
    """See `require_continued`; ``continued`` is the adapter that is trained on."""

    def compute() -> None:
        from mdpo_vlm.loading.continued import require_continued

        require_continued(continued, folder, family, adapter.training)

    _found("continued", compute, adapter, folder, continued)


def max_positions_once(adapter: ModelAdapter, folder: Path) -> int | None:
    """See `max_positions`."""

    def compute() -> int | None:
        from mdpo_vlm.loading.shapes import max_positions

        return max_positions(folder)

    return _found("max_positions", compute, adapter, folder)


def require_steady_positions(adapter: ModelAdapter, folder: Path) -> None:
    """Raise `RecipeError` if a row may be so long that it changes the positions of the rows beside it."""

    def compute() -> int | None:
        from mdpo_vlm.files.config import load_config
        from mdpo_vlm.forward.answers.long_rows import steady_positions

        return steady_positions(load_config(folder))

    steady = _found("steady_positions", compute, adapter, folder)
    if steady is not None and adapter.max_length > steady:
        text = f"with a row of more than {steady} tokens, this model counts positions otherwise in the whole batch"
        raise RecipeError(f"model.max_length: is {adapter.max_length}, but {text}; set it to {steady} or less")


def _found(name: str, compute: Callable[[], Value], adapter: ModelAdapter, *folders: Path) -> Value:
    """What ``compute`` gives, which depends on an adapter and on the files in the model's folders."""
    return remembered(
        name,
        compute,
        files=sorted(file for folder in folders for file in folder.iterdir() if file.is_file()),
        options=adapter.model_dump(mode="json"),
        code=type(adapter).__mro__,
        packages=_LIBRARIES,
    )
