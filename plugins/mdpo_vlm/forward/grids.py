"""What the vision encoders of Qwen's models read of the sizes of their pictures."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.vision_utils import (
    get_vision_cu_seqlens,
    get_vision_interpolation_indices_and_weights,
    get_vision_position_ids,
    get_vision_window_index,
)

from mdpo_core import to_device


def read_grids(encoder: nn.Module, grids: Tensor, device: torch.device) -> dict[str, Any]:
    """The arguments that the encoder would compute from ``grids (images, 3)``, which are on the CPU.

    If the encoder computed them on its device, the host would wait for every size. Lengths stay on the CPU: attention
    cuts its inputs by them.
    """
    sizes: Any = encoder
    lengths, moved = {"cu_seqlens": get_vision_cu_seqlens(grids)}, {}
    moved["position_ids"] = get_vision_position_ids(grids, sizes.spatial_merge_size)
    if hasattr(encoder, "window_size"):
        moved["window_index"], lengths["cu_window_seqlens"] = get_vision_window_index(
            grids, sizes.spatial_merge_size, sizes.window_size, sizes.patch_size
        )
    if hasattr(encoder, "interpolation_mode"):
        moved["interp_indices"], moved["interp_weights"] = get_vision_interpolation_indices_and_weights(
            grids,
            num_grid_per_side=sizes.num_grid_per_side,
            mode=sizes.interpolation_mode,
            align_corners=sizes.interpolation_align_corners,
            spatial_merge_size=sizes.config.spatial_merge_size,
        )
    return {**lengths, **{name: to_device(values, device) for name, values in moved.items()}}
