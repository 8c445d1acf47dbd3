"""Autocast on the pretended device: CUDA's lists, for the operators that models call.

From https://docs.pytorch.org/docs/stable/amp.html#autocast-op-reference
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

_IN_LOWER = "addmm baddbmm bmm conv1d conv2d conv3d linear matmul mm mv scaled_dot_product_attention"
_IN_FLOAT32 = (
    "cosine_similarity cumsum exp gelu group_norm layer_norm log log_softmax.int logsumexp nll_loss norm.Scalar "
    "pow.Tensor_Scalar prod rsqrt softmax.int softplus sum sum.dim_IntList"
)
_IN_WIDEST = "addcdiv addcmul cat dot index_put scatter_add stack"
_CAST = (torch.float32, torch.float16, torch.bfloat16)


def add_autocast(kind: str) -> list[torch.library.Library]:
    """Register it for PrivateUse1, whose name is ``kind``, as long as the libraries live."""
    others, listed = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")

    def in_lower(_: list[torch.dtype]) -> torch.dtype:
        return torch.get_autocast_dtype(kind)

    def in_float32(_: list[torch.dtype]) -> torch.dtype:
        return torch.float32

    def in_widest(types: list[torch.dtype]) -> torch.dtype:
        return max(types, key=lambda dtype: torch.finfo(dtype).bits)

    for choose, names in ((in_lower, _IN_LOWER), (in_float32, _IN_FLOAT32), (in_widest, _IN_WIDEST)):
        for name in names.split():
            listed.impl(name, _cast(name, choose), "AutocastPrivateUse1")
    return [others, listed]


def _cast(name: str, choose: Callable[[list[torch.dtype]], torch.dtype]) -> Callable[..., Any]:
    """The operator with its inputs in the type that ``choose`` gives for their types."""
    packet, _, overload = name.partition(".")
    operator = getattr(getattr(torch.ops.aten, packet), overload or "default")
    itself = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def compute(*args: Any, **kwargs: Any) -> Any:
        with torch._C._ExcludeDispatchKeyGuard(itself):
            types = [each.dtype for each in tree_leaves((args, kwargs)) if _is_cast(each)]
            dtype = choose(types) if types else None
            args, kwargs = tree_map(lambda each: each.to(dtype) if _is_cast(each) else each, (args, kwargs))
            return operator(*args, **kwargs)

    return compute


def _is_cast(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype in _CAST
