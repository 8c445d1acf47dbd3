"""Liger's kernels (arXiv:2410.10989) for norms, gated MLPs and rotary positions, applied by its own library."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mdpo_core import RecipeError
from mdpo_vlm.files.damage import quoted
from mdpo_vlm.parts.names import decoder_of, image_encoder

_LIBRARY = "liger_kernel.transformers"
_REMEDY = "leave kernels out"


def require_liger(model_type: str) -> None:
    """Raise `RecipeError` unless liger-kernel is installed and knows models of this type."""
    if find_spec("liger_kernel") is None:
        raise RecipeError('model.kernels: liger-kernel is not installed; pip install "mdpo[liger]"')
    try:
        known = import_module(f"{_LIBRARY}.monkey_patch").MODEL_TYPE_TO_APPLY_LIGER_FN
    except ImportError as error:
        raise RecipeError(f"model.kernels: liger-kernel cannot be imported ({error}); {_REMEDY}") from error
    if model_type not in known:
        raise RecipeError(f"model.kernels: Liger has no kernels for models of type '{model_type}'; {_REMEDY}")


def use_liger(base: PreTrainedModel) -> None:
    """Give a loaded model Liger's kernels. Raises `RecipeError` where they do not run, or if there are none for it.

    Only this model is changed, and how all models of this type compute rotary positions on CUDA. Liger's loss, which
    replaces the head, stays off: log-probs are computed from hidden states.
    """
    require_liger(base.config.model_type)
    if not torch.cuda.is_available():
        raise RecipeError(f"model.kernels: Liger's kernels run on CUDA, and torch finds no CUDA device here; {_REMEDY}")
    apply = import_module(_LIBRARY)._apply_liger_kernel_to_instance
    try:
        with _classes_kept(base):
            apply(model=base, cross_entropy=False, fused_linear_cross_entropy=False)
    except Exception as error:  # versions of Liger and transformers that do not fit raise nearly anything
        raise RecipeError(f"model.kernels: Liger cannot change this model ({quoted(error)}); {_REMEDY}") from error
    decoder = decoder_of(base)
    if not any(module._get_name().startswith("Liger") for module in decoder.modules()):
        language = base.config.get_text_config().model_type
        raise RecipeError(f"model.kernels: Liger has no kernels for language models of type '{language}'; {_REMEDY}")
    for part in (decoder, image_encoder(base)):
        part.register_forward_pre_hook(_require_cuda, with_kwargs=True)


@contextmanager
def _classes_kept(base: PreTrainedModel) -> Iterator[None]:
    """Undo what Liger does to the modules of transformers, in which it also changes models that are built later.

    A model on the CPU, such as the one that is exported, could not compute then. Functions stay replaced on CUDA.
    """
    files = [sys.modules[name] for name in {type(module).__module__ for module in base.modules()}]
    before = [dict(vars(file)) for file in files]
    try:
        yield
    finally:
        for file, plain in zip(files, before, strict=True):
            for name, value in plain.items():
                replaced = vars(file)[name]
                if replaced is not value:
                    setattr(file, name, value if isinstance(value, type) else _by_device(replaced, value))


def _by_device(on_cuda: Callable[..., Any], elsewhere: Callable[..., Any]) -> Callable[..., Any]:
    def call(query: Tensor, *inputs: Any, **options: Any) -> Any:
        return (on_cuda if query.device.type == "cuda" else elsewhere)(query, *inputs, **options)

    return call


def _require_cuda(_: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Raise `RecipeError` if the layers compute elsewhere; where the weights are loaded does not say it."""
    tensors = [each for each in (*inputs, *options.values()) if isinstance(each, Tensor) and each.is_floating_point()]
    elsewhere = {each.device.type for each in tensors} - {"cuda"}
    if elsewhere:
        raise RecipeError(
            f"model.kernels: Liger's kernels run on CUDA, and this backend computes on '{min(elsewhere)}'; choose "
            f"another device, or {_REMEDY}"
        )
