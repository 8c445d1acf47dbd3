"""ZeRO-3: each process keeps a share of the weights; a module's weights are gathered while it is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import deepspeed
import torch
from deepspeed.runtime.zero import stage3
from deepspeed.utils import set_z3_leaf_module
from torch import Tensor, nn
from transformers.integrations import HfDeepSpeedConfig

from mdpo_core import VisionLanguageModel, current_world, local_device, set_compute_device
from mdpo_deepspeed.process import prepare

_OF_INFERENCE = ("train_micro_batch_size_per_gpu", "zero_optimization", "bf16", "fp16")


@contextmanager
def loading_shared_out(options: Mapping[str, Any]) -> Iterator[None]:
    """Let transformers share weights out while it reads them, so that no process ever holds them all."""
    prepare()
    # transformers looks it up, and keeps no reference of its own.
    alive = HfDeepSpeedConfig(dict(options))
    yield
    del alive


def share_out_reference(model: VisionLanguageModel, options: Mapping[str, Any]) -> None:
    """Give a frozen model its own ZeRO-3 engine: DeepSpeed refuses to share out a module that is not in one."""
    prepare()
    set_compute_device(model.module, torch.device(local_device(current_world())))
    whole_layers(model.layers())
    config = {name: options[name] for name in _OF_INFERENCE}
    engine, *_ = deepspeed.initialize(model=model.module, config=config)
    # It takes its hooks away when it is collected. No submodule: it holds this very module.
    vars(model.module)["zero_engine"] = engine


def whole_layers(layers: Sequence[nn.Module]) -> None:
    """Let each layer's weights be put together at once, in place of those of each module in it.

    Modules in it may then read one another's weights (as LoRA's do), also outside of the engine's forward.
    """
    for layer in layers:
        set_z3_leaf_module(layer, True)


@contextmanager
def gradients_one_by_one() -> Iterator[None]:
    """Let an engine that is made here reduce the gradients of layers that are put together at once like all others.

    DeepSpeed would take them when the gradient of a layer's input is known. That is too early if that input needs none
    (before LoRA on the first layer), and the last call's gradients alone if a layer is called more than once.
    """
    usual = stage3.z3_leaf_parameter
    stage3.z3_leaf_parameter = lambda parameter: False
    try:
        yield
    finally:
        stage3.z3_leaf_parameter = usual


def num_dims(parameter: Tensor) -> int:
    """Number of dimensions of the whole parameter; a parameter that ZeRO-3 splits has lost its shape."""
    return len(shape_of(parameter))


def shape_of(parameter: Tensor) -> tuple[int, ...]:
    """The shape of the whole parameter."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))
