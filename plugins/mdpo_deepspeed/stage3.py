"""ZeRO-3: each process keeps a part of the weights; a module's weights are gathered while it is called."""

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

_INFERENCE_OPTIONS = ("train_micro_batch_size_per_gpu", "zero_optimization", "bf16", "fp16")


@contextmanager
def split_while_loading(options: Mapping[str, Any]) -> Iterator[None]:
    """Let transformers split weights while it reads them, so that no process ever has all of them."""
    prepare()
    # transformers looks for this object, but keeps only a weak reference.
    alive = HfDeepSpeedConfig(dict(options))
    yield
    del alive


def split_reference(model: VisionLanguageModel, options: Mapping[str, Any]) -> None:
    """Give a frozen model a separate ZeRO-3 engine: DeepSpeed splits only modules that an engine contains."""
    prepare()
    set_compute_device(model.module, torch.device(local_device(current_world())))
    gather_whole_layers(model.layers())
    config = {name: options[name] for name in _INFERENCE_OPTIONS}
    engine, *_ = deepspeed.initialize(model=model.module, config=config)
    # Keep the engine alive: its hooks end with it. It cannot be a submodule, because it contains this module.
    vars(model.module)["zero_engine"] = engine


def gather_whole_layers(layers: Sequence[nn.Module]) -> None:
    """Gather all weights of a layer at once, not module by module.

    Modules in a layer may then read one another's weights (as LoRA's do), even outside the engine's forward.
    """
    for layer in layers:
        set_z3_leaf_module(layer, True)


@contextmanager
def gradients_one_by_one() -> Iterator[None]:
    """Engines created in this context reduce each gradient of a gathered layer separately, like other gradients.

    DeepSpeed would reduce them together, when the gradient of the layer's input is ready. That is too early if the
    input needs no gradient (before LoRA on the first layer), and only the last call counts if a layer is called twice.
    """
    original = stage3.z3_leaf_parameter
    stage3.z3_leaf_parameter = lambda parameter: False
    try:
        yield
    finally:
        stage3.z3_leaf_parameter = original


def num_dims(parameter: Tensor) -> int:
    """Number of dimensions of the whole parameter; a parameter that ZeRO-3 splits has lost its shape."""
    return len(shape_of(parameter))


def shape_of(parameter: Tensor) -> tuple[int, ...]:
    """The shape of the whole parameter."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))
