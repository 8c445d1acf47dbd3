"""A model's weights: read, placed, found complete, and marked where they train."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from mdpo_core import Placement
from mdpo_vlm.attention import use_packed_attention
from mdpo_vlm.damage import require_whole
from mdpo_vlm.families import UNKNOWN
from mdpo_vlm.folder import unfit
from mdpo_vlm.idle import idle_parameters
from mdpo_vlm.last_layer import trim_last_layer
from mdpo_vlm.lora import add_lora, read_lora
from mdpo_vlm.model import VlmModel
from mdpo_vlm.trial import require_whole_forward

if TYPE_CHECKING:
    from mdpo_vlm.adapter import TransformersAdapter


def load_model(adapter: TransformersAdapter, placement: Placement, trainable: bool) -> VlmModel:
    """Load, place, and mark what trains. `DataError` names weights that are missing or left over."""
    folder, family = adapter.folder(), adapter.family()
    base = _quantized(folder, placement) if adapter.quantize else _plain(folder, placement)
    if not family.separate:
        use_packed_attention(base)
        trim_last_layer(base)
    if family is UNKNOWN:
        require_whole_forward(base, VlmModel(base, base, folder, family), adapter.encoder())
    if not trainable:
        return VlmModel(base, base, folder, family)
    training = adapter.training
    if adapter.has_lora:
        return VlmModel(add_lora(base, family, training).eval(), base, folder, family)
    model = VlmModel(base, base, folder, family)
    idle = idle_parameters(base, family)
    for part, names in model.parts().items():
        for name in names:
            base.get_parameter(name).requires_grad_(training[part].how == "full" and name not in idle)
    return model


def load_exported(adapter: TransformersAdapter, folder: Path, placement: Placement) -> VlmModel:
    """What `VlmModel.export` wrote; an adapter is put onto the model that it was trained upon."""
    family = adapter.family()
    if not (folder / "adapter_config.json").is_file():
        base = _plain(folder, placement)
        return VlmModel(base, base, folder, family)
    base = _plain(adapter.folder(), placement)
    return VlmModel(read_lora(base, folder, placement.device).eval(), base, folder, family)


def sliding_window(folder: Path) -> int | None:
    """How many tokens back the language model attends, if that is limited."""
    text = AutoConfig.from_pretrained(folder, trust_remote_code=False).get_text_config()
    window: int | None = getattr(text, "sliding_window", None)
    return window


def without_weights(folder: Path) -> PreTrainedModel:
    """The model of a folder in shape alone."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForImageTextToText.from_config(config)
    model.tie_weights()
    return model


def _plain(folder: Path, placement: Placement) -> PreTrainedModel:
    return _from_pretrained(folder, placement).to(placement.device)


def _quantized(folder: Path, placement: Placement) -> PreTrainedModel:
    from mdpo_vlm.quantized import loading_options

    return _from_pretrained(folder, placement, **loading_options(folder, placement))


def _from_pretrained(folder: Path, placement: Placement, **options: Any) -> PreTrainedModel:
    """Nothing of it trains. Raises `DataError`."""
    # Its bar would be drawn into the run's own.
    disable_progress_bar()
    # Weights that are shared out while they are read are drawn at random first; LoRA's shall not depend on that.
    with torch.random.fork_rng(devices=[]), _unreported():
        try:
            base, report = AutoModelForImageTextToText.from_pretrained(
                folder,
                dtype=getattr(torch, placement.dtype),
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are reported, too
                **options,
            )
        except SafetensorError as error:
            raise unfit(folder, f"its weights cannot be read: {error}") from error
    require_whole(folder, *(report[f"{kind}_keys"] for kind in ("missing", "unexpected", "mismatched")))
    return base.eval().requires_grad_(False)


@contextmanager
def _unreported() -> Iterator[None]:
    """Without transformers' report of what does not fit, which says that it can be ignored; here it is an error.

    What it says of weights that it cannot convert stays: the error that follows refers to it.
    """

    def is_kept(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return "LOAD REPORT" not in text or "CONVERSION" in text

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(is_kept)
    try:
        yield
    finally:
        logger.removeFilter(is_kept)
