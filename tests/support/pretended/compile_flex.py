"""Compiles mdpo's FlexAttention, forward and backward, for an H200, and prints the kernels as JSON.

    python compile_flex.py DTYPE HEADS KV_HEADS DIM

See `support.pretended.h200`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv
from torch.overrides import TorchFunctionMode

from mdpo_core.scoring.flex_attention import block_mask, flex_attention
from mdpo_core.types.layout import Packed
from support.pretended.h200 import CompiledError, Kernel, set_up

CUDA = torch.device("cuda", 0)
LENGTHS = ((616, 100, 100), (616, 100))


class _Moves(TorchFunctionMode):
    """Makes a fake tensor of what is moved to the card."""

    def __init__(self, mode: FakeTensorMode) -> None:
        super().__init__()
        self._mode = mode

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func is Tensor.pin_memory:
            return args[0]
        if func is not Tensor.to or CUDA not in (*args[1:], *options.values()) or isinstance(args[0], FakeTensor):
            return func(*args, **options)
        with self._mode:
            return torch.empty(args[0].shape, dtype=args[0].dtype, device=CUDA)


def compile_flex(dtype: torch.dtype, heads: int, kv_heads: int, dim: int) -> list[Kernel]:
    kernels = set_up()
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    time = sum(map(sum, LENGTHS))
    ids = torch.zeros(1, time, dtype=torch.long)
    with _Moves(mode):
        packed = Packed(ids, ids, LENGTHS, flex_attention).to(CUDA)
        packed.masks["blocks"] = block_mask(packed)
    with mode:
        query, key, value = (
            torch.empty(1, number, time, dim, dtype=dtype, device=CUDA, requires_grad=True)
            for number in (heads, kv_heads, kv_heads)
        )
    try:
        flex_attention(query, key, value, packed)
    except CompiledError:
        return kernels
    raise AssertionError("nothing was compiled")


if __name__ == "__main__":
    name, *sizes = sys.argv[1:]
    found = compile_flex(getattr(torch, name), *map(int, sizes))
    sys.stdout.write(json.dumps([kernel._asdict() for kernel in found]) + "\n")
