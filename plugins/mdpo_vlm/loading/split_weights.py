"""Weights that ZeRO-3 has split before they are read: transformers sees them without a shape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import MODEL_MAPPING, PreTrainedConfig, PreTrainedModel
from transformers.core_model_loading import Split, Transpose


@contextmanager
def shapes_before_splitting() -> Iterator[None]:
    """Let transformers compare what files contain with the shapes that weights have before ZeRO-3 splits them.

    Otherwise it would transpose all experts of Qwen3-VL, also those that the file has as the model needs them, and
    could not divide a weight of Molmo 2's files into those of several layers.
    """
    with ExitStack() as stack:
        for operation in (Transpose, Split):
            stack.enter_context(_by_whole_shapes(operation))
        yield


@contextmanager
def _by_whole_shapes(operation: Any) -> Iterator[None]:
    convert = operation.convert

    def convert_by_whole_shapes(self: Any, *inputs: Any, model: PreTrainedModel, **options: Any) -> Any:
        return convert(self, *inputs, model=_WholeShapes(model), **options)

    operation.convert = convert_by_whole_shapes
    try:
        yield
    finally:
        operation.convert = convert


def import_parts(config: PreTrainedConfig) -> None:
    """Import the classes of a model's parts before DeepSpeed splits weights.

    It takes back what it did to a class's ``__init__``. In a class that is imported meanwhile, that is also what a
    decorator of transformers did: its experts would lack their configuration in every later model.
    """
    for part in (config, *vars(config).values()):
        if isinstance(part, PreTrainedConfig):
            MODEL_MAPPING.get(type(part), None)


class _WholeShapes:
    """Stands in for a model whose shapes are asked for."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    def get_parameter(self, name: str) -> Tensor:
        """A tensor without numbers, in the shape of a parameter."""
        parameter = self._model.get_parameter(name)
        return torch.empty(getattr(parameter, "ds_shape", parameter.shape), device="meta")
