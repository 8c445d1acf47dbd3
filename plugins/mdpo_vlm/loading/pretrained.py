"""Read weights with transformers, put them on a device, and check that they are complete. No weight trains yet."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.utils.logging import disable_progress_bar

from mdpo_core import Placement
from mdpo_vlm.files.config import load_config, ties_head
from mdpo_vlm.files.damage import reading, require_whole
from mdpo_vlm.files.folder import model_files, unfit
from mdpo_vlm.files.numbers import require_numbers
from mdpo_vlm.loading.doors import auto_class
from mdpo_vlm.loading.quantized import loading_options
from mdpo_vlm.loading.split_weights import import_parts, shapes_before_splitting


def read_weights(folder: Path, placement: Placement) -> PreTrainedModel:
    """The model in the type and on the device of ``placement``. Raises `DataError`.

    Each weight goes straight to its device: the main memory need not hold the model, nor a copy for each process.
    """
    if is_deepspeed_zero3_enabled():
        import_parts(load_config(folder))
        # The main process alone reads the weights, and each process keeps its part of them on its device.
        with shapes_before_splitting():
            return _from_pretrained(folder, placement).to(placement.device)
    if placement.device == "cpu":
        return _from_pretrained(folder, placement)
    return _from_pretrained(folder, placement, device_map={"": torch.device(placement.device)})


def read_in_4_bits(folder: Path, placement: Placement) -> PreTrainedModel:
    """The model, with the language model's layers as 4-bit normal floats (QLoRA). Raises `DataError`."""
    return _from_pretrained(folder, placement, **loading_options(folder, placement))


def _from_pretrained(folder: Path, placement: Placement, **options: Any) -> PreTrainedModel:
    # The progress bar of transformers would overwrite the one of the run.
    disable_progress_bar()
    config = load_config(folder)
    files = model_files(folder)
    # Under ZeRO-3, weights are first drawn at random and then read. The random numbers of LoRA must not depend on that.
    with (
        reading(folder, "its weights cannot be read", files) as staged,
        torch.random.fork_rng(devices=[]),
        _without_load_report(),
    ):
        base, report = auto_class(config).from_pretrained(
            staged,
            dtype=getattr(torch, placement.dtype),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # the report names them
            use_safetensors=True,
            trust_remote_code=False,
            **options,
        )
    require_whole(folder, *(report[f"{kind}_keys"] for kind in ("missing", "unexpected", "mismatched")))
    require_numbers(folder, base)
    _require_tied(folder, base)
    # Exported adapters name this folder.
    base.name_or_path = base.config.name_or_path = config.name_or_path
    return base.eval().requires_grad_(False)


def _require_tied(folder: Path, base: PreTrainedModel) -> None:
    """Raise `DataError` if head and embedding must be one tensor, but the files contain two different ones.

    A configuration class may tie them by default, whatever its folders contain; a folder that does not say so has the
    head that its weights have.
    """
    head, embedding = base.get_output_embeddings(), base.get_input_embeddings()
    ties = getattr(base.config, "tie_word_embeddings", False)  # Llama 3.2 Vision says it of its text alone
    if not ties or head is None or head.weight is embedding.weight:
        return
    if ties_head(folder):
        message = "tie_word_embeddings is true, but the weights contain a head that is not the embedding"
        raise unfit(folder / "config.json", f"{message}; set it to false, or remove the head")
    base.config.tie_word_embeddings = False


@contextmanager
def _without_load_report() -> Iterator[None]:
    """Hide the report of transformers on weights that do not fit: it says "can be ignored", but here it is an error.

    Its lines on weights that it cannot convert remain, since the error that follows refers to them.
    """

    def is_kept(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return "LOAD REPORT" not in message or "CONVERSION" in message

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(is_kept)
    try:
        yield
    finally:
        logger.removeFilter(is_kept)
