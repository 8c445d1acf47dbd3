"""QLoRA (arXiv:2305.14314): LoRA on a language model in 4 bits, by bitsandbytes."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from pathlib import Path
from typing import Any

from mdpo_core import Placement, RecipeError


def is_installed() -> bool:
    """True if bitsandbytes is installed and new enough for transformers."""
    from transformers.utils import is_bitsandbytes_available

    return bool(is_bitsandbytes_available())


def require_bitsandbytes() -> None:
    """Raise `RecipeError` if bitsandbytes is not installed or is too old."""
    from transformers.utils.import_utils import BITSANDBYTES_MIN_VERSION

    if is_installed():
        return
    try:
        state = f"{version('bitsandbytes')} is installed"
    except PackageNotFoundError:
        state = "which is not installed"
    raise RecipeError(
        f"model.quantize: needs bitsandbytes {BITSANDBYTES_MIN_VERSION} or newer ({state}), and a CUDA device to train "
        'on: pip install "mdpo[qlora]"'
    )


def require_cuda(placement: Placement) -> None:
    """Raise `RecipeError` for another device than CUDA, and under ZeRO-3, which splits weights while it reads them."""
    from transformers.integrations import is_deepspeed_zero3_enabled

    if is_deepspeed_zero3_enabled():
        raise RecipeError("model.quantize: ZeRO-3 cannot split 4-bit weights; use zero_stage 2")
    if placement.device.partition(":")[0] != "cuda":
        raise RecipeError(
            "model.quantize: training with 4-bit weights needs CUDA, and this backend loads the model on "
            f"'{placement.device}'; choose another backend or device, or leave quantize out"
        )


def loading_options(folder: Path, placement: Placement) -> dict[str, Any]:
    """The options of ``from_pretrained`` that turn the language model's layers into 4-bit normal floats.

    The scales are quantized, too. Products are computed in bfloat16, or in float16 if the other weights are float16.
    """
    import torch
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float16 if placement.dtype == "float16" else torch.bfloat16,
        llm_int8_skip_modules=_unquantized_modules(folder),  # for 4 bits, too, in spite of its name
    )
    # Quantize each weight while it is read, on its device: the unquantized model need not fit.
    return {"quantization_config": config, "device_map": {"": torch.device(placement.device)}}


def _unquantized_modules(folder: Path) -> list[str]:
    """Full names of the modules outside the language model. A shortened name would match none, without an error."""
    from mdpo_vlm.loading.shapes import without_weights
    from mdpo_vlm.parts.names import decoder_of

    base = without_weights(folder)
    language = next(name for name, module in base.named_modules() if module is decoder_of(base))
    around = ["", *accumulate(language.split("."), lambda outer, inner: f"{outer}.{inner}")]
    return [name for name, _ in base.named_modules() if name not in around and name.rpartition(".")[0] in around[:-1]]
