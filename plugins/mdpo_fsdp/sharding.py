"""Split modules over processes, and find the part of a tensor that a process has."""

from __future__ import annotations

import atexit
import math
from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor

from mdpo_core import LayeredModel, VisionLanguageModel, layers_of, set_compute_device
from mdpo_fsdp.sent_weights import SentWeights


class Sharding:
    """Splits modules over all processes of the run."""

    def __init__(self, device: str, mixed: bool, reshard_after_forward: bool, offload: bool) -> None:
        self.device = torch.device(device)
        self._mixed = mixed
        self._reshard_after_forward = reshard_after_forward
        self._offload = CPUOffloadPolicy() if offload else OffloadPolicy()
        self._mesh = _mesh(self.device)

    @property
    def updates_on_cuda(self) -> bool:
        """Whether the weights are on a CUDA device between two steps."""
        return self.device.type == "cuda" and not isinstance(self._offload, CPUOffloadPolicy)

    def place(self, root: nn.Module, model: LayeredModel) -> list[FSDPModule]:
        """Split each layer of ``model``, then the rest of ``root``, and return the split modules, ``root`` last.

        Weights outside the layers stay gathered during a whole forward and backward.
        """
        # Exchange gradients in float32, for every dtype of weights.
        policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16 if self._mixed else None, reduce_dtype=torch.float32, cast_forward_inputs=False
        )
        weights = SentWeights(model.module, self.device)
        units = []
        for layer in layers_of(model):
            weights.complete(layer)
            units.append(self._split(layer, policy, self._reshard_after_forward))
        weights.complete(model.module)
        units.append(self._split(root, policy, None))
        set_compute_device(model.module, self.device)
        for unit in units:
            # Sum gradients over the processes: a loss is already divided by the pairs of all of them.
            unit.set_gradient_divide_factor(1.0)
            unit.set_force_sum_reduction_for_comms(True)
        return units

    def place_frozen(self, model: VisionLanguageModel) -> None:
        """Split the layers of a model that never trains.

        Each process keeps all weights outside the layers. Gathering them takes all processes at once, but the number
        of calls of a head depends on the tokens of a process.
        """
        set_compute_device(model.module, self.device)
        if self._mixed:
            for parameter in model.module.parameters():
                parameter.data = parameter.data.to(torch.bfloat16)
        weights = SentWeights(model.module, self.device)
        for layer in layers_of(model):
            weights.complete(layer)
            self._split(layer, MixedPrecisionPolicy(cast_forward_inputs=False), True)
        weights.complete(model.module)
        unsplit = [parameter for parameter in model.module.parameters() if not isinstance(parameter, DTensor)]
        _move([*unsplit, *model.module.buffers()], self.device)

    def _split(self, module: nn.Module, policy: MixedPrecisionPolicy, reshard: bool | None) -> FSDPModule:
        return fully_shard(
            module,
            mesh=self._mesh,
            reshard_after_forward=reshard,
            mp_policy=policy,
            offload_policy=self._offload,
        )


def start_of(tensor: DTensor) -> int:
    """The first position of this process's part in the flattened tensor."""
    # FSDP splits rows like torch.chunk: the last processes may have fewer rows, or none.
    rows = -(-tensor.shape[0] // tensor.device_mesh.size())
    first = min(rows * tensor.device_mesh.get_local_rank(), tensor.shape[0])
    return first * math.prod(tensor.shape[1:])


def _mesh(device: torch.device) -> DeviceMesh:
    if device.index is not None:
        torch.accelerator.set_device_index(device.index)
    if not distributed.is_initialized():
        # A single process without a launcher.
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        store = distributed.HashStore()  # type: ignore[attr-defined]  # torch.distributed has it, but its types do not
        distributed.init_process_group(backend, store=store, rank=0, world_size=1)
        atexit.register(_end_group)
    return init_device_mesh(device.type, (distributed.get_world_size(),))


def _end_group() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _move(tensors: Iterable[Tensor], device: torch.device) -> None:
    for tensor in tensors:
        tensor.data = tensor.data.to(device)
