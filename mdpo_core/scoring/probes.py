"""Builds and runs probes: small modules that train beside a model and read its hidden states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from mdpo_core.errors import PluginError, shown
from mdpo_core.interfaces.plugin_results import call_plugin, require_tensor
from mdpo_core.scoring.layers import returned_by

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mdpo_core.interfaces.measurements import Probe
    from mdpo_core.interfaces.model import VisionLanguageModel
    from mdpo_core.types.batch import EncodedImage
    from mdpo_core.types.layout import Packed, PaddedView


def build_probes(probes: Mapping[str, Probe], model: VisionLanguageModel, seed: int) -> nn.ModuleDict:
    """The probes' modules by name. Their first weights are drawn from ``seed``, so they are equal in all processes."""
    import torch
    from torch import nn

    from mdpo_core.processes.devices import device_of

    device, layers = device_of(model.module), len(model.layers())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        modules = {
            name: made_of(name, probe, 1 if probe.reads == "policy" else layers, model.hidden_size)
            for name, probe in probes.items()
        }
    return nn.ModuleDict(modules).to(device)


def made_of(name: str, probe: Probe, layers: int, width: int) -> nn.Module:
    """A probe's module. Raises `PluginError` if ``make`` does not return a module."""
    from torch import nn

    module: object = call_plugin(f"the probe '{name}'", lambda: probe.make(layers, width))
    if not isinstance(module, nn.Module):
        raise PluginError(f"make() of the probe '{name}' must return a torch.nn.Module; it returned {shown(module)}")
    return module


def outputs_of(name: str, module: nn.Module, hidden: Tensor) -> Tensor:
    """A probe's outputs ``(tokens, outputs)`` for hidden states ``(tokens, layers, width)``."""
    source = f"the module of the probe '{name}'"
    outputs = call_plugin(source, lambda: module(hidden))
    return require_tensor(source, outputs, "some numbers for each token", (len(hidden), -1))


class AllLayers:
    """A `VisionLanguageModel` that only gives hidden states: of every layer, then the states that the head reads.

    The shape is ``(..., layers + 1, width)`` where the model itself gives ``(..., width)``.
    """

    def __init__(self, model: VisionLanguageModel) -> None:
        self._model = model

    @property
    def module(self) -> nn.Module:
        return self._model.module

    def hidden_states(self, rows: PaddedView, images: Sequence[EncodedImage]) -> Tensor:
        return self._stacked(lambda: self._model.hidden_states(rows, images))

    def packed_hidden_states(self, packed: Packed, images: Sequence[EncodedImage]) -> Tensor:
        return self._stacked(lambda: self._model.packed_hidden_states(packed, images))

    def _stacked(self, compute: Callable[[], Tensor]) -> Tensor:
        import torch

        with returned_by(self._model.layers()) as outputs:
            last = compute()
        return torch.stack([*outputs, last], dim=-2)
